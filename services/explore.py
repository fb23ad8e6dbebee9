"""Searches for a training recipe with AutoGluon: python -m services.explore --budget 20m"""

import argparse
import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from containers.common.duration import Seconds
from containers.common.errors import ModelError, ServiceError, SettingsError
from services import artifacts, console, jobs
from services.aws import Aws
from services.settings import Settings
from services.train import pair

LEADERBOARD, RECIPE = "leaderboard.csv", "recipe.json"  # what the job leaves
MARGIN = 600  # seconds that SageMaker gives a job beyond its budget, which it keeps by itself
NUMBER = r"([0-9.]+)"
METRICS = {
    "trial:validation_accuracy": rf" validation_accuracy={NUMBER}",
    "trial:validation_log_loss": rf" validation_log_loss={NUMBER}",
    "trial:seconds": rf" seconds={NUMBER}",
    "best:validation_accuracy": rf"best_validation_accuracy={NUMBER}",
}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.explore", description=__doc__.split(":")[0])
    p.add_argument(
        "hyperparameters",
        nargs="*",
        metavar="name=value",
        help="of the search, such as profile=wide (for a GPU) or architectures=resnet18,convnext_atto",
    )
    p.add_argument("--budget", default="20m", help="time for all of it: 20m (default), 90s, 2h")
    p.add_argument("--data", help="s3://… of an uploaded data set (default: the last that was uploaded)")
    p.add_argument("--explore-instance", metavar="TYPE", help="instance type")
    p.add_argument("--explore-image", metavar="URI", help="the exploration image")
    p.add_argument("--checkpoints", help="s3://… to go on from and to keep finished trials in")
    p.add_argument("--no-wait", action="store_true", help="start the job and return")
    p.add_argument("--job", help="start none: wait for this one, and fetch what it has found")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Returns the folder with leaderboard and recipe; None for a job that is not waited for."""
    flags = parser().parse_args(arguments)
    settings = Settings.load(flags)
    hyperparameters = dict(pair(text) for text in flags.hyperparameters)
    budget = _budget(hyperparameters.setdefault("budget", flags.budget))
    aws = Aws(settings)
    console.target(aws, flags.aws)
    job = flags.job
    if not job:
        data = (flags.data or jobs.newest_dataset(aws)).rstrip("/")
        job = jobs.name(jobs.EXPLORATION)
        aws.client("sagemaker").create_training_job(
            **request(aws, job, data, hyperparameters, budget, flags.checkpoints)
        )
        print(f"exploration  {job}\ndata         {data}")
        if flags.no_wait:
            print(f"its log      {jobs.log_command(jobs.TRAINING_LOGS, job)}")
            print(f"its results  python -m services.explore --job {job}")
            return None
    folder = fetch(aws, job)
    report(folder)
    newest = settings.recipe
    shutil.copy(folder / RECIPE, newest)
    print(f"written to {folder}; {newest} is what 'make train' takes by default")
    return folder


def request(
    aws: Aws, job: str, data: str, hyperparameters: dict[str, str], budget: float, checkpoints: str | None
) -> dict:
    """CreateTrainingJob's parameters; ``budget`` in seconds."""
    parameters = {
        "TrainingJobName": job,
        "RoleArn": aws.role_for("training"),
        "AlgorithmSpecification": {
            "TrainingImage": aws.image("explore"),
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in METRICS.items()],
        },
        "HyperParameters": hyperparameters,
        "InputDataConfig": jobs.training_channels(data),
        "OutputDataConfig": {
            "S3OutputPath": f"s3://{aws.default_bucket()}/{aws.settings.prefix}/exploration"
        },
        "ResourceConfig": {
            "InstanceType": aws.settings.explore_instance,
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": int(budget) + MARGIN},
        "Tags": [{"Key": "project", "Value": "bintally"}],
    }
    if checkpoints:
        parameters["CheckpointConfig"] = {"S3Uri": checkpoints}
    return parameters


def fetch(aws: Aws, job: str) -> Path:
    """Wait for a job's end and unpack what it has found below ``explorations``.

    One that was stopped by hand has found something, too. Raises ServiceError for one without a recipe.
    """
    sagemaker = aws.client("sagemaker")
    document = sagemaker.describe_training_job(TrainingJobName=job)
    if document["TrainingJobStatus"] not in ("Completed", "Stopped"):
        document = jobs.wait_for_training(aws, job)
    folder = aws.settings.local / "explorations" / job
    folder.mkdir(parents=True, exist_ok=True)
    artifacts.fetch(aws, document["ModelArtifacts"]["S3ModelArtifacts"], folder)
    if not (folder / RECIPE).exists():
        raise ServiceError(f"{job} has found no recipe: no trial was finished before it was stopped")
    return folder


def report(folder: Path) -> None:
    """The leaderboard, the second round and the most accurate first; what went wrong; the verdict."""
    try:
        with (folder / LEADERBOARD).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        provenance = json.loads((folder / RECIPE).read_text())["provenance"]
        table, verdict = leaderboard(rows, provenance), provenance["verdict"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no exploration's results: {error!r}") from None
    console.out.print(table)
    for row in rows:
        if row["reason"]:
            what = f"trial {row['trial']} ({row['architecture']}), {row['status']}"
            console.out.print(f"{what}: {row['reason']}", markup=False, style="dim")
    console.out.print(verdict, markup=False, style="bold")


def leaderboard(rows: list[dict[str, str]], provenance: dict) -> Table:
    """One row a trial, trained on epochs × photographs; the winner's is green."""
    table = Table(title=f"{len(rows)} trials", box=None, padding=(0, 1, 0, 0))
    for name in ("no", "network", "from", "px", "batch", "rate", "trained", "accuracy", "s"):
        table.add_column(name, justify="left" if name in ("network", "from") else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: (row["round"], -float(row["validation_accuracy"] or 0))):
        won = (row["trial"], row["round"]) == (str(provenance["trial"]), provenance["round"])
        accuracy = row["validation_accuracy"]
        weights = "ImageNet" if row["pretrained"] == "True" else "scratch"
        table.add_row(
            row["trial"],
            row["architecture"],
            "default" if row["trial"] == "0" else weights,
            row["image_size"],
            row["batch_size"],
            f"{float(row['learning_rate']):g}",
            f"{row['epochs']} × {row['photographs']}",
            console.percent(float(accuracy), 1) if accuracy else row["status"],
            f"{float(row['seconds']):.0f}",
            style="bold green" if won else None if accuracy else "dim",
        )
    return table


def _budget(text: str) -> float:
    try:
        return Seconds.parse(text).value
    except ValueError as error:
        raise SettingsError(f"budget: {error}") from None


if __name__ == "__main__":
    raise SystemExit(console.run(main))
