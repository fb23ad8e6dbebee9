"""The function image through Lambda's Runtime API, asking the serving image for real."""

import base64
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from localcloud.runtime_api import ERROR, RESPONSE, Invocation, RuntimeApi
from tests.images.conftest import HARDENED, Container, Served, built
from tests.serve.test_requests import encoded


@pytest.fixture(scope="module")
def ask(model):
    """An event -> (kind of Runtime API event, answer). The endpoint is a serving container."""
    served = Served("flask", model).until_ready()
    asked = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            names = {
                n: v
                for n, v in self.headers.items()
                if n in ("Content-Type", "X-Amzn-SageMaker-Custom-Attributes")
            }
            request = urllib.request.Request(f"http://127.0.0.1:{served.port}/invocations", body, names)
            with urllib.request.urlopen(request) as answer:
                self.send_response(answer.status)
                self.end_headers()
                self.wfile.write(answer.read())

        def log_message(self, *args):
            pass

    endpoint = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    api = RuntimeApi()
    variables = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{endpoint.server_port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_LAMBDA_FUNCTION_NAME": "count",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "x",
        "AWS_LAMBDA_LOG_STREAM_NAME": "x",
    }
    options = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
    # On the host's network: the Runtime API listens on its loopback address.
    container = Container(*HARDENED, "--network", "host", *options, built("bintally-function"))

    def ask(event):
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "1",
            "Lambda-Runtime-Deadline-Ms": "99999999999999",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:1:function:count",
        }
        api.submit(Invocation("1", json.dumps(event).encode(), headers))
        while (happened := api.events.get(timeout=60)).kind not in (RESPONSE, ERROR):
            pass
        return happened.kind, json.loads(happened.body)

    yield ask
    container.remove()
    served.remove()
    api.close()
    endpoint.shutdown()
    assert set(asked) == {"/endpoints/bintally/invocations"}


def test_a_photograph_and_its_record(ask):
    kind, document = ask({"image": base64.b64encode(encoded()).decode(), "expected": 3})
    assert kind == RESPONSE and document["expected"] == 3 and document["verdict"] is not None


def test_a_refusal(ask):
    kind, document = ask({"image": "%"})
    assert (kind, document["error"]["code"]) == (RESPONSE, "bad_base64")
