"""The function image through Lambda's Runtime API, asking the serving image for real."""

import base64

import pytest

from localcloud.runtime_api import RESPONSE
from tests.images.containers import HARDENED, Endpoint, Function, Served, built
from tests.serve.test_requests import encoded


@pytest.fixture(scope="module")
def function(model):
    built("bintally-function")
    served = Served("flask", model).until_ready()
    endpoint = Endpoint(served)
    function = Function(endpoint, *HARDENED)
    yield function
    function.remove()
    served.remove()
    endpoint.close()
    assert set(endpoint.asked) == {"/endpoints/bintally/invocations"}


def test_a_photograph_and_its_record(function):
    kind, document = function.ask({"image": base64.b64encode(encoded()).decode(), "expected": 3})
    assert kind == RESPONSE and document["expected"] == 3 and document["verdict"] is not None


def test_a_refusal_of_its_own(function):
    kind, document = function.ask({"image": "%"})
    assert (kind, document["error"]["code"]) == (RESPONSE, "bad_base64")


def test_an_event_of_api_gateway(function):
    event = {
        "requestContext": {}, "isBase64Encoded": True, "body": base64.b64encode(encoded("PNG")).decode(),
        "headers": {"content-type": "image/png"}, "queryStringParameters": {"expected": "9"},
    }  # fmt: skip
    kind, answer = function.ask(event)
    assert (kind, answer["statusCode"]) == (RESPONSE, 200) and '"out_of_range"' in answer["body"]
