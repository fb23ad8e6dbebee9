"""The Lambda function ``count``: a photograph and its recorded count in, the endpoint's verdict out.

Takes ``{"image": base64, "expected": n?}``, ``{"s3_uri": "s3://…", "expected": n?}``, or an API Gateway
proxy event (payload format 1.0 or 2.0) whose body is a photograph or the same JSON. A plain event is
answered with the endpoint's document or ``{"error": {"code", "message"}}``; a proxy event with a
proxy response around it. Nothing heavy is imported: a cold start pays for boto3's client alone.
"""

import base64
import binascii
import json
import os

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
FIELDS = {"image", "s3_uri", "expected"}
ENDPOINT = os.environ.get("BINTALLY_ENDPOINT", "bintally")
RUNTIME = boto3.client("sagemaker-runtime", config=Config(read_timeout=60, retries={"total_max_attempts": 2}))


class Refused(Exception):
    """An event that no endpoint need be asked about."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


def handler(event: dict, context) -> dict:
    """Lambda's entry point."""
    proxied = isinstance(event, dict) and "requestContext" in event
    try:
        body, content_type, expected = from_proxy(event) if proxied else from_event(event)
        status, document = ask(body, content_type, expected)
    except Refused as refusal:
        status, document = refusal.status, {"error": {"code": refusal.code, "message": str(refusal)}}
    if not proxied:
        return document
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(document),
        "isBase64Encoded": False,
    }


def from_event(event: dict) -> tuple[bytes, str, object]:
    """(body, content type, recorded count) to send. The endpoint reads an S3 URI itself."""
    if not isinstance(event, dict) or event.keys() - FIELDS or ("image" in event) == ("s3_uri" in event):
        raise Refused(
            422, "bad_request", "give exactly one of image (base64) and s3_uri, and perhaps expected"
        )
    if "s3_uri" in event:
        return json.dumps({"s3_uri": event["s3_uri"]}).encode(), "application/json", event.get("expected")
    photograph = _decoded(event["image"])
    return photograph, kind_of(photograph), event.get("expected")


def _decoded(text) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refused(400, "bad_base64", "the photograph is not base64") from None


def from_proxy(event: dict) -> tuple[bytes, str, object]:
    """The same from an API Gateway proxy event; ``expected`` may be a query parameter."""
    body = event.get("body") or ""
    body = _decoded(body) if event.get("isBase64Encoded") else body.encode(errors="replace")
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    expected = (event.get("queryStringParameters") or {}).get("expected")
    if expected is not None and expected.isascii() and expected.isdigit() and len(expected) < 10:
        expected = int(expected)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return body, content_type or kind_of(body), expected
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "bad_json", "the body is not JSON") from None
    body, content_type, recorded = from_event(document)
    return body, content_type, recorded if expected is None else expected


def kind_of(photograph: bytes) -> str:
    return next(
        (kind for magic, kind in KINDS.items() if photograph.startswith(magic)), "application/octet-stream"
    )


def ask(body: bytes, content_type: str, expected) -> tuple[int, dict]:
    """(status, document) of the endpoint. Its own refusals pass through unchanged."""
    attributes = {}
    if expected is not None:
        if isinstance(expected, bool) or not isinstance(expected, int) or not 0 <= expected < 10**9:
            raise Refused(422, "bad_expected", "expected must be a whole number of at least 0")
        attributes["CustomAttributes"] = f"expected={expected}"
    try:
        answer = RUNTIME.invoke_endpoint(
            EndpointName=ENDPOINT, Body=body, ContentType=content_type, **attributes
        )
        return 200, json.loads(answer["Body"].read())
    except ClientError as error:
        try:
            return error.response["OriginalStatusCode"], json.loads(error.response["OriginalMessage"])
        except (KeyError, ValueError):
            raise Refused(503, "endpoint_unavailable", f"endpoint {ENDPOINT}: {error}") from None
    except BotoCoreError as error:
        raise Refused(503, "endpoint_unavailable", f"endpoint {ENDPOINT}: {error}") from None
