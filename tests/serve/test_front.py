"""The Flask front, and the interface that multi-model-server and TorchServe call."""

import ast
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from containers.common import card as cards
from containers.serve import front, handler, state
from tests import ROOT
from tests.serve.test_requests import encoded


@pytest.fixture(scope="module")
def client(request):
    return front.create(request.getfixturevalue("handler")).test_client()


def test_its_routes(client):
    answer = client.post(
        "/invocations",
        data=encoded(),
        content_type="image/jpeg",
        headers={"X-Amzn-SageMaker-Custom-Attributes": "expected=2"},
    )
    assert answer.status_code == 200 and answer.is_json and answer.json["expected"] == 2
    assert client.get("/execution-parameters").json["MaxPayloadInMB"] == 8


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/elsewhere", "GET", 404), ("/invocations", "GET", 405)]
)
def test_its_own_errors_are_json(client, path, method, status):
    answer = client.open(path, method=method)
    assert answer.status_code == status and answer.json["error"]["code"]


def test_it_refuses_a_body_it_would_not_read(client):
    answer = client.post(
        "/invocations", content_type="image/jpeg", environ_overrides={"CONTENT_LENGTH": str(2**30)}
    )
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too_large")


def test_ping_says_what_the_supervisor_says(client, monkeypatch, tmp_path):
    assert client.get("/ping").status_code == 503
    monkeypatch.setenv(state.VARIABLE, str(tmp_path))
    assert client.get("/ping").status_code == 503
    state.ready_file(tmp_path).touch()
    assert client.get("/ping").status_code == 200


def test_an_unforeseen_error_shows_no_traceback(handler, monkeypatch):
    def fail(batch):
        raise RuntimeError("a secret")

    client = front.create(handler).test_client()
    monkeypatch.setattr(handler, "answer", fail)
    answer = client.post("/invocations", data=b"x", content_type="image/jpeg")
    assert (
        answer.status_code == 500
        and "secret" not in answer.text
        and answer.json["error"]["code"] == "internal"
    )


class Waiting:
    """A model whose requests wait, as for S3, until they are let go."""

    def __init__(self):
        self.entered, self.let_go = threading.Event(), threading.Event()

    def answer(self, batch: list) -> list[handler.Answer]:
        self.entered.set()
        self.let_go.wait()
        return [handler.Answer(200, {})]


@pytest.fixture
def waiting(monkeypatch):
    """The real server on a port of its own, of a container with one core."""
    monkeypatch.setenv("BINTALLY_WORKERS", "1")
    model = Waiting()
    server = front.listen(front.create(model), "127.0.0.1", 0)
    threading.Thread(target=server.run, daemon=True).start()
    yield model, ("127.0.0.1", server.effective_port)
    model.let_go.set()
    server.close()


def test_a_ping_does_not_wait_behind_a_slow_store(waiting):
    model, address = waiting
    slow, ping = (http.client.HTTPConnection(*address, timeout=60) for _ in range(2))
    with contextlib.closing(slow), contextlib.closing(ping):
        slow.request("POST", "/invocations", b"x", {"Content-Type": "image/jpeg"})
        model.entered.wait()
        ping.request("GET", "/ping")
        assert ping.getresponse().status == 503  # there is no supervisor
        model.let_go.set()
        assert slow.getresponse().status == 200


def test_what_is_far_too_large_is_not_received(waiting):
    _, address = waiting
    with socket.create_connection(address) as connection:
        header = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {front.MAX_RECEIVED}\r\n\r\n"
        connection.sendall(header.encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 413 ")


class Cored:
    """A graph and a reader that note which of the handler's threads they run in."""

    def __init__(self):
        self.card, self.threads = cards.read(ROOT / "models"), {}

    def read(self, uri: str) -> bytes:
        return self._note("read", encoded())

    def prepare(self, data: bytes) -> np.ndarray:
        return self._note("prepare", np.zeros((2, 2, 3), np.uint8))

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self._note("count", np.full((len(batch), 5), 0.2))

    def _note(self, step: str, result):
        self.threads.setdefault(step, set()).add(threading.get_ident())
        return result


def test_one_thread_for_each_core_decodes_and_counts_but_none_of_them_reads_from_the_store(monkeypatch):
    monkeypatch.setenv("BINTALLY_WORKERS", "1")
    cored = Cored()
    model = handler.Handler(cored, cored)
    asked = [(b'{"s3_uri": "s3://bins/a.jpg"}', "application/json", "")]
    with ThreadPoolExecutor(8) as askers:
        answers = list(askers.map(model.answer, [asked] * 32))
    assert {answer.status for [answer] in answers} == {200}
    assert cored.threads["prepare"] == cored.threads["count"] and len(cored.threads["count"]) == 1
    assert not cored.threads["read"] & cored.threads["count"]


class Context:
    """The part of multi-model-server's and TorchServe's context that the handler uses."""

    def __init__(self, headers: list[dict]):
        self.headers, self.statuses, self.types = headers, {}, {}

    def get_all_request_header(self, index):
        return {**self.headers[index], "body": {"content-type": "text/html"}}  # a parameter, as they put it

    def set_response_status(self, code, phrase, index):
        self.statuses[index] = (code, phrase)

    def set_response_content_type(self, index, value):
        self.types[index] = value


def test_the_model_server_interface(model_folder, monkeypatch):
    monkeypatch.setenv("SM_MODEL_DIR", str(model_folder))
    assert handler.handle(None, Context([])) is None
    jpeg = {"content-type": "image/jpeg"}  # as HTTP/2 clients write it
    context = Context(
        [{"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Custom-Attributes": "expected=3"}, {}, jpeg]
    )
    answers = handler.handle([{"body": bytearray(encoded())}, {"body": b"x"}, {"data": encoded()}], context)
    assert [context.statuses[i] for i in range(3)] == [
        (200, "OK"),
        (415, "Unsupported Media Type"),
        (200, "OK"),
    ]
    assert json.loads(answers[0])["expected"] == 3 and json.loads(answers[2])["expected"] is None


def test_serving_imports_neither_torch_nor_boto3(model_folder):
    code = "import sys, containers.serve.front; print([m for m in ('torch', 'boto3') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_containers_import_nothing_of_services_or_localcloud():
    for path in (ROOT / "containers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
            )
            assert not [n for n in names if n.split(".")[0] in ("services", "localcloud")], path


def test_serving_tells_nobody_and_leaves_nothing(model_folder, tmp_path):
    """ONNX Runtime's telemetry, where it is on, begins with an identifier in the home folder."""
    code = "import sys, pathlib, containers.common.graph as g; g.Graph(pathlib.Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", code, model_folder], cwd=ROOT, env={"HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.rglob("*")) == []
