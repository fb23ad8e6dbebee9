"""Searches for a training recipe with AutoGluon: python -m services.explore --budget 20m"""

import argparse
import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from botocore.exceptions import ClientError
from rich.table import Table

from containers.common.duration import Seconds
from containers.common.errors import ModelError, ServiceError, SettingsError
from services import artifacts, console, jobs
from services.aws import Aws
from services.settings import Settings
from services.train import pair

LEADERBOARD, RECIPE = "leaderboard.csv", "recipe.json"  # what the job leaves, and keeps as it goes
NOT_TRIED = "not tried"  # the leaderboard's word for a candidate that the search ended before
ENDED = ("Completed", "Failed", "Stopped")
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
    p.add_argument(
        "--checkpoints",
        help="s3://… to go on from and to keep finished trials in (default: a place of the job's own)",
    )
    p.add_argument("--no-wait", action="store_true", help="start the job and return")
    p.add_argument("--job", help="start none: wait for this one, and fetch what it has found")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Returns the folder with leaderboard and recipe; None for a job that is not waited for."""
    flags = parser().parse_intermixed_args(arguments)
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
        print(f"exploration  {job}\ndata         {data}\nits results  {later(job)}", flush=True)
        if flags.no_wait:
            print(f"its log      {jobs.log_command(jobs.TRAINING_LOGS, job)}")
            return None
    document = watch(aws, job)
    folder = fetch(aws, document)
    report(folder)
    conclude(document, folder)
    newest = settings.recipe
    shutil.copy(folder / RECIPE, newest)
    print(f"written to {folder}; {newest} is what 'make train' takes by default")
    return folder


def request(
    aws: Aws, job: str, data: str, hyperparameters: dict[str, str], budget: float, checkpoints: str | None
) -> dict:
    """CreateTrainingJob's parameters; ``budget`` in seconds. checkpoints: by default the job's own."""
    ours = f"s3://{aws.default_bucket()}/{aws.settings.prefix}"
    return {
        "TrainingJobName": job,
        "RoleArn": aws.role_for("training"),
        "AlgorithmSpecification": {
            "TrainingImage": aws.image("explore"),
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in METRICS.items()],
        },
        "HyperParameters": hyperparameters,
        "InputDataConfig": jobs.training_channels(data),
        "OutputDataConfig": {"S3OutputPath": f"{ours}/exploration"},
        # A job that fails leaves nothing else. Below exploration/ its role may not read, as going on does.
        "CheckpointConfig": {"S3Uri": checkpoints or f"{ours}/checkpoints/{job}"},
        "ResourceConfig": {
            "InstanceType": aws.settings.explore_instance,
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": int(budget) + MARGIN},
        "Tags": [{"Key": "project", "Value": "bintally"}],
    }


def later(job: str) -> str:
    """The command that fetches what a job has found."""
    return f"python -m services.explore --job {job}"


def watch(aws: Aws, job: str) -> dict:
    """Show a job's log until it ends, however it does; returns its description.

    Raises ServiceError, which says how to fetch what it finds, when it is no longer watched before that.
    """
    sagemaker = aws.client("sagemaker")
    document = sagemaker.describe_training_job(TrainingJobName=job)
    if document["TrainingJobStatus"] in ENDED:
        return document
    try:
        return jobs.wait_for_training(aws, job)
    except ServiceError as error:
        document = sagemaker.describe_training_job(TrainingJobName=job)
        if document["TrainingJobStatus"] in ENDED:
            return document
        raise ServiceError(f"{error}. To fetch what it finds: {later(job)}") from None


def fetch(aws: Aws, document: dict) -> Path:
    """Put what a job that has ended has found below ``explorations``; returns the folder.

    It is in the artifact, or else in the checkpoints: a job that failed has no artifact, and one that was
    stopped may have had no time for it.
    """
    folder = aws.settings.local / "explorations" / document["TrainingJobName"]
    folder.mkdir(parents=True, exist_ok=True)
    if artifact := document.get("ModelArtifacts", {}).get("S3ModelArtifacts"):
        with _where_there_is_one():
            artifacts.fetch(aws, artifact, folder)
    if not (folder / LEADERBOARD).exists() and (checkpoints := _checkpoints(document)):
        for name in (LEADERBOARD, RECIPE):
            with _where_there_is_one():
                aws.download(f"{checkpoints}/{name}", folder / name)
    return folder


def _checkpoints(document: dict) -> str:
    return document.get("CheckpointConfig", {}).get("S3Uri", "").rstrip("/")


@contextmanager
def _where_there_is_one() -> Iterator[None]:
    """An object that is not in S3 is no error."""
    try:
        yield
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise


def conclude(document: dict, folder: Path) -> None:
    """Say how a job ended that did not complete, where its trials are, and how to go on after them.

    Raises ServiceError for one that failed, or that found no recipe.
    """
    job, status = document["TrainingJobName"], document["TrainingJobStatus"]
    found_recipe = (folder / RECIPE).exists()
    if status == "Completed" and found_recipe:
        return
    said = [f"{job} ended as {document['SecondaryStatus']}", document.get("FailureReason", "")]
    if not found_recipe:
        said.append("it has found no recipe")
    if not (folder / LEADERBOARD).exists():
        said.append(f"it has kept no trial; its whole log: {jobs.log_command(jobs.TRAINING_LOGS, job)}")
    elif checkpoints := _checkpoints(document):
        said.append(f"its trials are in {folder / LEADERBOARD} and {checkpoints}")
        said.append(f"to go on after them: the same command with --checkpoints {checkpoints}")
    line = "; ".join(filter(None, said))
    if status == "Failed" or not found_recipe:
        raise ServiceError(line)
    print(line)


def report(folder: Path) -> None:
    """The leaderboard, the second round and the most accurate first; what went wrong; the verdict.

    Without a recipe there is no verdict, and without a leaderboard nothing to report.
    """
    board, recipe = folder / LEADERBOARD, folder / RECIPE
    if not board.exists():
        return
    try:
        with board.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        provenance = json.loads(recipe.read_text())["provenance"] if recipe.exists() else {}
        table, verdict = leaderboard(rows, provenance), provenance["verdict"] if provenance else ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no exploration's results: {error!r}") from None
    console.out.print(table)
    for row in rows:
        if row["reason"]:
            what = f"trial {row['trial']} ({row['architecture']}), {row['status']}"
            console.out.print(f"{what}: {row['reason']}", markup=False, style="dim")
    if verdict:
        console.out.print(verdict, markup=False, style="bold")


def leaderboard(rows: list[dict[str, str]], provenance: dict) -> Table:
    """One row a trial, trained on epochs × photographs; that of the winner, if there is one, is green."""
    tried = sum(row["status"] != NOT_TRIED for row in rows)
    table = Table(title=f"{tried} trials", box=None, padding=(0, 1, 0, 0))
    for name in ("no", "network", "from", "px", "batch", "rate", "trained", "accuracy", "s"):
        table.add_column(name, justify="left" if name in ("network", "from") else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: (row["round"], -float(row["validation_accuracy"] or 0))):
        won = (row["trial"], row["round"]) == (str(provenance.get("trial")), provenance.get("round"))
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
