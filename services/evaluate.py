"""Scores a trained model on the test bins: python -m services.evaluate"""

import argparse
import json
from collections.abc import Sequence

from rich.table import Table

from services import artifacts, console, jobs
from services.aws import Aws
from services.settings import Settings


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.evaluate", description=__doc__.split(":")[0])
    p.add_argument("--model", help=artifacts.HELP)
    p.add_argument("--data", help="s3://… of an uploaded data set (default: the last that was uploaded)")
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
    aws.client("sagemaker").create_processing_job(**request(aws, job, model, data, output))
    print(f"processing job  {job}\nmodel           {model}\ndata            {data}")
    jobs.wait_for_processing(aws, job)
    folder = settings.local / "evaluations" / job
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("evaluation.json", "predictions.csv"):
        aws.download(f"{output}/{file}", folder / file)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    report(evaluation)
    print(f"written to {folder}")
    return evaluation


def request(aws: Aws, job: str, model: str, data: str, output: str) -> dict:
    """CreateProcessingJob's parameters."""
    return {
        "ProcessingJobName": job,
        "RoleArn": aws.role,
        "AppSpecification": {
            "ImageUri": aws.image("train"),
            "ContainerEntrypoint": ["python", "-m", "containers.train.evaluate"],
        },
        "ProcessingInputs": [
            jobs.processing_input("model", model),
            jobs.processing_input("test", f"{data}/test/"),
            jobs.processing_input("manifest", f"{data}/manifest.csv"),
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "evaluation",
                    "S3Output": {
                        "S3Uri": output,
                        "LocalPath": "/opt/ml/processing/evaluation",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": aws.settings.evaluate_instance,
                "VolumeSizeInGB": 30,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "Tags": [{"Key": "project", "Value": "bintally"}],
    }


def interval(metric: dict, percent: bool = False) -> str:
    """``43.0 % (40.1–45.9)`` or ``0.912 (0.870–0.951)``."""
    value, low, high = metric["value"], metric["low"], metric["high"]
    if percent:
        return f"{console.percent(value, 1)} ({low * 100:.1f}–{high * 100:.1f})"
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def report(evaluation: dict) -> None:
    metrics, majority = evaluation["metrics"], evaluation["baselines"]["majority_class"]
    table = Table(
        title=f"{evaluation['data']['photographs']} test photographs of {evaluation['data']['bins']} bins"
    )
    table.add_column("score")
    table.add_column("value (95 % interval over bins)", justify="right")
    table.add_row("accuracy", interval(metrics["accuracy"], percent=True))
    table.add_row(f"  always answering {majority['count']}", console.percent(majority["accuracy"], 1))
    table.add_row("within one", interval(metrics["within_one"], percent=True))
    table.add_row("RMSE", interval(metrics["rmse"]))
    table.add_row("MAE", interval(metrics["mae"]))
    console.out.print(table)


if __name__ == "__main__":
    raise SystemExit(console.run(main))
