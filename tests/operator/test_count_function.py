"""The Lambda function's events, against a stubbed endpoint; test_flow.py runs it for real."""

import base64
import io
import json

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

JPEG = b"\xff\xd8\xff photograph"
PNG = b"\x89PNG\r\n\x1a\n photograph"
VERDICT = {"count": 3, "verdict": "match"}


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    from containers.functions.count import app

    return app


@pytest.fixture
def endpoint(app):
    with Stubber(app.RUNTIME) as stub:
        yield stub
        stub.assert_no_pending_responses()


def answers(endpoint, body: bytes, content_type: str, attributes: str | None = None) -> None:
    asked = {"EndpointName": "bintally", "Body": body, "ContentType": content_type}
    raw = json.dumps(VERDICT).encode()
    answer = {"Body": StreamingBody(io.BytesIO(raw), len(raw))}
    endpoint.add_response(
        "invoke_endpoint", answer, {**asked, **({"CustomAttributes": attributes} if attributes else {})}
    )


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_photograph_and_its_recorded_count(app, endpoint):
    answers(endpoint, JPEG, "image/jpeg", "expected=3")
    assert app.handler({"image": text(JPEG), "expected": 3}, None) == VERDICT


def test_a_png_without_a_record(app, endpoint):
    answers(endpoint, PNG, "image/png")
    assert app.handler({"image": text(PNG)}, None) == VERDICT


def test_an_s3_address_is_read_by_the_endpoint(app, endpoint):
    answers(endpoint, b'{"s3_uri": "s3://bins/a.jpg"}', "application/json", "expected=0")
    assert app.handler({"s3_uri": "s3://bins/a.jpg", "expected": 0}, None) == VERDICT


@pytest.mark.parametrize(
    "event",
    [
        {
            "requestContext": {},
            "httpMethod": "POST",
            "isBase64Encoded": True,
            "body": text(JPEG),
            "headers": {"Content-Type": "image/jpeg"},
            "queryStringParameters": {"expected": "3"},
        },
        {
            "version": "2.0",
            "requestContext": {"http": {"method": "POST"}},
            "isBase64Encoded": False,
            "headers": {"content-type": "application/json; charset=utf-8"},
            "body": json.dumps({"image": text(JPEG), "expected": 3}),
        },
    ],
)
def test_both_formats_of_api_gateway(app, endpoint, event):
    answers(endpoint, JPEG, "image/jpeg", "expected=3")
    answer = app.handler(event, None)
    assert answer["statusCode"] == 200 and json.loads(answer["body"]) == VERDICT
    assert answer["headers"] == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({}, 422, "bad_request"),
        ([], 422, "bad_request"),
        ({"image": "a", "s3_uri": "b"}, 422, "bad_request"),
        ({"image": "%"}, 400, "bad_base64"),
        ({"image": None}, 400, "bad_base64"),
        ({"image": text(JPEG), "expected": "3\r\nX-Header: 1"}, 422, "bad_expected"),
        ({"image": text(JPEG), "expected": [3]}, 422, "bad_expected"),
        (
            {"requestContext": {}, "body": "{", "headers": {"Content-Type": "application/json"}},
            400,
            "bad_json",
        ),
        ({"requestContext": {}, "body": "%", "isBase64Encoded": True}, 400, "bad_base64"),
        (
            {"requestContext": {}, "body": "\ud800", "headers": {"Content-Type": "application/json"}},
            400,
            "bad_json",
        ),
        ({"requestContext": {}, "queryStringParameters": {"expected": "3" * 5000}}, 422, "bad_expected"),
    ],
)
def test_refusals(app, endpoint, event, status, code):
    answer = app.handler(event, None)
    if "statusCode" in answer:
        assert answer["statusCode"] == status
        answer = json.loads(answer["body"])
    assert answer["error"]["code"] == code


def test_the_endpoints_own_refusal_passes_through(app, endpoint):
    refusal = {"error": {"code": "bad_photograph", "message": "damaged"}}
    endpoint.add_client_error(
        "invoke_endpoint", "ModelError", "…", 424,
        modeled_fields={"OriginalStatusCode": 400, "OriginalMessage": json.dumps(refusal)},
    )  # fmt: skip
    event = {"requestContext": {}, "body": text(JPEG), "isBase64Encoded": True}
    answer = app.handler(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (400, refusal)


def test_no_endpoint_is_503(app, endpoint):
    endpoint.add_client_error(
        "invoke_endpoint", "ValidationError", "Endpoint bintally of account 1 not found."
    )
    assert app.handler({"image": text(JPEG)}, None)["error"]["code"] == "endpoint_unavailable"
