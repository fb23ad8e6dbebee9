"""One instance behind an endpoint: a serving container as a process, kept alive and spoken to."""

import socket
import threading
import time
from pathlib import Path

import urllib3

from localcloud.process import Image, bury, spawn, stop

HOST = "127.0.0.1"
PING_SECONDS = 2  # how long SageMaker waits for one answer to /ping
PING_INTERVAL = 0.1
RESTART_PAUSE = 0.5  # doubled after every start that fails, up to the longest pause
LONGEST_PAUSE = 30


class StartFailed(Exception):
    """A container that ended, or did not answer ``/ping`` with 200 in time. One line, for FailureReason."""


class Worker:
    """``serve`` of one image. ``ready`` is set while it takes requests; when it dies it is started again."""

    def __init__(
        self, image: Image, environment: dict[str, str], base: Path, log: Path, startup_seconds: float
    ):
        self.log = log
        self.ready = threading.Event()
        self._image = image
        self._environment = {**environment, "SAGEMAKER_BASE_DIR": str(base)}
        self._base = base
        self._startup_seconds = startup_seconds
        self._stopping = threading.Event()
        self._launching = threading.Lock()
        self._process = None
        self._pool = None

    @property
    def pid(self) -> int:
        return self._process.pid

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
            process = self._process
        if process is not None:
            stop(process, grace)
            self._pool.close()

    def _launch(self) -> None:
        with self._launching:
            if self._stopping.is_set():
                raise StartFailed("stopped while it was starting")
            port = _free_port()
            self._pool = urllib3.HTTPConnectionPool(HOST, port, maxsize=32)
            environment = {**self._environment, "SAGEMAKER_BIND_TO_PORT": str(port)}
            try:
                command = self._image.command("serve")
                self._process = spawn(self._image, command, environment, self._base, self.log)
            except OSError as error:
                raise StartFailed(f"the container could not be started: {error}") from error

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._startup_seconds
        while not self._stopping.wait(PING_INTERVAL):
            if (status := self._process.poll()) is not None:
                raise StartFailed(f"the container ended with status {status}: {last_line(self.log)}")
            if self._answers_ping():
                self.ready.set()
                return
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"the container did not pass the ping health check within {self._startup_seconds:g} s: "
                    f"{last_line(self.log)}"
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
            status = self._process.wait()
            self.ready.clear()
            bury(self._process, [])  # its helpers would hold on to memory, and perhaps to a device
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
                stop(self._process, grace=5)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _note(self, message: str) -> None:
        with self.log.open("a") as stream:
            stream.write(f"localcloud: {message}\n")


def last_line(log: Path) -> str:
    """The last line of a log that says something, for a failure reason."""
    try:
        lines = log.read_bytes()[-8192:].decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it logged nothing")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
