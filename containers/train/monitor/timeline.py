"""The windows of a document on one axis: values of the live model, or of all models together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Timeline:
    """times: of every window from the first with records to the last, those without included."""

    times: list[datetime]
    step: timedelta
    windows: dict[tuple[datetime, str], Mapping]  # by start and model
    live: str

    @classmethod
    def of(cls, document: Mapping) -> "Timeline":
        """Of a document that has a window at least."""
        step = timedelta(seconds=document["window_seconds"])
        windows = {(datetime.fromisoformat(w["start"]), w["model"]): w for w in document["windows"]}
        first, last = min(t for t, _ in windows), max(t for t, _ in windows)
        times = [first + i * step for i in range((last - first) // step + 1)]
        return cls(times, step, windows, document["live"]["model"])

    @property
    def models(self) -> list[str]:
        """In the order of their first windows."""
        return list(dict.fromkeys(model for _, model in sorted(self.windows)))

    def values(self, value: Callable[[Mapping], object], model: str | None = None) -> list:
        """``value`` of each time's window, of the live model by default; None where there is none."""
        found = (self.windows.get((t, model or self.live)) for t in self.times)
        return [None if window is None else value(window) for window in found]

    def fullest(self, value: Callable[[Mapping], object]) -> list:
        """``value`` of each time's window with the most photographs, whichever model had it."""
        best: dict[datetime, Mapping] = {}
        for (time, _), window in self.windows.items():
            if time not in best or window["photographs"] > best[time]["photographs"]:
                best[time] = window
        return [value(best[time]) if time in best else None for time in self.times]

    def sums(self, value: Callable[[Mapping], float]) -> list[float]:
        """``value`` of each time, over all models."""
        totals = dict.fromkeys(self.times, 0)
        for (time, _), window in self.windows.items():
            totals[time] += value(window)
        return list(totals.values())
