"""What the pipeline costs beyond its jobs, and whether a promotion under load loses a request.

    .local/venv/operator/bin/python -m bench.pipeline [PROMOTIONS]

Two models, each better than the other on its own set of bins, take turns before one endpoint while a
client asks it without pause. Both are of tests/operator/brightness.py, so that the pipeline itself is most
of what runs.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from bench import machine
from containers.common import deployment
from tests.operator import brightness
from tests.operator.conftest import Cloud, service
from tests.operator.test_pipeline import Client

PROMOTIONS = 20
JOBS = {
    "TrainingJob": ("describe_training_job", "TrainingJobName", "Training"),
    "ProcessingJob": ("describe_processing_job", "ProcessingJobName", "Processing"),
}
TURNS = ("12345", "21345")  # the counts of each set's bins as its own model answers them


def main() -> None:
    promotions = int(sys.argv[1]) if len(sys.argv) > 1 else PROMOTIONS
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder) / "cloud")
        image = cloud.image("brightness", "train", brightness.TRAIN, brightness.TRAIN_VENV)
        cloud.environment |= {"BINTALLY_LOCAL": f"{folder}/local", "BINTALLY_TRAIN_IMAGE": image}
        if cloud("up").returncode:
            raise SystemExit("localcloud did not start")
        try:
            rows = measure(cloud, Path(folder), promotions)
        finally:
            cloud("down")
    machine.write("pipeline", rows, "boto3", "moto")


def measure(cloud: Cloud, folder: Path, promotions: int) -> list[dict]:
    upload(cloud, folder)
    overheads, client = [run(cloud, folder, 0)], Client(cloud)
    client.start()
    for turn in range(1, promotions + 1):
        overheads.append(run(cloud, folder, turn))
        print(
            f"promotion {turn} of {promotions}: {overheads[-1]:.2f} s, {len(client.failures)} failed",
            flush=True,
        )
    client.stop()
    asked, failed, seen = sum(client.answers.values()), len(client.failures), len(client.answers)
    return [
        row("seconds beyond the jobs, median", statistics.median(overheads), len(overheads), 5),
        row("seconds beyond the jobs, longest", max(overheads), len(overheads), 5),
        row(f"failed requests of {asked + failed}", failed, promotions, 0),
        # Each model has one answer to the client's photograph: any further one would be a mixture.
        row("different answers", seen, promotions, promotions + 1),
    ]


def row(what: str, value: float, runs: int, target: float) -> dict:
    return {"what": what, "value": round(value, 3), "runs": runs, "target": target}


def upload(cloud: Cloud, folder: Path) -> None:
    """A data set for each of the two models: the second has bins of 1 for 2, and of 2 for 1."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="bins")
    for turn in range(2):
        data = brightness.write(
            folder / f"data{turn}", {"train": 10, "validation": 30, "test": 60}, swap=turn == 1
        )
        for path in data.rglob("*.*"):
            s3.upload_file(str(path), "bins", f"data{turn}/{path.relative_to(data)}")


def run(cloud: Cloud, folder: Path, turn: int) -> float:
    """One promotion; returns the seconds between start and end in which none of its jobs ran."""
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps({"hyperparameters": {"name": f"model-{turn}", "counted": TURNS[turn % 2]}}))
    data = f"s3://bins/data{turn % 2}"
    done = service(cloud, "pipeline", "--data", data, "--recipe", str(recipe), "--bake-seconds", "1")
    sagemaker = cloud.client("sagemaker")
    [newest, *_] = sagemaker.list_pipeline_executions(
        PipelineName="bintally", SortBy="CreationTime", SortOrder="Descending"
    )["PipelineExecutionSummaries"]
    arn = newest["PipelineExecutionArn"]
    live = deployment.describe(sagemaker, "bintally")
    name = deployment.promoted_name("bintally", arn.rsplit("/", 1)[-1])
    if done.returncode or not live or live["EndpointConfigName"] != name:
        raise SystemExit(f"promotion {turn} failed: {done.stdout}{done.stderr}")
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    whole = (described["LastModifiedTime"] - described["CreationTime"]).total_seconds()
    return whole - sum(job_seconds(sagemaker, step["Metadata"]) for step in steps)


def job_seconds(sagemaker, metadata: dict) -> float:
    """From the start of a step's job, downloads and uploads included, to its end; 0 for a step without."""
    for kind, (describe, name, prefix) in JOBS.items():
        if kind in metadata:
            job = getattr(sagemaker, describe)(**{name: metadata[kind]["Arn"].rsplit("/", 1)[-1]})
            return (job[f"{prefix}EndTime"] - job["CreationTime"]).total_seconds()
    return 0.0


if __name__ == "__main__":
    main()
