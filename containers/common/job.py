"""What every job's process has: the wish that it stop, and the one line that it fails with."""

import sys

from containers.common import paths


class Stop:
    """What SIGTERM sets: a plain attribute, since a signal's handler may wait for no lock."""

    def __init__(self):
        self.asked = False

    def ask(self, *_) -> None:
        """The handler: ``signal.signal(signal.SIGTERM, stop.ask)``."""
        self.asked = True


def failed(error: Exception, reason: str) -> int:
    """Print the error and leave ``reason`` in the failure file, for people; returns the exit status."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    paths.failure().parent.mkdir(parents=True, exist_ok=True)
    paths.failure().write_text(reason)
    return 1
