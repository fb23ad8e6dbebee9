"""Which model a service means: the one it is told, the last that was trained, or the one that ships."""

import tempfile
from pathlib import Path

from botocore.exceptions import ClientError

from containers.common import archive, card
from services import jobs
from services.aws import Aws

SHIPPED = Path(__file__).parents[1] / "models"
HELP = "s3://…/model.tar.gz, or shipped (default: of the last completed training job, else the shipped one)"


def resolve(aws: Aws, wanted: str | None) -> str:
    """S3 address of an artifact; ``wanted`` is a flag's value, described by ``HELP``."""
    if wanted and wanted != "shipped":
        return wanted
    trained = None if wanted else newest_trained(aws)
    if trained is None and not wanted:
        print("no training job has completed here: the model that ships with BinTally is taken")
    return trained or upload_shipped(aws)


def newest_trained(aws: Aws) -> str | None:
    """S3 address of the artifact of the last training job of ours that completed."""
    sagemaker = aws.client("sagemaker")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=f"{jobs.TRAINING}-",
        StatusEquals="Completed",  # of each page: one that is empty may have others after it
        SortBy="CreationTime",
        SortOrder="Descending",
    )
    last = next((job for page in pages for job in page["TrainingJobSummaries"]), None)
    if last is None:
        return None
    job = sagemaker.describe_training_job(TrainingJobName=last["TrainingJobName"])
    return job["ModelArtifacts"]["S3ModelArtifacts"]


def fetch(aws: Aws, uri: str, folder: Path) -> None:
    """Unpack the archive at an S3 address into a folder that exists; raises ModelError for what is none."""
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "model.tar.gz"
        aws.download(uri, packed)
        archive.unpack(packed, folder)


def upload_shipped(aws: Aws, folder: Path = SHIPPED) -> str:
    """Put the shipped artifact under its name in the default bucket; what is there stays.

    Returns: its S3 address. Raises ModelError where ``folder`` holds no artifact.
    """
    bucket = aws.default_bucket()
    key = f"{aws.settings.prefix}/shipped/{card.read(folder).name}/model.tar.gz"
    s3 = aws.client("s3")
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        with tempfile.TemporaryDirectory() as scratch:
            packed = Path(scratch) / "model.tar.gz"
            archive.pack(folder, packed)
            s3.upload_file(str(packed), bucket, key)
    return f"s3://{bucket}/{key}"
