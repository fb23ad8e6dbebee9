"""A channel's photographs in class folders: ``<count>/NAME.jpg``."""

from pathlib import Path

from containers.common.errors import DataError
from containers.common.manifest import COUNTS


def listed(folder: Path) -> list[tuple[Path, int]]:
    """(file, count) of every photograph, in a fixed order; raises DataError where there is none."""
    found = [
        (path, count)
        for count in COUNTS
        for path in sorted((folder / str(count)).glob("*"))
        if path.is_file()
    ]
    if not found:
        raise DataError(
            f"no photographs below {folder}: expected {folder}/{COUNTS[0]} … {folder}/{COUNTS[-1]}"
        )
    return found
