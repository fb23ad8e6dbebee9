"""Buckets of a stack, and their policies."""

import json
from typing import ClassVar

from botocore.exceptions import ClientError

from localcloud.stack_kinds import Kind, renamed
from localcloud.stack_template import invalid


class Bucket(Kind):
    required: ClassVar = {"BucketName"}
    optional: ClassVar = {
        "BucketEncryption", "PublicAccessBlockConfiguration", "LifecycleConfiguration", "OwnershipControls",
        "Tags",
    }  # fmt: skip
    fixed: ClassVar = {"BucketName"}

    def create(self, p: dict) -> None:
        self._client("s3").create_bucket(Bucket=p["BucketName"])

    def configure(self, p: dict, old: dict) -> None:
        s3, bucket = self._client("s3"), {"Bucket": p["BucketName"]}
        put_or_delete = {
            "BucketEncryption": (
                lambda value: s3.put_bucket_encryption(
                    **bucket, ServerSideEncryptionConfiguration={"Rules": _encryption(value)}
                ),
                s3.delete_bucket_encryption,
            ),
            "PublicAccessBlockConfiguration": (
                lambda value: s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=value),
                s3.delete_public_access_block,
            ),
            "LifecycleConfiguration": (
                lambda value: s3.put_bucket_lifecycle_configuration(
                    **bucket, LifecycleConfiguration={"Rules": [_expiry(rule) for rule in value["Rules"]]}
                ),
                s3.delete_bucket_lifecycle,
            ),
            "OwnershipControls": (
                lambda value: s3.put_bucket_ownership_controls(**bucket, OwnershipControls=value),
                s3.delete_bucket_ownership_controls,
            ),
            "Tags": (
                lambda value: s3.put_bucket_tagging(**bucket, Tagging={"TagSet": value}),
                s3.delete_bucket_tagging,
            ),
        }
        for member, (put, delete) in put_or_delete.items():
            if member in p:
                put(p[member])
            elif member in old:
                delete(**bucket)

    def delete(self, p: dict) -> None:
        self._client("s3").delete_bucket(Bucket=p["BucketName"])

    def id(self, p: dict) -> str:
        return p["BucketName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:s3:::{p['BucketName']}"}


def _encryption(value: dict) -> list[dict]:
    return [
        renamed(rule, {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"})
        for rule in value["ServerSideEncryptionConfiguration"]
    ]


def _expiry(rule: dict) -> dict:
    """A rule as S3's API has it. Members that are not translated go as they are, and S3 refuses them."""
    rule = renamed(rule, {"Id": "ID"})
    rule["Filter"] = {"Prefix": rule.pop("Prefix", "")}
    if "ExpirationInDays" in rule:
        rule["Expiration"] = {"Days": rule.pop("ExpirationInDays")}
    return rule


class BucketPolicy(Kind):
    required: ClassVar = {"Bucket", "PolicyDocument"}
    optional: ClassVar = set()
    fixed: ClassVar = {"Bucket"}
    tagged = False

    def create(self, p: dict) -> None:
        s3 = self._client("s3")
        try:
            s3.get_bucket_policy(Bucket=p["Bucket"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
                raise
        else:
            raise invalid(f"The bucket policy already exists on bucket {p['Bucket']}.")

    def configure(self, p: dict, old: dict) -> None:
        self._client("s3").put_bucket_policy(Bucket=p["Bucket"], Policy=json.dumps(p["PolicyDocument"]))

    def delete(self, p: dict) -> None:
        self._client("s3").delete_bucket_policy(Bucket=p["Bucket"])

    def id(self, p: dict) -> str:
        return p["Bucket"]
