"""The time that a monitor is asked about, in windows of equal length."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from containers.common.duration import Seconds
from containers.common.errors import SettingsError

MOST = 1000  # windows of one page


@dataclass(frozen=True)
class Windows:
    """Seconds since 1970, whole windows. recent: seconds before the end that metrics and alarms are about.
    past: whether the end that was asked for lies before now.
    """

    since: int
    until: int
    length: int
    recent: int
    past: bool

    @classmethod
    def parse(cls, since: str, until: str, length: str, recent: str) -> "Windows":
        """``7d`` (ago) or ``2026-07-01T12:00``, and durations; ``now`` is a time, too.

        Raises SettingsError for what is no time, and for windows that do not fit.
        """
        seconds, before = _duration("window", length), _duration("recent", recent)
        if seconds % 60 or before % seconds:
            raise SettingsError("--window must be whole minutes, and --recent whole windows")
        now = int(time.time())
        first, last = _time("since", since, now), _time("until", until, now)
        start, end = first - first % seconds, last + -last % seconds
        if not start < end:
            raise SettingsError(f"--since {since} is not before --until {until}")
        if (end - start) // seconds > MOST:
            raise SettingsError(
                f"{(end - start) // seconds:,} windows, and a page shows {MOST:,}: "
                "choose a longer --window or a later --since"
            )
        return cls(start, end, seconds, min(before, end - start), last < now)

    def arguments(self) -> list[str]:
        """Of the job that reads."""
        return [
            "--since", _iso(self.since),
            "--until", _iso(self.until),
            "--window", str(self.length),
            "--recent", str(self.recent),
        ]  # fmt: skip


def _duration(name: str, text: str) -> int:
    try:
        return int(Seconds.parse(text).value)
    except ValueError as error:
        raise SettingsError(f"--{name}: {error}") from None


def _time(name: str, text: str, now: int) -> int:
    """ISO 8601 is in UTC where it names no zone."""
    if text == "now":
        return now
    try:
        return now - int(Seconds.parse(text).value)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--{name}: {text!r} is no time, such as 2026-07-01T12:00 or 7d") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
