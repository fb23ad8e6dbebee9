"""Durations as people write them."""

import re
from dataclasses import dataclass

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Seconds:
    """``20m``, ``90s``, ``1.5h``, ``7d``, or seconds without a unit."""

    value: float

    @classmethod
    def parse(cls, text: str) -> "Seconds":
        """Raises ValueError for anything else, and for none at all."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
        if not found or not float(found[1]):
            raise ValueError(f"{text!r} is no duration, such as 20m")
        return cls(float(found[1]) * UNITS[found[2]])
