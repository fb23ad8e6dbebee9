"""The function image through Lambda's Runtime API, asking the serving image for real."""

import base64
import json

import pytest

from localcloud.runtime_api import RESPONSE
from tests import ABID
from tests.images.containers import HARDENED, Endpoint, Function, Served, built
from tests.serve.test_requests import IMAGE, REFUSALS, as_json, encoded


@pytest.fixture(scope="module")
def endpoint(model):
    built("bintally-serve")
    served = Served("flask", model).until_ready()
    endpoint = Endpoint(served)
    yield endpoint
    endpoint.close()
    served.remove()
    assert set(endpoint.asked) == {"/endpoints/bintally/invocations"}


@pytest.fixture(scope="module")
def function(endpoint):
    built("bintally-function")
    function = Function(endpoint, *HARDENED)
    yield function
    function.remove()


def test_a_photograph_and_its_record(function):
    kind, document = function.ask({"image": base64.b64encode(encoded()).decode(), "expected": 3})
    assert kind == RESPONSE and document["expected"] == 3 and document["verdict"] is not None


def proxied(body: bytes, content_type: str, attributes: str = "") -> dict:
    """An event of API Gateway."""
    event = {"requestContext": {}, "isBase64Encoded": True, "body": base64.b64encode(body).decode()}
    query = {"expected": attributes.removeprefix("expected=")} if attributes else None
    return {**event, "headers": {"content-type": content_type}, "queryStringParameters": query}


def test_every_way_to_send_a_photograph_gives_one_answer(function):
    _, plain = function.ask({"image": IMAGE, "expected": 3})
    for event in (
        proxied(encoded(), "image/jpeg", "expected=3"),
        proxied(as_json(image=IMAGE, expected=3), "application/json"),
    ):
        kind, answer = function.ask(event)
        assert (kind, answer["statusCode"], json.loads(answer["body"])) == (RESPONSE, 200, plain)
    _, answer = function.ask(proxied(encoded("PNG"), "image/png", "expected=9"))
    assert json.loads(answer["body"])["reason"] == "out_of_range"


# Without a content type the function looks at the bytes, and finds the photograph.
@pytest.mark.parametrize(
    ("body", "content_type", "attributes", "status", "code"), [refusal for refusal in REFUSALS if refusal[1]]
)
def test_what_is_refused(function, body, content_type, attributes, status, code):
    kind, answer = function.ask(proxied(body, content_type, attributes))
    assert (kind, answer["statusCode"]) == (RESPONSE, status)
    assert json.loads(answer["body"])["error"]["code"] == code


@pytest.mark.photographs
@pytest.mark.skipif(not ABID.exists(), reason="the real photographs are not here")
def test_real_photographs(function, endpoint):
    for path in sorted((ABID / "originals").glob("*.jpg"))[:20]:
        kind, document = function.ask({"image": base64.b64encode(path.read_bytes()).decode()})
        answered = endpoint.served.ask("/invocations", path.read_bytes(), "image/jpeg")
        assert kind == RESPONSE and (200, document) == (answered[0], json.loads(answered[1]))
