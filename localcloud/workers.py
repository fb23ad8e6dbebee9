"""One instance behind an endpoint: a serving container, kept alive and spoken to."""

import threading
import time
from dataclasses import replace

import urllib3

from localcloud.gate import Gate
from localcloud.logs import last_line
from localcloud.runtime import Container, Runtime, Spec

PING_SECONDS = 2  # how long SageMaker waits for one answer to /ping
PING_INTERVAL = 0.1
RESTART_PAUSE = 0.5  # doubled after every start that fails, up to the longest pause
LONGEST_PAUSE = 30


class StartFailed(Exception):
    """A container that ended, or did not answer ``/ping`` with 200 in time. One line, for FailureReason."""


class Worker:
    """``serve`` of one image. ``ready`` is set while it takes requests; when it dies it is started again.

    A request is bracketed by ``gate.enter()``.
    """

    def __init__(self, runtime: Runtime, spec: Spec, startup_seconds: float):
        self.log = spec.log
        self.ready = threading.Event()
        self.gate = Gate()
        self._runtime = runtime
        self._spec = spec
        self._startup_seconds = startup_seconds
        self._stopping = threading.Event()
        self._launching = threading.Lock()
        self._container: Container | None = None
        self._pool = None

    @property
    def pid(self) -> int:
        return self._container.pid

    def cpu_seconds(self) -> float:
        """What its processes have used of the CPU; 0 before it has been started."""
        return self._container.cpu_seconds() if self._container else 0.0

    def start(self) -> None:
        """Returns when the container is ready; raises StartFailed, and then nothing is left running."""
        try:
            self._launch()
            self._wait_until_ready()
        except StartFailed:
            self.stop(grace=5)
            raise
        threading.Thread(target=self._keep_alive, name=f"keep-{self.pid}", daemon=True).start()

    def post(
        self, path: str, body: bytes, headers: dict[str, str], seconds: float
    ) -> urllib3.BaseHTTPResponse:
        """The container's answer, read to its end; raises urllib3's HTTPError family."""
        return self._pool.urlopen(
            "POST", path, body=body, headers=headers, timeout=seconds, retries=False, decode_content=False
        )

    def stop(self, grace: float) -> None:
        """SIGTERM, and after ``grace`` seconds SIGKILL to whatever is left."""
        self._stopping.set()
        self.ready.clear()
        with self._launching:
            container = self._container
        if container is not None:
            container.stop(grace)
            self._pool.close()

    def _launch(self) -> None:
        with self._launching:
            if self._stopping.is_set():
                raise StartFailed("stopped while it was starting")
            port = self._runtime.port()
            environment = {**self._spec.environment, "SAGEMAKER_BIND_TO_PORT": str(port)}
            try:
                self._container = self._runtime.start(replace(self._spec, environment=environment))
            except OSError as error:
                raise StartFailed(f"the container could not be started: {error}") from error
            self._pool = urllib3.HTTPConnectionPool(self._container.address, port, maxsize=32)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._startup_seconds
        while not self._stopping.wait(PING_INTERVAL):
            if (status := self._container.poll()) is not None:
                raise StartFailed(f"the container ended with status {status}: {self._last_words()}")
            if self._answers_ping():
                self.ready.set()
                return
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"the container did not pass the ping health check within {self._startup_seconds:g} s: "
                    f"{self._last_words()}"
                )
        raise StartFailed("stopped while it was starting")

    def _answers_ping(self) -> bool:
        try:
            return self._pool.request("GET", "/ping", timeout=PING_SECONDS, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _keep_alive(self) -> None:
        pause = RESTART_PAUSE
        while True:
            status = self._container.wait()
            self.ready.clear()
            self._container.end()  # its helpers would hold on to memory, and perhaps to a device
            if self._stopping.is_set():
                return
            self._note(f"the container ended with status {status}; it is started again in {pause:g} s")
            if self._stopping.wait(pause):
                return
            self._pool.close()
            try:
                self._launch()
                self._wait_until_ready()
                pause = RESTART_PAUSE
            except StartFailed as error:
                self._note(str(error))
                self._container.stop(grace=5)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _last_words(self) -> str:
        return last_line(self.log) or "it logged nothing"

    def _note(self, message: str) -> None:
        with self.log.open("a") as stream:
            stream.write(f"localcloud: {message}\n")
