"""Reads what the endpoint captured: a page, metrics and alarms: python -m services.monitor --since 7d"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from containers.common import deployment
from containers.common.errors import ServiceError, SettingsError
from services import alarms, console, jobs, pipeline, retraining, rollout
from services.alarms import Thresholds
from services.aws import Aws
from services.settings import Settings
from services.windows import Windows

FILES = ("monitor.json", "monitor.html")
SETTLING = 180  # seconds that CloudWatch may take to see a new sample; it evaluates once a minute


def parser() -> argparse.ArgumentParser:
    usual = Thresholds()
    p = argparse.ArgumentParser(prog="python -m services.monitor", description=__doc__.split(":")[0])
    p.add_argument("--endpoint", help="name of the endpoint")
    p.add_argument("--since", default="7d", metavar="TIME", help="2026-07-01T12:00, or 7d ago (default)")
    p.add_argument(
        "--until", default="now", metavar="TIME", help="the same (default: now); before now, moves no alarms"
    )
    p.add_argument("--window", default="1h", help="what one point of a picture stands for (default: 1h)")
    p.add_argument(
        "--recent", default="24h", help="what metrics and alarms are about, but for accuracy (default: 24h)"
    )
    p.add_argument("--sample", type=int, default=200, help="photographs measured of each window (200)")
    p.add_argument("--feedback", metavar="S3", help="folder of *.jsonl with event_id and count")
    p.add_argument(
        "--mismatch", type=float, default=usual.mismatch, help="alarm above this share (default: 0.2)"
    )
    p.add_argument(
        "--confidence-drop",
        type=float,
        default=usual.confidence_drop,
        help="alarm so far below validation (0.05)",
    )
    p.add_argument("--drift", type=float, default=usual.drift, help="alarm above this index (default: 0.25)")
    p.add_argument(
        "--accuracy-drop",
        type=float,
        default=usual.accuracy_drop,
        help="alarm so far below the model's card, even at best (0.05)",
    )
    p.add_argument(
        "--quiet-hours", type=int, default=usual.quiet_hours, help="alarm after hours without requests (1)"
    )
    p.add_argument("--no-alarms", action="store_true", help="neither publish metrics nor put alarms")
    p.add_argument("--retrain", action="store_true", help="start the pipeline when the model has aged")
    p.add_argument("--data", help="s3://… to retrain on (default: the data set that was uploaded last)")
    p.add_argument("--monitor-instance", metavar="TYPE", help="instance type")
    p.add_argument("--train-image", metavar="URI", help="the image that reads, which is the training image")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns ``monitor.json``."""
    flags = parser().parse_args(arguments)
    if flags.retrain and flags.no_alarms:
        raise SettingsError("--retrain goes by the alarms: leave --no-alarms out")
    if flags.sample < 0:
        raise SettingsError(f"--sample {flags.sample} is no number of photographs")
    windows = Windows.parse(flags.since, flags.until, flags.window, flags.recent)
    if flags.retrain and windows.past:
        raise SettingsError(f"--retrain goes by the alarms of now: leave --until {flags.until} out")
    settings = Settings.load(flags)
    aws = Aws(settings)
    console.target(aws, flags.aws)
    endpoint = rollout.describe(aws, aws.settings.endpoint)
    if endpoint is None or not endpoint.get("ProductionVariants"):
        raise ServiceError(f"no endpoint {settings.endpoint} that serves: run 'make deploy' first")
    document, folder = read(aws, endpoint, windows, flags)

    live, metrics = document["live"], document["metrics"]
    drops = flags.confidence_drop, flags.accuracy_drop
    thresholds = Thresholds(flags.mismatch, flags.drift, *drops, flags.quiet_hours)
    watching = alarms.wanted(thresholds, live["baseline"], live["accuracy"])
    if windows.past:  # what was true then must not move the alarms of today
        print(f"the past        --until {flags.until} is before now: no metrics published, no alarms put")
    elif not flags.no_alarms:
        alarms.put(aws, settings.endpoint, watching)
        alarms.put_no_traffic(aws, settings.endpoint, thresholds.quiet_hours)
        alarms.publish(aws, settings.endpoint, metrics)
    report(document, watching)
    print(f"the page        {folder / 'monitor.html'}")
    if flags.retrain:
        states = settled(aws, settings.endpoint, watching, metrics)
        data = ["--data", flags.data] if flags.data else []
        asked = pipeline.parser().parse_args(["start", "--endpoint-name", settings.endpoint, *data])
        retraining.retrain(aws, states, partial(pipeline.start, aws, asked))
    return document


def read(aws: Aws, endpoint: Mapping, windows: Windows, flags: argparse.Namespace) -> tuple[dict, Path]:
    """Have a job read what was captured; returns its document, and the folder with that and the page."""
    settings, job = aws.settings, jobs.name(jobs.MONITORING)
    base = f"s3://{aws.default_bucket()}/{settings.prefix}"
    capture = (endpoint.get("DataCaptureConfig") or {}).get(
        "DestinationS3Uri", f"{base}/{deployment.CAPTURE}"
    )
    output = f"{base}/monitor/{job}"
    asked = [
        "--endpoint", settings.endpoint,
        "--variants", *(variant["VariantName"] for variant in endpoint["ProductionVariants"]),
        "--capture", f"{capture}/{settings.endpoint}",
        "--feedback", flags.feedback or f"{base}/feedback/{settings.endpoint}",
        "--sample", str(flags.sample),
        *windows.arguments(),
    ]  # fmt: skip
    # The job reads captured records from S3 itself: no input could hold them all.
    inputs, outputs = {"model": live_model(aws, endpoint)}, {"monitor": output}
    request = jobs.processing(
        aws,
        job,
        "containers.train.monitor",
        asked,
        inputs,
        outputs,
        settings.monitor_instance,
        work="monitor",
    )
    aws.client("sagemaker").create_processing_job(**request)
    print(f"processing job  {job}\nendpoint        {settings.endpoint}\ncaptured in     {capture}")
    jobs.wait_for_processing(aws, job)
    folder = settings.local / "monitor" / job
    aws.download_files(output, FILES, folder)
    return json.loads((folder / "monitor.json").read_text()), folder


def live_model(aws: Aws, endpoint: Mapping) -> str:
    """S3 address of the artifact behind the endpoint's first variant: ours have one."""
    sagemaker = aws.client("sagemaker")
    configuration = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    name = configuration["ProductionVariants"][0]["ModelName"]
    return sagemaker.describe_model(ModelName=name)["PrimaryContainer"]["ModelDataUrl"]


def settled(
    aws: Aws, endpoint: str, watching: Sequence[alarms.Alarm], metrics: Mapping[str, float]
) -> dict[str, dict]:
    """The states of the alarms, once CloudWatch has seen this reading, or has had ``SETTLING`` seconds."""
    expected = {
        alarm.kind: alarm.crossed(metrics[alarm.metric]) for alarm in watching if alarm.metric in metrics
    }
    deadline = time.monotonic() + SETTLING
    while True:
        states = alarms.states(aws, endpoint)
        behind = [k for k, fires in expected.items() if (states[k]["StateValue"] == "ALARM") != fires]
        if not behind or time.monotonic() > deadline:
            break
        time.sleep(jobs.POLL)
    if behind:
        print(f"CloudWatch has not evaluated {', '.join(behind)} within {SETTLING} s; its word counts")
    return states


def report(document: Mapping, watching: Sequence[alarms.Alarm]) -> None:
    """The numbers that the alarms watch, and which of them are over their bounds."""
    recent, records = document["recent"], document["records"]
    table = Table(title=f"{recent['records']:,} of {records['read']:,} requests read are recent")
    table.add_column("metric")
    for column in ("value", "alarm"):
        table.add_column(column, justify="right")
    bounds = {alarm.metric: alarm for alarm in watching}
    for name, value in document["metrics"].items():
        alarm = bounds.get(name)
        bound = f"{'below' if alarm.below else 'above'} {alarm.bound:.3f}" if alarm else "–"
        crossed = bool(alarm and alarm.crossed(value))
        shown = f"{value:,.0f}" if name == "CapturedRequests" else f"{value:.3f}"
        table.add_row(name, shown, bound, style="bold red" if crossed else None)
    console.out.print(table)
    if unusable := sum(records["unusable"].values()):
        print(f"unusable        {unusable:,} records; the page says why")
    if document["feedback"]["unknown"]:
        print(f"feedback        {document['feedback']['unknown']:,} counts name events that were not read")
    if document["live"]["baseline"] is None:
        print("no baseline     in the model's card: drift and confidence have no alarm until one is trained")


if __name__ == "__main__":
    raise SystemExit(console.run(main))
