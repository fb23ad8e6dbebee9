"""One job from its start to its end: download, run the container, upload, say how it went."""

import logging
import math
import shutil
import threading
import time
from pathlib import Path

from localcloud import process
from localcloud.contract import Contract
from localcloud.errors import validation
from localcloud.logs import follow
from localcloud.objects import NoSuchObject
from localcloud.process import Container, Image
from localcloud.settings import Settings
from localcloud.store import Store

SYNC_SECONDS = 30  # between two uploads of checkpoints
STOPPED = ("Stopped", "MaxRuntimeExceeded")
CUT_OFF = "localcloud was stopped while the job ran"

log = logging.getLogger(__name__)


class ClientError(Exception):
    """What AWS calls so: the job could not be run as it was described."""


class Run:
    """The job's thread, its process, and its document in the store."""

    def __init__(
        self, name: str, contract: Contract, image: Image, folder: Path, settings: Settings, store: Store
    ):
        """``folder`` holds the container's ``ml`` while it runs, and its ``log`` for ever."""
        self._name = name
        self._contract = contract
        self._image = image
        self._base = folder / "ml"
        self._log = folder / "log"
        self._settings = settings
        self._store = store
        self._lock = threading.RLock()
        self._ending: str | None = None  # why the job was told to end, if it was
        self._container: Container | None = None
        self._started: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"{contract.kind} {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, ending: str, grace: float = process.GRACE) -> None:
        """End the job: ``Stopped``, ``MaxRuntimeExceeded``, or a failure reason. Waits for the container."""
        with self._lock:
            self._ending = self._ending or ending
            container = self._container
        if container is not None:
            process.stop(container, grace)

    def request_stop(self) -> None:
        """StopTrainingJob: the job is Stopping when this returns, and ends in the background.

        Raises AwsError if it is not in progress any more.
        """
        with self._lock:
            kind = self._contract.prefix
            status = self._store.get(self._contract.kind, self._name)[f"{kind}JobStatus"]
            if status != "InProgress":
                raise validation(
                    f"The request was rejected because the {kind.lower()} job is in status {status}."
                )
            self._change(**{f"{self._contract.prefix}JobStatus": "Stopping"})
            self._enter("Stopping", "Stopping the job")
        threading.Thread(target=self.stop, args=["Stopped"], name=f"stop {self._name}", daemon=True).start()

    def join(self) -> None:
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        fields, failure = {}, None
        try:
            self._enter("Downloading", "Downloading input data")
            self._prepare()
            code = self._execute()
            if code is not None:
                failure = self._failure(code)
                self._enter("Uploading", "Uploading generated training model")
                fields = self._collect(failed=failure is not None)
        except ClientError as error:
            failure = f"ClientError: {error}"
        except Exception as error:  # a job must not stay in progress for ever
            log.exception("%s %s", self._contract.kind, self._name)
            failure = f"InternalServerError: {type(error).__name__}: {error}"
        shutil.rmtree(self._base, ignore_errors=True)  # a container's file system goes with it
        self._finish(fields, failure)

    def _prepare(self) -> None:
        try:
            self._contract.prepare()
        except (NoSuchObject, OSError) as error:
            raise ClientError(f"Data download failed: {error}") from error

    def _execute(self) -> int | None:
        """The container's exit status; None if the job was told to end before it had started."""
        with self._lock:
            if self._ending is not None:
                return None
            self._started = time.time()
            self._change(**{f"{self._contract.prefix}StartTime": self._started})
            self._enter(self._contract.prefix, "Training image download completed. Training in progress.")
            try:
                self._container = process.spawn(
                    self._image,
                    self._contract.command(self._image),
                    self._contract.environment(self._settings),
                    self._contract.working_directory,
                    self._log,
                )
            except OSError as error:
                raise ClientError(f"the container could not be started: {error}") from error
        document = self._store.get(self._contract.kind, self._name)
        unfollow = follow(self._contract.log_group, log_stream(self._name, document), self._log)
        ended = threading.Event()
        minder = threading.Thread(target=self._mind, args=[ended], name=f"minder {self._name}", daemon=True)
        minder.start()
        code = self._container.wait()
        ended.set()
        process.bury(self._container)
        minder.join()
        unfollow()
        return code

    def _mind(self, ended: threading.Event) -> None:
        deadline = self._started + self._contract.max_runtime
        while not ended.wait(max(0, min(SYNC_SECONDS, deadline - time.time()))):
            if time.time() >= deadline:
                self.stop("MaxRuntimeExceeded")
                return
            try:
                self._contract.sync()
            except (NoSuchObject, OSError) as error:
                log.warning("%s: %s", self._name, error)  # tried again, and decisive at the end

    def _collect(self, failed: bool) -> dict:
        try:
            return self._contract.collect(failed, self._log)
        except (NoSuchObject, OSError) as error:
            raise ClientError(f"Artifact upload failed: {error}") from error

    def _failure(self, code: int) -> str | None:
        """FailureReason, or None for a job that has completed or was told to stop."""
        if self._ending is not None:
            return None if self._ending in STOPPED else self._ending
        if code == 0:
            return None
        if reason := self._contract.failure():
            return f"AlgorithmError: {reason}"
        code = code if code >= 0 else 128 - code  # killed by a signal, as a shell and Docker count it
        last = _last_line(self._log)
        return f"AlgorithmError: exit code {code}" + (f": {last}" if last else "")

    def _enter(self, phase: str, message: str) -> None:
        with self._lock:
            document = self._store.get(self._contract.kind, self._name)
            self._change(**self._contract.entering(document, phase, message, time.time()))

    def _finish(self, fields: dict, failure: str | None) -> None:
        with self._lock:
            if self._ending is not None and self._ending not in STOPPED:
                failure = self._ending
            status = "Failed" if failure else "Stopped" if self._ending else "Completed"
            detail = self._ending if status == "Stopped" else status
            document = self._store.get(self._contract.kind, self._name)
            self._change(**fields, **ending(self._contract, document, status, detail, failure, self._started))

    def _change(self, **fields) -> None:
        self._store.update(self._contract.kind, self._name, LastModifiedTime=time.time(), **fields)


def ending(
    contract: type[Contract] | Contract,
    document: dict,
    status: str,
    detail: str,
    failure: str | None,
    started: float | None,
) -> dict:
    """The fields with which a job's description ends; ``detail`` is the secondary status."""
    now = time.time()
    fields = {
        f"{contract.prefix}JobStatus": status,
        f"{contract.prefix}EndTime": now,
        **contract.entering(document, detail, failure or f"{contract.prefix} job {status.lower()}", now),
    }
    if failure:
        fields["FailureReason"] = failure
    if started and contract.prefix == "Training":
        seconds = math.ceil(now - started)
        fields.update(TrainingTimeInSeconds=seconds, BillableTimeInSeconds=seconds)
    return fields


def log_stream(name: str, document: dict) -> str:
    return f"{name}/algo-1-{int(document['CreationTime'])}"


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    return lines[-1][:1024] if lines else ""
