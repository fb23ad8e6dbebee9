"""An execution environment of a Lambda function: one runtime process, one invocation at a time."""

import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from localcloud.instances import Limits
from localcloud.logs import follow
from localcloud.runtime import FUNCTION, TASK_ROOT, Container, Runtime, Spec
from localcloud.runtime_api import ERROR, EXITED, INIT_ERROR, READY, RESPONSE, Event, Invocation, RuntimeApi
from localcloud.settings import Settings

INIT_SECONDS = 10  # beside the function's own Timeout, as on AWS
MOST_BYTES = 6 * 1024 * 1024  # of a request, and of an answer
TAIL_BYTES = 4096  # of the log, in X-Amz-Log-Result


@dataclass(frozen=True)
class Outcome:
    """What Invoke answers: the payload, ``Unhandled`` or None, and the invocation's part of the log."""

    payload: bytes
    error: str | None
    log: bytes


class Sandbox:
    """Starts with the first invocation; once it is not ``alive`` any more, another one is needed."""

    def __init__(self, function: dict, settings: Settings, runtime: Runtime):
        """``function``: its document; raises UnknownImage."""
        self._function = function
        self._runtime = runtime
        self._image = runtime.find_image(function["ImageUri"], FUNCTION)
        self._config = function.get("ImageConfig") or {}
        self._id = uuid.uuid4().hex
        self._api = RuntimeApi(runtime.address)
        self._container: Container | None = None
        self._unfollow = None
        self._ready = False
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        self._log = log_folder(settings, function["FunctionName"]) / f"{day}-{self._id}.log"

    @property
    def alive(self) -> bool:
        """A dead runtime's pending request for work would swallow an invocation: ask before each."""
        return not self._stopped.is_set() and (self._container is None or self._container.poll() is None)

    def invoke(self, request_id: str, payload: bytes, client_context: str | None) -> Outcome:
        """One invocation, within the function's Timeout; an outcome with an error may end the sandbox."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        start = self._log.stat().st_size if self._log.exists() else 0
        began = time.monotonic()
        self._note(f"START RequestId: {request_id} Version: $LATEST")
        payload, error = self._run(request_id, payload, client_context)
        milliseconds = (time.monotonic() - began) * 1000
        self._note(f"END RequestId: {request_id}")
        self._note(
            f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {milliseconds + 1:.0f} ms\tMemory Size: {self._function['MemorySize']} MB\t"
            f"Max Memory Used: {self._memory()} MB"
        )
        with self._log.open("rb") as log:
            log.seek(start)
            return Outcome(payload, error, log.read()[-TAIL_BYTES:])

    def stop(self) -> None:
        """Kill what runs; an invocation that waits for it ends with an error."""
        with self._changing:
            if self._stopped.is_set():
                return
            self._stopped.set()
        if self._container is not None:
            self._container.end()
            self._container.wait()
        if self._unfollow:
            self._unfollow()
        self._api.events.put(Event(EXITED, status=-9))
        self._api.close()

    def _start(self) -> None:
        """Raises OSError for a command or a working directory that does not exist."""
        name, group = self._function["FunctionName"], log_group(self._function["FunctionName"])
        stream = stream_name(self._log)
        task_root = self._log.parent.parent / "task"
        task_root.mkdir(parents=True, exist_ok=True)
        environment = {
            **self._runtime.client_environment,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._function["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "LAMBDA_TASK_ROOT": self._runtime.seen(task_root, TASK_ROOT),
            "TZ": ":UTC",
            **(self._function.get("Environment") or {}),
        }
        spec = Spec(
            name=name,
            image=self._image,
            role=FUNCTION,
            environment=environment,
            folder=task_root,
            log=self._log,
            entrypoint=self._config.get("EntryPoint"),
            arguments=self._config.get("Command") or (),
            working_directory=self._config.get("WorkingDirectory"),
            # Memory alone: its share of a CPU would slow the start, during which Lambda gives a whole one.
            limits=Limits(memory=self._function["MemorySize"] << 20),
        )
        self._unfollow = follow(group, stream, self._log)
        with self._changing:
            if self._stopped.is_set():
                raise OSError("the sandbox has been stopped")
            self._container = self._runtime.start(spec)
        threading.Thread(target=self._watch, name=f"runtime {name}", daemon=True).start()

    def _watch(self) -> None:
        self._api.events.put(Event(EXITED, status=self._container.wait()))

    def _run(self, request_id: str, payload: bytes, client_context: str | None) -> tuple[bytes, str | None]:
        """(payload, error) of one invocation; a process that cannot go on is killed."""
        timeout = self._function["Timeout"]
        if self._container is None:
            try:
                self._start()
            except OSError as error:
                self.stop()
                message = f"RequestId: {request_id} Error: {error}"
                return _error(errorType="Runtime.InvalidEntrypoint", errorMessage=message)
        if not self._ready:
            event = self._next(INIT_SECONDS + timeout)
            if event is None or event.kind != READY:
                return self._given_up(event, request_id, timeout)
            self._ready = True
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function["FunctionArn"],
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{self._id[:24]};Sampled=0",
        }
        if client_context:
            headers["Lambda-Runtime-Client-Context"] = client_context
        self._api.submit(Invocation(request_id, payload, headers))
        event = self._next(timeout)
        if event is None or event.kind not in (RESPONSE, ERROR):
            return self._given_up(event, request_id, timeout)
        if len(event.body) > MOST_BYTES:
            message = f"Response payload size exceeded maximum allowed payload size ({MOST_BYTES} bytes)."
            return _error(errorType="Function.ResponseSizeTooLarge", errorMessage=message)
        return event.body, "Unhandled" if event.kind == ERROR else None

    def _next(self, seconds: float) -> Event | None:
        """What the runtime does next; its wish for more work is no news once it is at work."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                event = self._api.events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if event.kind != READY or not self._ready:
                return event

    def _given_up(self, event: Event | None, request_id: str, timeout: int) -> tuple[bytes, str]:
        self.stop()
        if event is None:
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
            message = f"{now} {request_id} Task timed out after {timeout:.2f} seconds"
            self._note(message)
            return _error(errorMessage=message)
        if event.kind == INIT_ERROR:
            return event.body, "Unhandled"
        how = f"signal: {-event.status}" if event.status < 0 else f"exit status {event.status}"
        message = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        if event.status == 0:
            message = f"RequestId: {request_id} Error: Runtime exited without providing a reason"
        self._note(message)
        return _error(errorType="Runtime.ExitError", errorMessage=message)

    def _memory(self) -> int:
        return self._container.memory() >> 20 if self._container else 0

    def _note(self, line: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{line}\n")


def log_group(function: str) -> str:
    return f"/aws/lambda/{function}"


def log_folder(settings: Settings, function: str) -> Path:
    return settings.home / "functions" / function / "logs"


def stream_name(log: Path) -> str:
    """``2026-07-01-<id>.log`` -> ``2026/07/01/[$LATEST]<id>``"""
    year, month, day, sandbox = log.stem.split("-", 3)
    return f"{year}/{month}/{day}/[$LATEST]{sandbox}"


def _error(**members: str) -> tuple[bytes, str]:
    return json.dumps(members).encode(), "Unhandled"
