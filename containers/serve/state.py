"""What the supervisor and its server know of each other: a folder with one file each way.

``ready`` exists while the endpoint is ready; the server's ``/ping`` says so. ``working`` is locked by
every request that is being answered, whatever process or thread does it: the kernel drops the lock
of a worker that dies, so that a crash can neither hide work nor feign it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "BINTALLY_STATE"


def ready_file(folder: Path) -> Path:
    return folder / "ready"


def create(folder: Path) -> None:
    _working_file(folder).touch()


def is_ready() -> bool:
    """For the server's /ping; nobody is ready without a supervisor."""
    folder = os.environ.get(VARIABLE)
    return bool(folder) and ready_file(Path(folder)).exists()


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Around the answering of a request. Does nothing where there is no supervisor."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        yield
        return
    descriptor = os.open(_working_file(Path(folder)), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def quiet_for(folder: Path) -> float:
    """Seconds since the last request was answered; 0 while one is being answered."""
    path = _working_file(folder)
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0.0
        return max(0.0, time.time() - path.stat().st_mtime)


def _working_file(folder: Path) -> Path:
    return folder / "working"
