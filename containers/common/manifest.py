"""``manifest.csv``: which photograph is where, and the fingerprint of the whole."""

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from containers.common.errors import DataError

FILE = "manifest.csv"
COUNTS = (1, 2, 3, 4, 5)
MAIN, EXTRA = "main", "extra"  # extras are of another selection, with counts in other shares: training only


@dataclass(frozen=True, order=True)
class Row:
    """One photograph. Names are strings: ``1044`` and ``01044`` are two photographs."""

    name: str
    count: int  # items in the bin, one of COUNTS
    split: str  # train, validation or test
    group: str  # the bin: rows that share it are on one side
    width: int  # pixels
    height: int
    sha256: str  # of the file's bytes
    source: str = MAIN  # the list that named it


COLUMNS = tuple(field.name for field in fields(Row))


def write(path: Path, rows: Iterable[Row]) -> None:
    """Sorted by name, so that equal data gives an equal file."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in sorted(rows))


def read(path: Path) -> list[Row]:
    """Raises DataError when the file is not a manifest."""
    with path.open(newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path} is not a manifest: its first line must be {','.join(COLUMNS)}")
        try:
            return [
                Row(**{**row, **{key: int(row[key]) for key in ("count", "width", "height")}})
                for row in reader
            ]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def check(rows: Iterable[Row], names: Iterable[str]) -> None:
    """Raises DataError where a photograph of these names is in none of the rows."""
    strangers = sorted(set(names) - {row.name for row in rows})
    if strangers:
        raise DataError(
            f"the manifest does not name {len(strangers)} of the photographs, {strangers[0]} first"
        )


def fingerprint(rows: Iterable[Row]) -> str:
    """SHA-256 (hex) over the rows' name, count, split, source and sha256, sorted by name."""
    lines = (f"{row.name},{row.count},{row.split},{row.source},{row.sha256}\n" for row in sorted(rows))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
