"""Training and processing jobs: created, described, listed, stopped, and their survival of a restart."""

import shutil
import threading
import time
from pathlib import Path

from localcloud.contract import Contract
from localcloud.errors import AwsError, validation
from localcloud.job_documents import ending, log_stream, logs
from localcloud.logs import restore
from localcloud.objects import Objects
from localcloud.paging import page
from localcloud.processing import ProcessingContract
from localcloud.run import CUT_OFF, Run
from localcloud.runtime import Image, Runtime, UnknownImage
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.store import Store
from localcloud.training import TrainingContract

KINDS: tuple[type[Contract], ...] = (TrainingContract, ProcessingContract)
SHUTDOWN_GRACE = 10  # seconds that jobs have to save their state when localcloud is stopped
UNFINISHED = ("InProgress", "Stopping")
SUMMARY = (
    "{}JobName", "{}JobArn", "{}JobStatus", "{}EndTime", "CreationTime", "LastModifiedTime",
)  # fmt: skip
PAGE = 100


class Jobs:
    """Every method takes the contract, which is to say the kind of job. Raises AwsError."""

    def __init__(self, settings: Settings, runtime: Runtime, store: Store, objects: Objects):
        self._settings = settings
        self._runtime = runtime
        self._store = store
        self._objects = objects
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Run] = {}
        self._closed = False

    def check(self, contract: type[Contract], params: dict) -> None:
        """Raise AwsError for a request that ``create`` would refuse whatever runs and has run."""
        contract.check(params, self._runtime)
        self._image(contract(params, "", Path(), self._objects, self._runtime))

    def create(self, contract: type[Contract], params: dict, bookkeeping) -> dict:
        """``bookkeeping`` is called once the request is accepted and before anything runs."""
        contract.check(params, self._runtime)
        name = params[f"{contract.prefix}JobName"]
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{contract.kind}/{name}"
        folder = self._folder(contract, name)
        job = contract(params, arn, folder / "ml", self._objects, self._runtime)
        image = self._image(job)
        with self._lock:
            if self._closed:
                raise AwsError("ServiceUnavailable", "localcloud is being stopped", 503)
            if self._store.get(contract.kind, name):
                raise AwsError(
                    "ResourceInUse",
                    f"Job name must be unique within an AWS account and region, and a job with this name "
                    f"already exists ({arn})",
                )
            bookkeeping()
            now = time.time()
            document = {
                **{member: value for member, value in params.items() if member != "Tags"},
                f"{contract.prefix}JobArn": arn,
                f"{contract.prefix}JobStatus": "InProgress",
                "CreationTime": now,
                "LastModifiedTime": now,
                **contract.entering({}, "Starting", "Preparing the instances for training", now),
            }
            self._store.put(contract.kind, name, document)
            run = Run(name, job, image, folder, self._runtime, self._store)
            self._running = {key: other for key, other in self._running.items() if other.alive}
            self._running[contract.kind, name] = run
            run.start()
        return {f"{contract.prefix}JobArn": arn}

    def describe(self, contract: type[Contract], name: str) -> dict:
        document = self._store.get(contract.kind, name)
        if document is None:
            raise validation(
                "Requested resource not found."
                if contract is TrainingContract
                else f"Could not find requested job with name: {name}"
            )
        return document

    def stop(self, contract: type[Contract], name: str) -> dict:
        """Returns at once; the job is Stopping until its container has ended."""
        self.describe(contract, name)
        run = self._running.get((contract.kind, name))
        if run is None:
            raise validation("The request was rejected because the job has ended.")
        run.request_stop()
        return {}

    def wait(self, contract: type[Contract], name: str) -> dict:
        """The job's description once it has ended."""
        if run := self._running.get((contract.kind, name)):
            run.join()
        return self.describe(contract, name)

    def list(self, contract: type[Contract], params: dict) -> dict:
        """With the filters, the sorting and the paging of ListTrainingJobs and ListProcessingJobs."""
        prefix = contract.prefix
        keys = {"Name": f"{prefix}JobName", "CreationTime": "CreationTime", "Status": f"{prefix}JobStatus"}
        # As AWS documents it of ListTrainingJobs alone: a page of any status, from which those of the status
        # are then taken.
        page_first = contract is TrainingContract and params.get("MaxResults")

        def is_wanted(document: dict) -> bool:
            return params.get("StatusEquals") in (None, document[keys["Status"]])

        found = [
            d
            for d in self._store.all(contract.kind)
            if _matches(d, prefix, params) and (page_first or is_wanted(d))
        ]
        found.sort(
            key=lambda document: document[keys[params.get("SortBy") or "CreationTime"]],
            reverse=params.get("SortOrder") == "Descending",
        )
        shown, more = page(found, params, PAGE)
        members = [member.format(prefix) for member in SUMMARY]
        if contract is TrainingContract:
            members.append("SecondaryStatus")
        summaries = [{m: d[m] for m in members if m in d} for d in shown if is_wanted(d)]
        return {f"{prefix}JobSummaries": summaries, **more}

    def resume(self) -> None:
        """After a start-up: what a killed localcloud left unfinished has failed; logs are readable again."""
        for contract in KINDS:
            for document in self._store.all(contract.kind):
                name = document[f"{contract.prefix}JobName"]
                folder = self._folder(contract, name)
                if document[f"{contract.prefix}JobStatus"] in UNFINISHED:
                    started = document.get(f"{contract.prefix}StartTime")
                    fields = ending(contract, document, "Failed", "Failed", CUT_OFF, started)
                    self._store.update(contract.kind, name, **fields)
                    shutil.rmtree(folder / "ml", ignore_errors=True)
                for log in logs(folder):
                    restore(contract.log_group, log_stream(name, document, log), log)

    def shutdown(self) -> None:
        """End every job, as failed, and return when none is left."""
        with self._lock:
            self._closed = True
            runs = [run for run in self._running.values() if run.alive]
        stops = [threading.Thread(target=run.stop, args=[CUT_OFF, SHUTDOWN_GRACE]) for run in runs]
        for thread in stops:
            thread.start()
        for thread in stops:
            thread.join()
        for run in runs:
            run.join()

    def _image(self, job: Contract) -> Image:
        try:
            return self._runtime.find_image(job.image_uri, None if job.entrypoint else job.role)
        except UnknownImage as error:
            raise validation(f"localcloud cannot run {job.image_uri}: {error}") from error

    def _folder(self, contract: type[Contract], name: str) -> Path:
        return self._settings.home / "jobs" / contract.kind / name


def _matches(document: dict, prefix: str, params: dict) -> bool:
    created, modified = document["CreationTime"], document["LastModifiedTime"]
    return (
        (params.get("NameContains") or "").lower() in document[f"{prefix}JobName"].lower()
        and params.get("CreationTimeAfter", created) <= created <= params.get("CreationTimeBefore", created)
        and params.get("LastModifiedTimeAfter", modified)
        <= modified
        <= params.get("LastModifiedTimeBefore", modified)
    )
