"""Which photographs a trial trains on."""

import random
from pathlib import Path

from containers.common import manifest
from containers.common.errors import DataError

Photograph = tuple[str, int]  # path, count


def listed(folder: Path) -> list[Photograph]:
    """An ImageFolder tree ``<count>/NAME.jpg`` in a fixed order; raises DataError for an empty one."""
    found = [
        (str(path), count)
        for count in manifest.COUNTS
        for path in sorted((folder / str(count)).glob("*"))
        if path.is_file()
    ]
    if not found:
        first, last = manifest.COUNTS[0], manifest.COUNTS[-1]
        raise DataError(f"no photographs below {folder}: expected {folder}/{first} … {folder}/{last}")
    return found


def subset(photographs: list[Photograph], size: int, seed: int) -> list[Photograph]:
    """``size`` of them with the counts in proportion, the same ones for the same seed."""
    if size >= len(photographs):
        return photographs
    draw = random.Random(seed)
    shuffled = sorted(photographs, key=lambda _: draw.random())
    # Sorted by count again, then every n-th: each count gets its share, to within one.
    shuffled.sort(key=lambda photograph: photograph[1])
    return [shuffled[index * len(shuffled) // size] for index in range(size)]
