"""Scores a trained model on the test bins: python -m services.evaluate"""

import argparse
import json
from collections.abc import Sequence

from rich.table import Table

from containers.common import metrics
from services import artifacts, console, jobs
from services.aws import Aws
from services.settings import Settings

FILES = ("evaluation.json", "evaluation.html", "predictions.csv")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.evaluate", description=__doc__.split(":")[0])
    p.add_argument("--model", help=artifacts.HELP)
    p.add_argument("--data", help="s3://… of an uploaded data set (default: the last that was uploaded)")
    p.add_argument(
        "--wrong-records",
        type=float,
        metavar="SHARE",
        help="share of records assumed to be wrong (default: 0.05)",
    )
    p.add_argument("--evaluate-instance", metavar="TYPE", help="instance type")
    p.add_argument(
        "--train-image", metavar="URI", help="the image that evaluates, which is the training image"
    )
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns ``evaluation.json``."""
    flags = parser().parse_args(arguments)
    settings = Settings.load(flags)
    aws = Aws(settings)
    console.target(aws, flags.aws)
    data = (flags.data or jobs.newest_dataset(aws)).rstrip("/")
    model = artifacts.resolve(aws, flags.model)
    job = jobs.name(jobs.EVALUATION)
    output = f"s3://{aws.default_bucket()}/{settings.prefix}/evaluation/{job}"
    wrong = [f"--wrong-records={flags.wrong_records}"] if flags.wrong_records is not None else []
    aws.client("sagemaker").create_processing_job(**request(aws, job, model, data, output, wrong))
    print(f"processing job  {job}\nmodel           {model}\ndata            {data}")
    jobs.wait_for_processing(aws, job)
    folder = settings.local / "evaluations" / job
    aws.download_files(output, FILES, folder)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    report(evaluation)
    print(f"predictions     {folder / 'predictions.csv'}\nthe page        {folder / 'evaluation.html'}")
    return evaluation


def request(aws: Aws, job: str, model: str, data: str, output: str, arguments: Sequence[str] = ()) -> dict:
    """CreateProcessingJob's parameters. Test photographs are scored, validation fits thresholds.

    arguments: of ``containers.train.evaluate``.
    """
    inputs = {
        "model": model,
        "test": f"{data}/test/",
        "validation": f"{data}/validation/",
        "manifest": f"{data}/manifest.csv",
    }
    return jobs.processing(
        aws, job, "containers.train.evaluate", list(arguments), inputs, {"evaluation": output}
    )


def report(evaluation: dict) -> None:
    console.out.print(scores(evaluation))
    console.out.print(detection(evaluation["detection"]))
    if not evaluation["trained_on_this_data"]:
        console.out.print(
            "careful: the model was trained on another data set; if it learnt from these bins there, its "
            "scores are too good"
        )


def scores(evaluation: dict) -> Table:
    """The model and, below it, what its scores are to be held against."""
    base, data = evaluation["baselines"], evaluation["data"]
    majority, published = base["majority_class"], base["published"]
    title = f"{data['photographs']:,} test photographs of {data['bins']:,} bins, 95 % intervals over bins"
    table = Table("", title=title)
    for column in ("exact", "within one", "RMSE", "ECE"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("this model", *_cells(evaluation["metrics"]), style="bold", end_section=True)
    table.add_row(f"always answering {majority['count']}", *_cells(majority["metrics"]))
    table.add_row("neighbouring names", *_cells(base["no_pixels"]["metrics"]))
    table.add_row("  leaky random split", *_cells(base["no_pixels_random_split"]["metrics"]))
    table.add_row("published elsewhere", console.percent(published["accuracy"], 2), *"–––")
    return table


def _cells(values: dict) -> list[str]:
    percents = {"accuracy": True, "within_one": True, "rmse": False, "ece": False}
    return [metrics.shown(values.get(key), percent, two_lines=True) for key, percent in percents.items()]


def detection(found: dict) -> Table:
    """What is caught at each rate of false alarms; thresholds come from validation photographs."""
    table = Table("false alarms asked for", title=f"{100 * found['wrong_records']:g} % of records wrong")
    levels = [*found["levels"], found["deployed"]]
    asked = [f"{100 * level['decision']['false_alarm_rate']:g} %" for level in found["levels"]]
    for column in (*asked, "deployed"):
        table.add_column(column, justify="right", no_wrap=True)
    lines = {
        "false alarms": [level["false_alarms"] for level in levels],
        "wrong records caught": [level["caught"] for level in levels],
        **{
            f"  wrong by {size}": [level["caught_by_size"][size] for level in levels]
            for size in found["deployed"]["caught_by_size"]
        },
        "alarms that are right": [level["precision"] for level in levels],
        "bins unsure": [level["unsure"] for level in levels],
    }
    for name, shares in lines.items():
        table.add_row(name, *(metrics.shown(share, percent=True, two_lines=True) for share in shares))
    return table


if __name__ == "__main__":
    raise SystemExit(console.run(main))
