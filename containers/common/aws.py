"""AWS from inside a container: clients of the job's own region, and S3 addresses."""

import os
from functools import cache
from urllib.parse import urlsplit

import boto3
from botocore.config import Config


def region() -> str | None:
    """SageMaker's containers name it in AWS_REGION only, which boto3 does not read."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


@cache
def client(service: str):
    """A boto3 client with retries, in this container's region."""
    config = Config(connect_timeout=10, retries={"mode": "standard", "max_attempts": 6})
    return boto3.client(service, region_name=region(), config=config)


def location(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` -> (bucket, key)."""
    place = urlsplit(uri)
    return place.netloc, place.path.lstrip("/")
