"""Container output in CloudWatch Logs: a file followed line by line into moto's backend.

Beside the file lies ``<file>.times``, lines of ``<offset> <epoch milliseconds>``: up to that byte
the file had been read at that time. It gives a restored stream the times of its lines.
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from moto.logs.models import logs_backends
from moto.logs.responses import LogsResponse

from localcloud.settings import ACCOUNT, REGION

INTERVAL = 0.2  # seconds between two looks at a file that is being written
LONGEST = 256 * 1024 - 26  # characters of one event, CloudWatch's limit


def last_line(path: Path) -> str:
    """The last line of a log that says something, for a failure reason; empty where there is none."""
    try:
        lines = path.read_bytes()[-8192:].decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return next((line.strip()[:1024] for line in reversed(lines) if line.strip()), "")


def follow(group: str, stream: str, path: Path) -> Callable[[], None]:
    """Tail ``path``, which need not exist yet, into a log stream, from the file's beginning.

    Returns the callable that takes in the rest of the file and ends the tailing.
    """
    ended = threading.Event()
    tail = _Tail(group, stream, path)

    def run() -> None:
        while not ended.wait(INTERVAL):
            tail.read()
        tail.read(last=True)

    thread = threading.Thread(target=run, name=f"logs {stream}", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end


def restore(group: str, stream: str, path: Path) -> None:
    """Put the lines of a file that nobody writes any more back into their log stream."""
    _Tail(group, stream, path).read(last=True)


def honour_prefixes() -> None:
    """Have FilterLogEvents look at logStreamNamePrefix, which moto ignores. Called once, at start."""
    original = LogsResponse.filter_log_events

    def filter_log_events(response: LogsResponse):
        request = json.loads(response.body)
        group = response.logs_backend.groups.get(request.get("logGroupName"))
        if (prefix := request.get("logStreamNamePrefix")) and group:
            names = [name for name in group.streams if name.startswith(prefix)]
            # moto takes an empty list for all streams, so one that does not exist stands for none.
            response.body = json.dumps({**request, "logStreamNames": names or [prefix]})
        return original(response)

    LogsResponse.filter_log_events = filter_log_events


class _Tail:
    """What has been read of one file. Used by one thread at a time."""

    def __init__(self, group: str, stream: str, path: Path):
        backend = logs_backends[ACCOUNT][REGION]
        backend.ensure_log_group(group)
        backend.ensure_log_stream(group, stream)
        self._stream = backend.groups[group].streams[stream]
        self._path = path
        self._times = path.with_name(path.name + ".times")
        self._offset = 0
        for offset, when in _read_times(self._times):
            self._send(self._bytes(offset - self._offset), when)

    def read(self, last: bool = False) -> None:
        """Take in the complete lines that were added; if ``last``, the rest as well."""
        data = self._bytes()
        if not last:
            data = data[: data.rfind(b"\n") + 1]
        if data:
            when = int(time.time() * 1000)
            self._send(data, when)
            with self._times.open("a") as times:
                times.write(f"{self._offset} {when}\n")

    def _bytes(self, size: int = -1) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _send(self, data: bytes, when: int) -> None:
        self._offset += len(data)
        lines = data.decode(errors="replace").replace("\r\n", "\n").split("\n")
        # The stream's own method: the backend's refuses what is older than 14 days.
        self._stream.put_log_events(
            [
                {"timestamp": when, "message": line[start : start + LONGEST]}
                for line in lines
                for start in range(0, len(line), LONGEST)
            ]
        )


def _read_times(path: Path) -> list[tuple[int, int]]:
    """Whole lines only: the last one may have been cut off by a crash."""
    try:
        complete = path.read_text().rpartition("\n")[0]
    except FileNotFoundError:
        return []
    return [(int(offset), int(when)) for offset, when in map(str.split, complete.splitlines())]
