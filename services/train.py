"""Trains a model on an uploaded data set: python -m services.train epochs=8 architecture=resnet18"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from containers.common import deployment
from containers.common import recipe as recipes
from containers.common.errors import SettingsError
from services import console, jobs
from services.aws import Aws
from services.settings import SWITCH, Settings

NUMBER = r"([0-9.]+(?:e[-+]?[0-9]+)?)"
PROFILING_INTERVAL = 500  # milliseconds between two of SageMaker's measurements of the instance
METRICS = {
    "train:loss": rf"train_loss={NUMBER}",
    "validation:loss": rf" validation_loss={NUMBER}",
    "validation:accuracy": rf" validation_accuracy={NUMBER}",
    "best:validation_accuracy": rf"best_validation_accuracy={NUMBER}",
    "int8:validation_accuracy": rf"int8_validation_accuracy={NUMBER}",
    "train:photographs_per_second": rf"photographs_per_second={NUMBER}",
}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.train", description=__doc__.split(":")[0])
    p.add_argument("hyperparameters", nargs="*", metavar="name=value", help="over those of the recipe")
    p.add_argument(
        "--recipe",
        help="recipe.json with hyperparameters (default: the newest exploration's; none: the trainer's own)",
    )
    p.add_argument("--data", help="s3://… of an uploaded data set (default: the last that was uploaded)")
    p.add_argument(
        "--processes", type=int, help="training processes per instance (default: one per GPU, or one)"
    )
    p.add_argument("--train-instance", metavar="TYPE", help="instance type")
    p.add_argument("--instances", type=int, default=1, help="how many instances")
    p.add_argument("--train-image", metavar="URI", help="the training image")
    p.add_argument("--checkpoints", help="s3://… to resume from and to keep checkpoints in")
    p.add_argument("--hours", type=float, default=24, help="the job is stopped after this time")
    p.add_argument("--profiler", choices=SWITCH, help="SageMaker's own (default on)")
    p.add_argument("--no-wait", action="store_true", help="start the job and return")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns the training job's description."""
    flags = parser().parse_intermixed_args(arguments)
    settings = Settings.load(flags)
    recipe = chosen_recipe(flags.recipe, settings)
    hyperparameters = read_recipe(recipe) | dict(pair(text) for text in flags.hyperparameters)
    aws = Aws(settings)
    console.target(aws, flags.aws)
    data = (flags.data or jobs.newest_dataset(aws)).rstrip("/")
    aws.default_bucket()
    job = jobs.name(jobs.TRAINING)
    aws.client("sagemaker").create_training_job(**request(aws, job, data, hyperparameters, flags))
    print(f"training job  {job}\ndata          {data}")
    if recipe and not flags.recipe:
        print(f"recipe        {recipe}, from the newest exploration (--recipe none: the trainer's own)")
    if flags.no_wait:
        print(f"its log       {jobs.log_command(jobs.TRAINING_LOGS, job)}")
        return aws.client("sagemaker").describe_training_job(TrainingJobName=job)
    document = jobs.wait_for_training(aws, job)
    report(document)
    return document


def request(
    aws: Aws,
    job: str,
    data: str,
    hyperparameters: dict[str, str],
    flags: argparse.Namespace,
    recipe: str | None = None,
) -> dict:
    """CreateTrainingJob's parameters. recipe: S3 address of one that the trainer reads itself."""
    output = f"s3://{aws.bucket}/{aws.settings.prefix}/training"
    # 30 is WARNING: the toolkit otherwise logs its whole environment before the first line of ours.
    launcher = {"sagemaker_torch_distributed_enabled": "true", "sagemaker_container_log_level": "30"}
    processes = flags.processes or (None if is_gpu(aws.settings.train_instance) else 1)
    if processes:
        launcher["sagemaker_mpi_num_of_processes_per_host"] = str(processes)
    parameters = {
        "TrainingJobName": job,
        "RoleArn": aws.role_for("training"),
        "AlgorithmSpecification": {
            "TrainingImage": aws.image("train"),
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in METRICS.items()],
        },
        "HyperParameters": {**hyperparameters, **launcher},
        "InputDataConfig": jobs.training_channels(data, recipe),
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {
            "InstanceType": aws.settings.train_instance,
            "InstanceCount": flags.instances,
            "VolumeSizeInGB": 50,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": int(flags.hours * 3600)},
        "Tags": deployment.TAGS,
    }
    if aws.settings.profiler == "on":
        parameters["ProfilerConfig"] = {
            "S3OutputPath": output,
            "ProfilingIntervalInMilliseconds": PROFILING_INTERVAL,
        }
    if flags.checkpoints:
        parameters["CheckpointConfig"] = {"S3Uri": flags.checkpoints}
    return parameters


def is_gpu(instance_type: str) -> bool:
    """Whether the instance family has GPUs: SageMaker's are the g and p families."""
    return bool(re.match(r"ml\.[gp]\d", instance_type))


def chosen_recipe(flag: str | None, settings: Settings) -> Path | None:
    """The file that ``--recipe`` means; None for the trainer's own hyperparameters."""
    if flag:
        return None if flag == "none" else Path(flag)
    return settings.recipe if settings.recipe.exists() else None


def read_recipe(path: Path | None) -> dict[str, str]:
    """The hyperparameters of a recipe, as the strings that SageMaker carries; none without a file."""
    return recipes.hyperparameters(path) if path else {}


def pair(text: str) -> tuple[str, str]:
    """``name=value`` of a hyperparameter; raises SettingsError."""
    name, separator, value = text.partition("=")
    if not (separator and name and value):
        raise SettingsError(f"{text!r} is not name=value")
    return name, value


def report(document: dict) -> None:
    table = Table(title="training")
    table.add_column("metric")
    table.add_column("final value", justify="right")
    for metric in document.get("FinalMetricDataList", ()):
        table.add_row(metric["MetricName"], f"{metric['Value']:.4g}")
    console.out.print(table)
    print(f"model    {document['ModelArtifacts']['S3ModelArtifacts']}")
    print(f"seconds  {document['TrainingTimeInSeconds']}")


if __name__ == "__main__":
    raise SystemExit(console.run(main))
