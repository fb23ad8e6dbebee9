"""A door for requests: it lets them in until it is closed, and waits for those that are inside."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Safe for threads; once closed it stays so."""

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
