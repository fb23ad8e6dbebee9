"""Containers of the project's images, as tests and measurements start and ask them."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localcloud.runtime_api import ERROR, RESPONSE, Invocation, RuntimeApi
from tests.engine import docker, has, needs

# As little as an image can be given. /tmp is what SageMaker's toolkit and model servers need to write to.
HARDENED = ("--user", "12345:12345", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp")
WAIT_SECONDS = 90
LOOPBACK = "127.0.0.1"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SERVING_IMAGES = {"flask": "bintally-serve", "mms": "bintally-serve", "torchserve": "bintally-torchserve"}


def built(image: str) -> str:
    """The image's name, for a test that is skipped, or fails, where nobody has built it.

    The exploration image may always be missing: CI builds it only when it has changed.
    """
    if image == "bintally-explore" and not has(image):
        pytest.skip("bintally-explore is not built: make build IMAGE=explore")
    needs(f"image {image} ('make build')", has(image))
    return image


def read_inside(image: str, code: str) -> str:
    """What a Python program prints inside the image."""
    return docker("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", code).stdout


class Container:
    """One container in the background."""

    def __init__(self, *arguments: str):
        self.id = docker("run", "--detach", *arguments).stdout.strip()

    def inspect(self, field: str) -> str:
        return docker("inspect", "--format", "{{" + field + "}}", self.id).stdout.strip()

    def logs(self) -> str:
        run = docker("logs", self.id)
        return run.stdout + run.stderr

    def until_logged(self, text: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait for a line of its log; fails with the whole log if it ends before."""
        deadline = time.monotonic() + seconds
        while text not in self.logs():
            running = self.inspect(".State.Running") == "true" or text in self.logs()
            assert running and time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id)


class Served(Container):
    """A serving container and the address of its port."""

    def __init__(self, front: str, model: Path, *arguments: str):
        super().__init__(
            *("-p", f"{LOOPBACK}::8080", "-e", f"BINTALLY_FRONT={front}", "-v", f"{model}:/opt/ml/model:ro"),
            *arguments,
            SERVING_IMAGES[front],
            "serve",
        )
        self.port = int(docker("port", self.id, "8080").stdout.splitlines()[0].rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)

    def ask(
        self, path: str, body: bytes | None = None, content_type: str = "", attributes: str = ""
    ) -> tuple[int | None, bytes]:
        """(status, body); None while nobody listens."""
        connection = self.connect()
        headers = {"Content-Type": content_type} if body is not None else {}
        headers |= {ATTRIBUTES: attributes} if attributes else {}
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def until_ready(self) -> "Served":
        """Itself, once it has said so; removed, with its log in the error, where it never does."""
        try:
            self.until_logged("ready: ")
        except AssertionError:
            self.remove()
            raise
        return self


class Endpoint:
    """SageMaker's runtime in so far as the function asks it: hands each invocation to a serving container."""

    def __init__(self, served: Served):
        self.served = served
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                content_type, attributes = self.headers["Content-Type"], self.headers.get(ATTRIBUTES, "")
                status, answer = served.ask("/invocations", body, content_type, attributes)
                if status != 200:  # as SageMaker wraps what a container refuses
                    wrapped = {"OriginalStatusCode": status, "OriginalMessage": answer.decode()}
                    answer = json.dumps({"Message": "refused", **wrapped}).encode()
                self.send_response(200 if status == 200 else 424)
                self.send_header("x-amzn-ErrorType", "ModelError")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


class Function(Container):
    """The function's container behind a Runtime API, asking ``endpoint``."""

    def __init__(self, endpoint: Endpoint, *arguments: str):
        self._api = RuntimeApi(LOOPBACK)
        variables = {
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",  # Lambda sets both, boto3 reads this one
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_LAMBDA_FUNCTION_NAME": "count",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "x",
            "AWS_LAMBDA_LOG_STREAM_NAME": "x",
        }
        options = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
        # On the host's network: the Runtime API and the endpoint listen on its loopback address.
        super().__init__(*arguments, "--network", "host", *options, "bintally-function")

    def ask(self, event: dict) -> tuple[str, dict]:
        """(kind of Runtime API event, answer) of one invocation."""
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "1",
            "Lambda-Runtime-Deadline-Ms": "99999999999999",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:1:function:count",
        }
        self._api.submit(Invocation("1", json.dumps(event).encode(), headers))
        while (happened := self._api.events.get(timeout=60)).kind not in (RESPONSE, ERROR):
            pass
        return happened.kind, json.loads(happened.body)

    def remove(self) -> None:
        super().remove()
        self._api.close()
