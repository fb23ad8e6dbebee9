"""All of a span's captured records, read by several processes: sums of each window, and a sample measured."""

import io
import os
from base64 import b64decode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from containers.common import photograph
from containers.common.parallel import in_processes
from containers.train.monitor import feedback, storage
from containers.train.monitor.appearance import Appearance, measure
from containers.train.monitor.reading import Reference, Span, Summary, read

BATCH_BYTES = 8 << 20  # objects that a process fetches together; a larger one is streamed alone
BATCH_PHOTOGRAPHS = 64
GAP_BYTES, RANGE_BYTES = 256 << 10, 4 << 20  # between two photographs that one request fetches, and of all
MOST_WORKERS = 4  # a hundred megabytes each, and half a gigabyte is all that there is


@dataclass(frozen=True)
class Task:
    """What every process is told."""

    bucket: str
    span: Span
    sample: int  # photographs of a window
    truths: Path | None  # a file of Feedback


def summarise(found: Sequence[storage.Found], task: Task) -> Summary:
    """The sums of all records in these objects."""
    total = Summary()
    batches = list(_batches(found))
    for part in in_processes(partial(_read, task), batches, _workers(batches), chunk=1):
        total.add(part, task.sample)
    return total


def look(bucket: str, sample: Sequence[Reference], rule: list[dict]) -> list[Appearance | None]:
    """Each photograph of a sample, in order; None where the record holds none that can be decoded.

    sample: by object and offset, since near ones are fetched together. rule: the card's resize rule, so that
    they are measured as the network sees them.
    """
    batches = [sample[i : i + BATCH_PHOTOGRAPHS] for i in range(0, len(sample), BATCH_PHOTOGRAPHS)]
    work = partial(_look, bucket, rule)
    return [seen for some in in_processes(work, batches, _workers(batches), chunk=1) for seen in some]


def _workers(batches: Sequence) -> int:
    """No more processes than cores, nor than there is work for: each takes a second to start."""
    return max(1, min(len(os.sched_getaffinity(0)), len(batches), MOST_WORKERS))


def _batches(found: Sequence[storage.Found]) -> Iterator[list[storage.Found]]:
    batch, size = [], 0
    for item in found:
        if batch and size + item.size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _read(task: Task, batch: list[storage.Found]) -> Summary:
    truth = task.truths and feedback.truth(task.truths)
    total = Summary()

    def summed(lines, item: storage.Found) -> None:
        total.add(read(lines, item.key, item.variant, task.span, task.sample, truth), task.sample)

    if len(batch) == 1:
        summed(storage.lines(task.bucket, batch[0].key), batch[0])
        return total
    with ThreadPoolExecutor(storage.THREADS) as pool:  # small objects: what takes time is asking for them
        bodies = pool.map(lambda item: storage.part(task.bucket, item.key, 0, item.size), batch)
        for item, body in zip(batch, bodies, strict=True):
            summed(io.BytesIO(body), item)
    return total


def _look(bucket: str, rule: list[dict], sample: Sequence[Reference]) -> list[Appearance | None]:
    def fetch(near: list[Reference]) -> list[bytes]:
        first, end = near[0].offset, near[-1].offset + near[-1].length
        data = storage.part(bucket, near[0].key, first, end - first)
        return [data[at.offset - first :][: at.length] for at in near]

    with ThreadPoolExecutor(storage.THREADS) as pool:
        return [_measured(line, rule) for lines in pool.map(fetch, list(_near(sample))) for line in lines]


def _near(sample: Sequence[Reference]) -> Iterator[list[Reference]]:
    """Runs of references so near to each other that asking for all at once takes less time."""
    run: list[Reference] = []
    for at in sample:
        together = (
            run
            and at.key == run[0].key
            and at.offset - (run[-1].offset + run[-1].length) <= GAP_BYTES
            and at.offset + at.length - run[0].offset <= RANGE_BYTES
        )
        if run and not together:
            yield run
            run = []
        run.append(at)
    if run:
        yield run


def _measured(line: bytes, rule: list[dict]) -> Appearance | None:
    try:
        sent = orjson.loads(line)["captureData"]["endpointInput"]
        data = sent["data"]
        if sent["encoding"] != "BASE64":
            data = orjson.loads(data)["image"]  # JSON may name a photograph in S3 instead
        image = photograph.decode(b64decode(data))
    except (KeyError, TypeError, ValueError, photograph.PhotographError):
        return None
    return measure(photograph.resize(image, rule), image.size)
