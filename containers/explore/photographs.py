"""Which photographs a trial trains on."""

import random
from pathlib import Path

from containers.common import class_folders

Photograph = tuple[str, int]  # path, count


def listed(folder: Path) -> list[Photograph]:
    """A channel in class folders, as AutoGluon takes paths; raises DataError for an empty one."""
    return [(str(path), count) for path, count in class_folders.listed(folder)]


def subset(photographs: list[Photograph], size: int, seed: int) -> list[Photograph]:
    """``size`` of them with the counts in proportion, the same ones for the same seed."""
    if size >= len(photographs):
        return photographs
    draw = random.Random(seed)
    shuffled = sorted(photographs, key=lambda _: draw.random())
    # Sorted by count again, then every n-th: each count gets its share, to within one.
    shuffled.sort(key=lambda photograph: photograph[1])
    return [shuffled[index * len(shuffled) // size] for index in range(size)]
