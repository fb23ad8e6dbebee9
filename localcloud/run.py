"""One job from its start to its end: download, run the container, upload, say how it went."""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from localcloud.contract import Contract, Host
from localcloud.errors import validation
from localcloud.instances import limits
from localcloud.job_documents import ending, log_stream
from localcloud.logs import follow, last_line
from localcloud.objects import NoSuchObject
from localcloud.runtime import GRACE, Container, Image, Runtime, Spec
from localcloud.store import Store

SYNC_SECONDS = 30  # between two uploads of checkpoints
STOPPED = ("Stopped", "MaxRuntimeExceeded")
CUT_OFF = "localcloud was stopped while the job ran"

log = logging.getLogger(__name__)


class ClientError(Exception):
    """What AWS calls so: the job could not be run as it was described."""


class Run:
    """The job's thread, its containers, and its document in the store."""

    def __init__(
        self, name: str, contract: Contract, image: Image, folder: Path, runtime: Runtime, store: Store
    ):
        """``folder`` holds the containers' ``ml`` while they run, and their logs for ever."""
        self._name = name
        self._contract = contract
        self._image = image
        self._base = folder / "ml"
        self._logs = [folder / f"algo-{number + 1}.log" for number in range(len(contract.hosts))]
        self._runtime = runtime
        self._store = store
        self._lock = threading.RLock()
        self._ending: str | None = None  # why the job was told to end, if it was
        self._containers: list[Container] = []
        self._started: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"{contract.kind} {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, ending: str, grace: float = GRACE) -> None:
        """End the job: ``Stopped``, ``MaxRuntimeExceeded``, or a failure reason. Waits for the containers."""
        with self._lock:
            self._ending = self._ending or ending
            containers = list(self._containers)
        in_parallel(lambda container: container.stop(grace), containers)

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
            ended = self._execute()
            if ended is not None:
                failure = self._failure(*ended)
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

    def _execute(self) -> tuple[int, int] | None:
        """Which host decided how the job ended, and its exit status: the first that failed, or the chief.

        None if the job was told to end before it had started.
        """
        with ExitStack() as stack:
            network = None
            if len(self._contract.hosts) > 1:
                try:
                    network = stack.enter_context(self._runtime.network(self._name))
                except OSError as error:
                    raise ClientError(f"the hosts' network could not be created: {error}") from error
            if not self._start(network):
                return None
            document = self._store.get(self._contract.kind, self._name)
            for log_file in self._logs:
                stream = log_stream(self._name, document, log_file)
                stack.callback(follow(self._contract.log_group, stream, log_file))
            stack.callback(self._end)
            ended = threading.Event()
            minder = threading.Thread(
                target=self._mind, args=[ended], name=f"minder {self._name}", daemon=True
            )
            minder.start()
            outcome = self._wait()
            ended.set()
            minder.join()
            return outcome

    def _start(self, network: str | None) -> bool:
        """Start all containers, or none; False if the job was told to end."""
        with self._lock:
            if self._ending is not None:
                return False
            self._started = time.time()
            self._change(**{f"{self._contract.prefix}StartTime": self._started})
            self._enter(self._contract.prefix, "Training image download completed. Training in progress.")
            try:
                for host, log_file in zip(self._contract.hosts, self._logs, strict=True):
                    self._containers.append(self._runtime.start(self._spec(host, log_file, network)))
            except OSError as error:
                self._end()
                raise ClientError(f"the container could not be started: {error}") from error
            return True

    def _spec(self, host: Host, log_file: Path, network: str | None) -> Spec:
        return Spec(
            name=f"{self._name}-{host.name}",
            image=self._image,
            role=self._contract.role,
            environment=self._contract.environment(host),
            folder=host.base,
            log=log_file,
            entrypoint=self._contract.entrypoint,
            arguments=self._contract.arguments,
            limits=limits(self._contract.instance_type),
            host=host.name,
            network=network,
        )

    def _wait(self) -> tuple[int, int]:
        """Until all have ended; one that fails takes the others with it."""
        failed: list[tuple[int, int]] = []
        lock = threading.Lock()

        def watch(index: int) -> None:
            code = self._containers[index].wait()
            with lock:
                first = code != 0 and not failed
                if code != 0:
                    failed.append((index, code))
            if first:
                others = [c for number, c in enumerate(self._containers) if number != index]
                in_parallel(lambda container: container.stop(GRACE), others)

        in_parallel(watch, range(len(self._containers)))
        return failed[0] if failed else (0, 0)

    def _end(self) -> None:
        for container in self._containers:
            container.end()

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
            return self._contract.collect(failed, self._logs)
        except (NoSuchObject, OSError) as error:
            raise ClientError(f"Artifact upload failed: {error}") from error

    def _failure(self, index: int, code: int) -> str | None:
        """FailureReason, or None for a job that has completed or was told to stop."""
        if self._ending is not None:
            return None if self._ending in STOPPED else self._ending
        if code == 0:
            return None
        if reason := self._contract.failure(self._contract.hosts[index]):
            return f"AlgorithmError: {reason}"
        code = code if code >= 0 else 128 - code  # killed by a signal, as a shell and Docker count it
        last = last_line(self._logs[index])
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


def in_parallel(work: Callable, items: Collection) -> None:
    """``work`` on all items at once; with one there is no thread to wait for."""
    if len(items) == 1:
        work(*items)
    elif items:
        with ThreadPoolExecutor(len(items)) as pool:
            list(pool.map(work, items))
