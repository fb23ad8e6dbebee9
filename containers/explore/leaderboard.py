"""``leaderboard.csv``: one row for each trial, failures included, in the order in which they ended.

Last come the candidates that were not tried.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_type_hints

from containers.common.errors import DataError
from containers.common.files import write_whole

FILE = "leaderboard.csv"
SUBSET, FULL = "subset", "full"  # rounds
COMPLETED, CUT_OFF, STOPPED, FAILED = "completed", "cut off", "stopped", "failed"  # statuses
NOT_TRIED = "not tried"  # the status of a candidate that the search ended before


@dataclass(frozen=True)
class Row:
    """One trial in one round. Accuracy and log loss are None where there was nothing to score."""

    trial: int
    round: str
    status: str
    validation_accuracy: float | None
    validation_log_loss: float | None  # nats
    architecture: str
    pretrained: bool  # what the network really started from
    image_size: int  # pixels
    batch_size: int
    learning_rate: float
    epochs: int
    photographs: int  # trained on
    photographs_per_second: float | None  # while training
    seconds: float  # from the start of its process to its end
    reason: str  # why it failed, was cut off, or is not what was asked for

    @property
    def rank(self) -> tuple[float, float]:
        """The higher, the better: accuracy, then log loss."""
        loss = self.validation_log_loss
        return (self.validation_accuracy or 0.0, -loss if loss is not None else float("-inf"))

    @property
    def done(self) -> bool:
        """Whether a search that goes on leaves it as it is."""
        return self.status in (COMPLETED, FAILED)


COLUMNS = tuple(field.name for field in fields(Row))


def write(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: "" if value is None else value for name, value in asdict(row).items()} for row in rows
    )
    write_whole(path, text.getvalue())


def read(path: Path) -> list[Row]:
    """Raises DataError when the file is no leaderboard."""
    with path.open(newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path} is no leaderboard: its first line must be {','.join(COLUMNS)}")
        hints = get_type_hints(Row)
        try:
            return [Row(**{name: READERS[hints[name]](text) for name, text in row.items()}) for row in reader]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def best(rows: list[Row], *conditions: Callable[[Row], bool]) -> Row | None:
    """The highest rank among rows that have an accuracy and meet every condition."""
    scored = [row for row in rows if row.validation_accuracy is not None and all(c(row) for c in conditions)]
    return max(scored, key=lambda row: row.rank, default=None)


READERS = {
    str: str,
    int: int,
    float: float,
    float | None: lambda text: float(text) if text else None,
    bool: {"True": True, "False": False}.__getitem__,
}
