"""Captured requests, a line each, summed by window and model. Wherever the lines come from.

A record is SageMaker's: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
Photographs are not looked at here: a record of each is kept in mind, and some are measured later.
"""

import heapq
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from containers.common.deployment import VERIFYING

STEPS = 1000  # of confidence: its distribution is kept to three digits
UNREADABLE, UNANSWERED, FOREIGN = "not a capture record", "no answer captured", "not an answer of BinTally"
Truth = Callable[[str], int | None]  # the true count by event id, where somebody has counted


def stamp(time: int) -> str:
    """Seconds since 1970 -> ``2026-07-01T12:00:00Z``."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Span:
    """Times in seconds since 1970, UTC; both ends are multiples of ``step``, the length of a window."""

    since: int
    until: int
    step: int

    def window(self, time: int) -> int:
        """The start of the window that a time lies in."""
        return time - time % self.step


class Reference(NamedTuple):
    """Where the record of a photograph lies: ``length`` bytes from ``offset`` of the object ``key``.

    rank: minus a number drawn by event id; those with the largest ranks are the sample.
    """

    rank: int
    key: str
    offset: int
    length: int


@dataclass
class Cell:
    """What one model answered in one window."""

    records: int = 0
    counts: Counter = field(default_factory=Counter)  # answers by count
    verdicts: Counter = field(default_factory=Counter)  # None is of those without a recorded count
    confidence: list[int] = field(default_factory=lambda: [0] * (STEPS + 1))  # answers by confidence
    confidence_sum: float = 0.0
    checked: int = 0  # answers whose true count is known
    exact: int = 0  # of those, the right ones
    alarms_checked: int = 0  # mismatches whose true count is known
    alarms_right: int = 0  # of those, the records that are wrong indeed
    sample: list[Reference] = field(default_factory=list)  # a heap

    def keep(self, reference: Reference, most: int) -> None:
        """Into the sample, which holds those of the largest ranks: whatever the order of reading."""
        if len(self.sample) < most:
            heapq.heappush(self.sample, reference)
        elif most and reference > self.sample[0]:
            heapq.heapreplace(self.sample, reference)

    def add(self, other: "Cell", most: int) -> None:
        for name in ("records", "confidence_sum", "checked", "exact", "alarms_checked", "alarms_right"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counts.update(other.counts)
        self.verdicts.update(other.verdicts)
        self.confidence = [a + b for a, b in zip(self.confidence, other.confidence, strict=True)]
        for reference in other.sample:
            self.keep(reference, most)


@dataclass
class Summary:
    """cells: by start of the window and name of the model. Its size does not depend on how much was read."""

    cells: dict[tuple[int, str], Cell] = field(default_factory=dict)
    variants: Counter = field(default_factory=Counter)  # records by variant
    unusable: Counter = field(default_factory=Counter)  # records by what is wrong with them
    outside: int = 0  # records of another time
    verifying: int = 0  # records of the pipeline's own requests, which say nothing of the traffic

    @property
    def records(self) -> int:
        return sum(self.variants.values())

    def add(self, other: "Summary", most: int) -> None:
        for key, cell in other.cells.items():
            self.cells.setdefault(key, Cell()).add(cell, most)
        self.variants.update(other.variants)
        self.unusable.update(other.unusable)
        self.outside += other.outside
        self.verifying += other.verifying


def read(
    lines: Iterable[bytes], key: str, variant: str, span: Span, sample: int, truth: Truth | None = None
) -> Summary:
    """Sum one object's records up. None is fatal: those that cannot be used are counted.

    lines: with their line ends. sample: how many photographs of a window are kept in mind.
    """
    summary, offset = Summary(), 0
    cells, unusable, minutes = summary.cells, summary.unusable, {}
    for line in lines:
        start, offset = offset, offset + len(line)
        if line.isspace():
            continue
        try:
            record = orjson.loads(line)
            sides, event = record["captureData"], record["eventMetadata"]
            minute, event_id = event["inferenceTime"][:16], event["eventId"]
            verifying = event.get("inferenceId", "").startswith(VERIFYING)
            time = minutes.get(minute)
            if time is None:
                time = minutes[minute] = _seconds(minute)
            output = sides.get("endpointOutput")
            rank = -zlib.crc32(event_id.encode())
        except (ValueError, KeyError, TypeError, AttributeError):
            unusable[UNREADABLE] += 1
            continue
        if not span.since <= time < span.until:
            summary.outside += 1
            continue
        if verifying:
            summary.verifying += 1
            continue
        if output is None:
            unusable[UNANSWERED] += 1
            continue
        try:
            count, confidence, verdict, recorded, model = _answer(output)
        except (ValueError, KeyError, TypeError):
            unusable[FOREIGN] += 1
            continue
        where = (span.window(time), model)
        cell = cells.get(where)
        if cell is None:
            cell = cells[where] = Cell()
        cell.records += 1
        cell.counts[count] += 1
        cell.verdicts[verdict] += 1
        cell.confidence[int(confidence * STEPS)] += 1
        cell.confidence_sum += confidence
        # Nearly all are turned away by their rank, before anything is made of them.
        wanted = sample > 0 and (len(cell.sample) < sample or rank >= cell.sample[0].rank)
        if wanted and _holds_photograph(sides):
            cell.keep(Reference(rank, key, start, len(line)), sample)
        if truth is not None and (true := truth(event_id)) is not None:
            cell.checked += 1
            cell.exact += true == count
            if verdict == "mismatch":
                cell.alarms_checked += 1
                cell.alarms_right += true != recorded
    answered = sum(cell.records for cell in cells.values())
    if answered:
        summary.variants[variant] = answered
    return summary


def _answer(output: dict) -> tuple[int, float, str | None, int | None, str]:
    """(count, confidence, verdict, recorded count, model); raises ValueError, KeyError or TypeError."""
    data = output["data"]
    answer = orjson.loads(b64decode(data) if output["encoding"] == "BASE64" else data)
    count, confidence, model = answer["count"], answer["confidence"], answer["model"]
    verdict = answer["verdict"]
    ours = isinstance(count, int) and isinstance(model, str) and isinstance(verdict, str | None)
    if not (ours and 0 <= confidence <= 1):
        raise ValueError("not our types")
    return count, confidence, verdict, answer["expected"], model


def _holds_photograph(sides: dict) -> bool:
    """Whether a photograph was sent: JSON may name one in S3 instead."""
    match sides.get("endpointInput"):
        case {"encoding": encoding, "data": str(data)}:
            return encoding == "BASE64" or '"image"' in data
    return False


def _seconds(text: str) -> int:
    """``2026-07-01T12:34`` -> seconds since 1970; seconds are left out, as windows are of whole minutes."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
