"""How fast the monitor reads captured records from S3, and how much memory all its processes take together.

    .local/venv/operator/bin/python -m bench.monitor [RECORDS]

A localcloud of its own is the S3 and shares the processor with what is measured; on AWS it would not. The
speed is that of listing, joining true counts and reading; the whole job also measures a sample of the
photographs and draws the page. Small requests name their photograph in S3. With photographs in the records
the bytes decide, so their rate is in megabytes, too. Processor seconds are those of the job alone: what
else the machine does in the meantime changes the speed, and hardly them.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import psutil

from bench import machine
from containers.common import archive
from containers.common import card as cards
from services.artifacts import SHIPPED
from tests.captured import NOON, answer, key, record
from tests.operator.conftest import Cloud
from tests.squares import TRAIN_PYTHON

RECORDS, PER_OBJECT, HOURS = 1_000_000, 1_000, 168
PHOTOGRAPHS, PHOTOGRAPHS_PER_OBJECT, PHOTOGRAPH_BYTES = 2_000, 50, 50_000
TRUE_COUNTS = 100_000
ALLOWED_SPEED, ALLOWED_MEGABYTES = 50_000, 500
BUCKET = "bench"


def small(records: int) -> Iterator[bytes]:
    draw = np.random.default_rng(0)
    verdicts = ("match", "unsure", "mismatch")
    counts, confidences = draw.integers(1, 6, records), draw.random(records)
    for number, (count, sure) in enumerate(zip(counts, confidences, strict=True)):
        output = answer(int(count), round(float(sure), 6), verdicts[number % 3])
        yield record(f"event-{number:08}", hour(number, records), output)


def large(records: int) -> Iterator[bytes]:
    """Of noise, which is no photograph: it is read as one would be, and found to be none."""
    body = np.random.default_rng(0).bytes(PHOTOGRAPH_BYTES)
    for number in range(records):
        yield record(f"event-{number:08}", hour(number, records), answer(), body)


def hour(number: int, records: int):
    return NOON + timedelta(hours=number * HOURS // records)


def upload(cloud: Cloud, endpoint: str, records: int, lines: Iterator[bytes], each: int) -> None:
    s3 = cloud.client("s3")
    for start in range(0, records, each):
        body = b"".join(islice(lines, each))
        name = key(f"capture/{endpoint}", "AllTraffic", hour(start, records), f"{start:08}")
        s3.put_object(Bucket=BUCKET, Key=name, Body=body)


def read(cloud: Cloud, folder: Path, endpoint: str, feedback: str) -> tuple[dict, float, float, float]:
    """(monitor.json, seconds of the whole job, of all its processes' processor time, most megabytes)."""
    used = _processor_seconds()
    job = subprocess.Popen(
        [
            TRAIN_PYTHON, "-m", "containers.train.monitor",
            "--endpoint", endpoint, "--variants", "AllTraffic",
            "--capture", f"s3://{BUCKET}/capture/{endpoint}", "--feedback", f"s3://{BUCKET}/{feedback}",
            "--since", NOON.isoformat(), "--until", (NOON + timedelta(hours=HOURS)).isoformat(),
            "--window", "3600", "--recent", "86400", "--sample", "200",
        ],
        cwd=machine.ROOT,
        env=cloud.environment | {"SAGEMAKER_BASE_DIR": str(folder), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    start, most = time.perf_counter(), 0
    process = psutil.Process(job.pid)
    while job.poll() is None:
        most = max(most, _resident(process))
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    assert job.returncode == 0
    document = json.loads((folder / "processing" / "monitor" / "monitor.json").read_text())
    return document, seconds, _processor_seconds() - used, most / 1e6


def _processor_seconds() -> float:
    """Of the processes that have ended below this one, localcloud excepted, which ends last."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _resident(process: psutil.Process) -> int:
    """Bytes; of what several processes share, each is given its part."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += each.memory_full_info().pss
    return total


def row(what: str, document: dict, seconds: float, processor: float, megabytes: float) -> dict:
    records, took = document["records"]["read"], document["capture"]["seconds"]
    return {
        "what": what,
        "records": records,
        "objects": document["capture"]["objects"],
        "megabytes": f"{document['capture']['bytes'] / 1e6:.0f}",
        "records_per_second": f"{records / took:.0f}",
        "megabytes_per_second": f"{document['capture']['bytes'] / 1e6 / took:.0f}",
        "seconds_of_the_whole_job": f"{seconds:.1f}",
        "processor_seconds_of_the_whole_job": f"{processor:.1f}",
        "peak_megabytes_of_memory": f"{megabytes:.0f}",
        "allowed_records_per_second": ALLOWED_SPEED if what.startswith("small") else "",
        "allowed_megabytes_of_memory": ALLOWED_MEGABYTES,
    }


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "processing" / "model").mkdir(parents=True)
        (folder / "card").mkdir()
        dataclasses.replace(cards.read(SHIPPED), name="model-a").write(folder / "card")
        archive.pack(folder / "card", folder / "processing" / "model" / "model.tar.gz")
        cloud = Cloud(folder / "cloud")
        cloud("up")
        try:
            cloud.client("s3").create_bucket(Bucket=BUCKET)
            upload(cloud, "small", records, small(records), PER_OBJECT)
            upload(cloud, "large", PHOTOGRAPHS, large(PHOTOGRAPHS), PHOTOGRAPHS_PER_OBJECT)
            known = min(TRUE_COUNTS, records)
            told = (json.dumps({"event_id": f"event-{n:08}", "count": 3}) for n in range(known))
            cloud.client("s3").put_object(
                Bucket=BUCKET, Key="true/counts.jsonl", Body="\n".join(told).encode()
            )
            for what, endpoint, feedback in (
                ("small requests", "small", "none"),
                (f"small requests, {known} true counts joined", "small", "true"),
                (f"photographs of {PHOTOGRAPH_BYTES // 1000} kB", "large", "none"),
            ):
                rows.append(row(what, *read(cloud, folder, endpoint, feedback)))
                print(rows[-1], flush=True)
        finally:
            cloud("down")
    machine.write("monitor", rows, "orjson", "numpy", "boto3")


if __name__ == "__main__":
    main()
