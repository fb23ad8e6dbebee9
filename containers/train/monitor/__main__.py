"""The monitoring job: what an endpoint captured in, ``monitor.json`` and its page out.

A SageMaker processing job of the training image. Below ``processing/``, in: ``model/model.tar.gz``, the
model behind the endpoint; out: ``monitor/{monitor.json,monitor.html}``. Captured records are read from S3
as a stream, not given as an input: a span may hold more of them than an instance has disk.

A package's ``__main__``, since the processes that read are spawned and would otherwise import all of this.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from containers.common import card as cards
from containers.common import job, paths
from containers.common.archive import unpack
from containers.common.errors import BinTallyError
from containers.train.monitor import capture, cloudwatch, document, page, storage
from containers.train.monitor.feedback import Feedback
from containers.train.monitor.reading import Span


def monitor(flags: argparse.Namespace, card: cards.Card, scratch: Path) -> dict:
    """The whole document. Raises ServiceError, or boto3's own errors for what S3 refuses."""
    began = time.monotonic()
    span = Span(flags.since, flags.until, flags.window)
    place, given = storage.Place.parse(flags.capture), storage.Place.parse(flags.feedback)
    found = storage.captured(place, span)
    size = sum(item.size for item in found)
    print(f"{len(found):,} objects with {size / 1e6:,.1f} MB below {flags.capture}", flush=True)
    with closing(Feedback(scratch / "feedback.sqlite")) as feedback:
        for key, _ in storage.objects(given.bucket, given.prefix):
            if key.endswith(".jsonl"):
                feedback.add(storage.lines(given.bucket, key))
        task = capture.Task(place.bucket, span, flags.sample, feedback.path if len(feedback) else None)
        summary = capture.summarise(found, task)
        known = len(feedback)
    seconds = time.monotonic() - began
    print(f"{summary.records:,} records in {seconds:.1f} s", flush=True)

    sample = [(where, at) for where, cell in summary.cells.items() for at in cell.sample]
    sample.sort(key=lambda each: (each[1].key, each[1].offset))
    looks = capture.look(place.bucket, [at for _, at in sample], card.resize)
    seen: dict[document.Where, list] = {}
    for (where, _), look in zip(sample, looks, strict=True):
        if look is not None:
            seen.setdefault(where, []).append(look)
    print(f"{sum(map(len, seen.values())):,} photographs measured", flush=True)

    told = document.describe(span, flags.recent, document.Live.of(card), summary, seen, flags.sample)
    joined = sum(cell.checked for cell in summary.cells.values())
    return {
        "endpoint": flags.endpoint,
        **told,
        "metrics": document.metrics(told),
        "feedback": {
            "place": flags.feedback,
            "counts": known,
            "joined": joined,
            "unknown": known - joined,
            "unreadable": feedback.unreadable,
        },
        "capture": {
            "place": flags.capture,
            "objects": len(found),
            "bytes": size,
            "seconds": round(seconds, 2),
        },
        "cloudwatch": _cloudwatch(flags.endpoint, flags.variants, span),
    }


def _cloudwatch(endpoint: str, variants: Sequence[str], span: Span) -> dict:
    """What CloudWatch knows; a role that may not ask it is told so on the page, and nothing else is lost."""
    try:
        return {
            "variants": {v: cloudwatch.endpoint_metrics(endpoint, v, span) for v in variants},
            "alarms": cloudwatch.alarms(f"bintally-{endpoint}-"),
            "refused": None,
        }
    except ClientError as error:
        return {"variants": {}, "alarms": [], "refused": cloudwatch.refused(error)}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m containers.train.monitor")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--variants", nargs="+", required=True, help="names of its production variants")
    parser.add_argument("--capture", required=True, help="s3://…/<endpoint>, above the variants' folders")
    parser.add_argument("--feedback", required=True, help="s3://…, above *.jsonl with event_id and count")
    parser.add_argument("--since", type=_seconds, required=True, help="ISO 8601 with its zone")
    parser.add_argument("--until", type=_seconds, required=True)
    parser.add_argument("--window", type=int, required=True, help="seconds")
    parser.add_argument("--recent", type=int, required=True, help="seconds before the end: metrics, alarms")
    parser.add_argument("--sample", type=int, required=True, help="photographs measured of each window")
    return parser.parse_args(arguments)


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        flags = _parse(arguments)
        with tempfile.TemporaryDirectory() as scratch:
            unpack(paths.processing("model", "model.tar.gz"), Path(scratch))
            told = monitor(flags, cards.read(Path(scratch)), Path(scratch))
    except (BinTallyError, BotoCoreError, ClientError, OSError) as error:
        return job.failed(error, str(error))
    target = paths.processing("monitor")
    target.mkdir(parents=True, exist_ok=True)
    (target / "monitor.json").write_text(json.dumps(told, indent=2, allow_nan=False) + "\n")
    (target / "monitor.html").write_text(page.page(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
