"""Our objects in S3, wherever they are: found, and deleted."""

from botocore.exceptions import ClientError

from containers.common.errors import ServiceError
from services import console
from services.aws import Aws

BATCH = 1000  # keys that S3 deletes in one request


def buckets(aws: Aws) -> dict[str, str]:
    """Bucket -> the prefix below which everything is ours: in the stack's all; in others, which may hold
    more, what is below our prefix. What was uploaded before the stack was made lies in SageMaker's bucket.
    """
    shared = aws.settings.bucket or aws.sagemaker_bucket
    own = {aws.stack["Bucket"]: ""} if "Bucket" in aws.stack else {}
    return {shared: f"{aws.settings.prefix}/"} | own


def find(aws: Aws) -> list[str]:
    """S3 addresses of all that is ours."""
    s3, found = aws.client("s3"), []
    for bucket, prefix in buckets(aws).items():
        listed = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=aws.account
        )
        try:
            found += [f"s3://{bucket}/{item['Key']}" for page in listed for item in page.get("Contents", ())]
        except ClientError as error:  # it was never made, or its name is another account's
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
                raise
    return found


def delete(aws: Aws, doomed: list[str]) -> None:
    s3 = aws.client("s3")
    with console.progress("delete", len(doomed)) as advance:
        for bucket in buckets(aws):
            place = f"s3://{bucket}/"
            keys = [uri.removeprefix(place) for uri in doomed if uri.startswith(place)]
            for start in range(0, len(keys), BATCH):
                batch = [{"Key": key} for key in keys[start : start + BATCH]]
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                if errors := answer.get("Errors"):
                    raise ServiceError(f"{place}{errors[0]['Key']}: {errors[0]['Message']}")
                advance(len(batch))
