"""Doors for requests: one that closes for good, one that lets so many in at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turnstile:
    """Safe for threads; at most ``most`` requests are inside."""

    def __init__(self, most: int):
        self._free = threading.Semaphore(most)

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """Brackets one request; False when there is no room for it."""
        admitted = self._free.acquire(blocking=False)
        try:
            yield admitted
        finally:
            if admitted:
                self._free.release()


class Gate:
    """Lets requests in until it is closed, and waits for those inside. Safe for threads; once closed it
    stays so.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @property
    def inside(self) -> int:
        """How many requests have been let in and are not answered yet."""
        return self._inside

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """Brackets one request; False when it must go elsewhere."""
        with self._changed:
            admitted = not self._closed
            self._inside += admitted
        try:
            yield admitted
        finally:
            with self._changed:
                self._inside -= admitted
                if self._closed:
                    self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True

    def drain(self, seconds: float) -> None:
        """Close; returns when those inside have been answered, or after ``seconds``."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0, seconds)
