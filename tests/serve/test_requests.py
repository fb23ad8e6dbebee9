"""Every kind of request the contract names, and the status and code of every refusal."""

import base64
import io
import json
import zlib
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError

from containers.common.photograph import MAX_PIXELS
from containers.serve import requests
from tests import squares


def encoded(kind: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    squares.photograph(3, seed=1).save(stream, kind, **options)
    return stream.getvalue()


def ask(handler, body: bytes, content_type: str = "image/jpeg", attributes: str = ""):
    [answer] = handler.answer([(body, content_type, attributes)])
    assert json.loads(answer.body) == answer.document
    return answer.status, answer.document


def as_json(**document) -> bytes:
    return json.dumps(document).encode()


IMAGE = base64.b64encode(encoded()).decode()


def test_a_jpeg_is_counted(handler):
    status, document = ask(handler, encoded())
    assert status == 200
    assert list(document) == ["count", "confidence", "probabilities", "expected", "verdict", "model"]
    assert list(document["probabilities"]) == ["1", "2", "3", "4", "5"]
    assert sum(document["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert document["confidence"] == document["probabilities"][str(document["count"])]
    assert document["expected"] is None and document["verdict"] is None
    assert document["model"] == handler.graph.card.name


def test_every_way_to_send_one_photograph_gives_one_answer(handler):
    _, jpeg = ask(handler, encoded(), "image/jpeg; charset=binary", "trace=1,expected=3")
    _, inline = ask(handler, as_json(image=IMAGE, expected=3), "application/json")
    assert jpeg == inline and jpeg["expected"] == 3
    status, png = ask(handler, encoded("PNG"), "IMAGE/PNG")
    assert status == 200 and png["count"] in range(1, 6)


def test_the_recorded_count_is_judged(handler):
    _, document = ask(handler, encoded())
    evidence = {n: document["probabilities"][str(n)] for n in range(1, 6)}
    thresholds = handler.graph.card.thresholds
    for recorded, p in evidence.items():
        _, judged = ask(handler, encoded(), attributes=f"expected={recorded}")
        assert judged["verdict"] == (
            "mismatch"
            if p <= thresholds.mismatch_below
            else "match"
            if p >= thresholds.match_above
            else "unsure"
        )
        assert "reason" not in judged


@pytest.mark.parametrize("recorded", [0, 6, 4000])
def test_a_record_outside_what_is_counted_is_unsure(handler, recorded):
    status, document = ask(handler, as_json(image=IMAGE, expected=recorded), "application/json")
    assert (status, document["verdict"], document["reason"]) == (200, "unsure", "out_of_range")


# (body, content type, custom attributes) -> (status, code); the images are asked the same.
REFUSALS = [
    (b"", "image/jpeg", "", 400, "empty"),
    (b"not a photograph", "image/jpeg", "", 400, "bad_photograph"),
    (encoded()[:400], "image/jpeg", "", 400, "bad_photograph"),
    (encoded("GIF"), "image/png", "", 400, "bad_photograph"),
    (encoded(), "text/plain", "", 415, "unsupported_media_type"),
    (encoded(), "", "", 415, "unsupported_media_type"),
    (bytes(requests.MAX_BODY + 1), "image/jpeg", "", 413, "too_large"),
    (b"{", "application/json", "", 400, "bad_json"),
    (b"[" * 100_000, "application/json", "", 400, "bad_json"),
    (b"[]", "application/json", "", 422, "bad_request"),
    (as_json(expected=3), "application/json", "", 422, "bad_request"),
    (as_json(image=IMAGE, s3_uri="s3://bins/a"), "application/json", "", 422, "bad_request"),
    (as_json(image=IMAGE, url="http://localhost"), "application/json", "", 422, "bad_request"),
    (as_json(image="%%%"), "application/json", "", 400, "bad_base64"),
    (as_json(image=7), "application/json", "", 400, "bad_base64"),
    (as_json(image=IMAGE, expected=-1), "application/json", "", 422, "bad_expected"),
    (as_json(image=IMAGE, expected=2.5), "application/json", "", 422, "bad_expected"),
    (as_json(image=IMAGE, expected=True), "application/json", "", 422, "bad_expected"),
    (as_json(image=IMAGE, expected="3"), "application/json", "", 422, "bad_expected"),
    (encoded(), "image/jpeg", "expected=three", 422, "bad_expected"),
    (encoded(), "image/jpeg", "expected=-1", 422, "bad_expected"),
    (encoded(), "image/jpeg", "expected=", 422, "bad_expected"),
    (as_json(s3_uri="http://169.254.169.254/latest"), "application/json", "", 422, "bad_s3_uri"),
    (as_json(s3_uri="file:///etc/passwd"), "application/json", "", 422, "bad_s3_uri"),
    (as_json(s3_uri="s3://bins/\ud800"), "application/json", "", 422, "bad_s3_uri"),
    (as_json(s3_uri=f"s3://bins/{'é' * 513}"), "application/json", "", 422, "bad_s3_uri"),
    (as_json(s3_uri="s3://elsewhere/a.jpg"), "application/json", "", 403, "bucket_not_allowed"),
]


@pytest.mark.parametrize(("body", "content_type", "attributes", "status", "code"), REFUSALS)
def test_what_is_refused(handler, body, content_type, attributes, status, code):
    answered, document = ask(handler, body, content_type, attributes)
    assert (answered, document["error"]["code"]) == (status, code)
    assert document["error"]["message"] and "\n" not in document["error"]["message"]


def test_a_photograph_of_too_many_pixels_is_not_decoded(handler):
    side = int(MAX_PIXELS**0.5) + 1
    small = encoded("PNG")
    header = small[12:16] + side.to_bytes(4, "big") * 2 + small[24:29]  # IHDR: type, width, height, the rest
    huge = small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]
    status, document = ask(handler, huge, "image/png")
    assert (status, document["error"]["code"]) == (400, "bad_photograph") and str(side) in document["error"][
        "message"
    ]


def test_a_bad_request_does_not_spoil_its_batch(handler):
    good = (encoded(), "image/jpeg", "expected=3")
    answers = handler.answer([good, (b"x", "image/jpeg", ""), good, (encoded(), "text/html", "")])
    assert [a.status for a in answers] == [200, 400, 200, 415]
    assert answers[0].document == answers[2].document == handler.answer([good])[0].document


def test_an_unreachable_store_is_503(handler, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    status, document = ask(handler, as_json(s3_uri="s3://bins/a.jpg"), "application/json")
    assert (status, document["error"]["code"]) == (503, "storage_unavailable")


class Store:
    """Stands for ``boto3.client``: S3 that refuses every object with one status and code."""

    def __init__(self, monkeypatch, status: int, code: str):
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        monkeypatch.setattr(boto3, "client", self.client)

    def client(self, service: str, **options) -> SimpleNamespace:
        self.options = options
        return SimpleNamespace(get_object=self.get_object)

    def get_object(self, **asked):
        raise ClientError(self.response, "GetObject")


@pytest.mark.parametrize(
    ("status", "code", "answered"),
    [
        (404, "NoSuchKey", (404, "no_such_object")),
        (403, "AccessDenied", (403, "object_not_allowed")),
        (400, "InvalidRequest", (422, "bad_s3_uri")),
        (403, "InvalidAccessKeyId", (503, "storage_unavailable")),
        (400, "ExpiredToken", (503, "storage_unavailable")),
        (429, "TooManyRequests", (503, "storage_unavailable")),
        (503, "SlowDown", (503, "storage_unavailable")),
    ],
)
def test_what_the_store_refuses(monkeypatch, status, code, answered):
    Store(monkeypatch, status, code)
    with pytest.raises(requests.RequestError) as refused:
        requests.ObjectReader(frozenset({"bins"})).read("s3://bins/a.jpg")
    assert (refused.value.status, refused.value.code) == answered


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_store_is_of_the_containers_region(monkeypatch, variable):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "eu-west-3")
    store = Store(monkeypatch, 404, "NoSuchKey")
    with pytest.raises(requests.RequestError):
        requests.ObjectReader(frozenset({"bins"})).read("s3://bins/a.jpg")
    assert store.options["region_name"] == "eu-west-3"
