"""What a request may be, checked before anything is decoded."""

import base64
import binascii
import json
import os
import re
import threading
from dataclasses import dataclass

from containers.common.errors import BinTallyError
from containers.common.photograph import FORMATS

MAX_BODY = 8 * 2**20  # bytes of one photograph; its base64 form in JSON may be a third longer
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
JSON_FIELDS = {"image", "s3_uri", "expected"}
MAX_KEY = 1024  # bytes of UTF-8, S3's own limit
# S3's refusals with a status of 4xx for which nobody who asks for a photograph is to blame: the deployment's
# credentials, its clock, the network, too many requests.
NOT_THE_CLIENTS = {
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "SignatureDoesNotMatch",
    "SlowDown",
}


class RequestError(BinTallyError):
    """A request that will not be answered: an HTTP status, a stable code and one line."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Request:
    """photograph: the bytes as they were sent or stored. expected: the recorded count, if given."""

    photograph: bytes
    expected: int | None


def parse(body: bytes, content_type: str, attributes: str, reader: "ObjectReader") -> Request:
    """Raises RequestError with the status of the contract: 400, 403, 404, 413, 415, 422 or 503."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (*FORMATS, "application/json"):
        raise RequestError(
            415,
            "unsupported_media_type",
            f"content type {kind or 'none'!r}; send image/jpeg, image/png or application/json",
        )
    if len(body) > (MAX_BODY if kind in FORMATS else MAX_BODY * 4 // 3 + 4096):
        raise RequestError(413, "too_large", f"{len(body)} bytes; the limit for a photograph is {MAX_BODY}")
    if not body:
        raise RequestError(400, "empty", "the request has no body")
    recorded = _from_attributes(attributes)
    if kind in FORMATS:
        return Request(body, recorded)
    return _from_json(body, recorded, reader)


def _from_json(body: bytes, recorded: int | None, reader: "ObjectReader") -> Request:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "bad_json", "the body is not JSON") from None
    if not isinstance(document, dict) or document.keys() - JSON_FIELDS:
        raise RequestError(
            422, "bad_request", f"the body must be an object with {', '.join(sorted(JSON_FIELDS))}"
        )
    if ("image" in document) == ("s3_uri" in document):
        raise RequestError(422, "bad_request", "give exactly one of image (base64) and s3_uri")
    if document.get("expected") is not None:
        recorded = _count(document["expected"])
    if "s3_uri" in document:
        return Request(reader.read(document["s3_uri"]), recorded)
    try:
        photograph = base64.b64decode(document["image"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise RequestError(400, "bad_base64", "image is not base64") from None
    if len(photograph) > MAX_BODY:
        raise RequestError(
            413, "too_large", f"{len(photograph)} bytes; the limit for a photograph is {MAX_BODY}"
        )
    return Request(photograph, recorded)


def _from_attributes(attributes: str) -> int | None:
    """``expected=3`` among the comma- or semicolon-separated custom attributes."""
    for part in re.split(r"[,;]", attributes or ""):
        name, _, value = part.partition("=")
        if name.strip().lower() == "expected":
            return _count(int(value) if re.fullmatch(r"\s*\d{1,9}\s*", value, re.ASCII) else value.strip())
    return None


def _count(value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequestError(
            422, "bad_expected", f"expected must be a whole number of at least 0, not {value!r:.60}"
        )
    return value


class ObjectReader:
    """Reads photographs from the S3 buckets that the deployment allows, and from nowhere else."""

    def __init__(self, buckets: frozenset[str]):
        self.buckets = buckets
        self._client = None
        self._lock = threading.Lock()  # boto3's session makes one client at a time

    @classmethod
    def from_environment(cls) -> "ObjectReader":
        """``BINTALLY_ALLOWED_BUCKETS``: names separated by commas; none by default."""
        names = os.environ.get("BINTALLY_ALLOWED_BUCKETS", "").split(",")
        return cls(frozenset(name.strip() for name in names if name.strip()))

    def read(self, uri) -> bytes:
        match = (
            re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,62})/(.+)", uri, re.DOTALL)
            if isinstance(uri, str)
            else None
        )
        if not match or not _is_key(match[2]):
            raise RequestError(
                422,
                "bad_s3_uri",
                f"s3_uri must be s3://bucket/key, the key of at most {MAX_KEY} bytes in UTF-8",
            )
        bucket, key = match.groups()
        if bucket not in self.buckets:
            raise RequestError(403, "bucket_not_allowed", f"this deployment does not read bucket {bucket}")
        return self._fetch(bucket, key)

    def _fetch(self, bucket: str, key: str) -> bytes:
        import boto3  # half a second that only S3 requests pay for
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        from containers.common import aws

        with self._lock:
            self._client = self._client or boto3.client(
                "s3",
                region_name=aws.region(),
                # Short, since whoever waits holds one of the front's threads.
                config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2}),
            )
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            if answer["ContentLength"] > MAX_BODY:
                raise RequestError(
                    413,
                    "too_large",
                    f"{answer['ContentLength']} bytes; the limit for a photograph is {MAX_BODY}",
                )
            return answer["Body"].read()
        except ClientError as error:
            raise _refusal(error.response, f"s3://{bucket}/{key}") from None
        except BotoCoreError:
            raise _unavailable() from None


def _is_key(key: str) -> bool:
    try:
        return len(key.encode()) <= MAX_KEY
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return False


def _refusal(response: dict, uri: str) -> RequestError:
    """What S3's own refusal means to whoever asked for the photograph."""
    status, code = response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
    if code in NOT_THE_CLIENTS or status == 429 or not 400 <= status < 500:
        return _unavailable()
    if status == 404:
        return RequestError(404, "no_such_object", f"{uri} does not exist")
    if status == 403:  # also for an object that is missing, where the bucket may not be listed
        return RequestError(403, "object_not_allowed", f"this deployment may not read {uri}: {code}")
    return RequestError(422, "bad_s3_uri", f"S3 refuses to read {uri}: {code}")


def _unavailable() -> RequestError:
    return RequestError(503, "storage_unavailable", "the photograph could not be read from S3")
