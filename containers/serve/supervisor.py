"""Process 1 of the serving image: starts a server, owns its readiness, and ends it without losing a request.

Ready means that a real prediction has just come back through the server's own port; it is asked for
again every few seconds. On SIGTERM ``/ping`` fails at once, requests in flight are answered, and then
the server's whole process group ends: model servers left alone drop requests and leave workers behind.
The server itself binds the port. A proxy here would see every request, but would also cost each of them
more than the network does; that the handler marks what it works on (``state``) is enough to drain.
"""

import contextlib
import http.client
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from containers.common import card, paths
from containers.common.errors import BinTallyError
from containers.serve import servers, state

FIRST, INTERVAL = 0.05, 5.0  # seconds between predictions: until the first, and after it
PATIENCE = 10.0  # seconds for one prediction to come back, behind whatever the server has queued
FAILURES = 2  # in a row, until what was ready is not
QUIET = 0.5  # seconds without any request, after which none is in flight
DRAIN = 25.0  # SageMaker kills 30 s after SIGTERM
END = 3.0  # seconds between SIGTERM and SIGKILL of the server


class Signals:
    """Signals as something to wait for. Their handlers do nothing: they run in the midst of whatever the
    main thread does, and to set an Event there, whose lock that thread may hold, would wait for ever."""

    def __init__(self):
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def listen(self) -> None:
        signal.set_wakeup_fd(self._writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float) -> set[int]:
        """The numbers of those that have arrived; empty after ``seconds`` without any."""
        arrived, _, _ = select.select([self._reader], [], [], seconds)
        return set(os.read(self._reader, 4096)) if arrived else set()


class Supervisor:
    """One server and its life."""

    def __init__(self, settings: servers.Settings):
        self.settings = settings
        self._ready = state.ready_file(settings.folder)
        self._stopping = threading.Event()
        self._signals = Signals()
        self._lock = threading.Lock()
        self._body = _photograph()
        self._status: int | None = None  # of the server, once it has ended

    def run(self) -> int:
        """Until SIGTERM (then 0), or until the server ends by itself (then a failure)."""
        state.create(self.settings.folder)
        self._signals.listen()
        self._server = subprocess.Popen(
            servers.command(self.settings),
            env=servers.environment(self.settings),
            cwd=self.settings.folder,
            start_new_session=True,
        )
        threading.Thread(target=self._watch, daemon=True).start()
        while self._reap() is None and not self._stopping.is_set():
            if self._signals.wait(1) & {signal.SIGTERM, signal.SIGINT}:
                self._stopping.set()
                self._ready.unlink(missing_ok=True)
        if self._status is None:
            self._drain()
        self._end()
        return 0 if self._stopping.is_set() else self._status or 1

    def _watch(self) -> None:
        """Keeps the ready file true to what the server can do."""
        failures = 0
        while not self._stopping.is_set():
            failures = 0 if self._predicts() else failures + 1
            with self._lock:  # _end() must not find the folder changing
                if self._stopping.is_set():
                    self._ready.unlink(missing_ok=True)
                elif failures == 0:
                    if not self._ready.exists():
                        print(f"ready: {self.settings.front} on port {self.settings.port}", flush=True)
                    self._ready.touch()
                elif failures >= FAILURES and self._ready.exists():
                    print("not ready: predictions fail", file=sys.stderr, flush=True)
                    self._ready.unlink()
            self._stopping.wait(INTERVAL if self._ready.exists() else FIRST)

    def _predicts(self) -> bool:
        host = "127.0.0.1" if self.settings.host == "0.0.0.0" else self.settings.host
        connection = http.client.HTTPConnection(host, self.settings.port, timeout=PATIENCE)
        try:
            connection.request("POST", "/invocations", self._body, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            return answer.status == 200 and "count" in json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()

    def _reap(self) -> int | None:
        """Bury what has ended, as process 1 must for every orphan; the server's status, if it has."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._server.pid:
                    self._server.returncode = self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _drain(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < DRAIN and self._reap() is None:
            waited = time.monotonic() - began
            if waited >= QUIET and state.quiet_for(self.settings.folder) >= QUIET:
                return
            time.sleep(0.02)

    def _end(self) -> None:
        """SIGTERM, then SIGKILL, to all that the server has started."""
        self._stopping_quietly()
        deadline = time.monotonic() + END
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGTERM)
        while self._reap() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._reap()

    def _stopping_quietly(self) -> None:
        with self._lock:
            self._ready.unlink(missing_ok=True)


def _photograph() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (224, 224), (128, 128, 128)).save(stream, "JPEG")
    return stream.getvalue()


def main() -> int:
    # /dev/shm is writable in a read-only container; elsewhere any temporary folder will do.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="bintally-", dir=memory))
    try:
        card.read(paths.model())  # a model server would retry for ever where there is no model
        return Supervisor(servers.Settings.from_environment(folder)).run()
    except BinTallyError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
