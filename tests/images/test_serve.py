"""One suite of requests, asked of the serving image behind each front."""

import base64
import json
import time

import pytest

from tests import ABID
from tests.engine import docker
from tests.images.containers import HARDENED, Container, Served, built
from tests.serve.test_requests import IMAGE, REFUSALS, as_json, encoded


def ask(
    served: Served, body: bytes, content_type: str = "image/jpeg", attributes: str = ""
) -> tuple[int, dict]:
    status, answer = served.ask("/invocations", body, content_type, attributes)
    return status, json.loads(answer)


def test_every_way_to_send_a_photograph_gives_one_answer(served):
    status, jpeg = ask(served, encoded(), attributes="expected=3")
    assert status == 200 and jpeg["count"] in range(1, 6) and jpeg["expected"] == 3
    assert (200, jpeg) == ask(served, as_json(image=IMAGE, expected=3), "application/json")
    status, png = ask(served, encoded("PNG"), "image/png")
    assert status == 200 and png["verdict"] is None
    assert ask(served, as_json(image=IMAGE, expected=7), "application/json")[1]["reason"] == "out_of_range"


@pytest.mark.parametrize(("body", "content_type", "attributes", "status", "code"), REFUSALS)
def test_what_is_refused(served, body, content_type, attributes, status, code):
    answered, document = ask(served, body, content_type, attributes)
    assert (answered, document["error"]["code"]) == (status, code)
    assert "Traceback" not in json.dumps(document)


@pytest.mark.photographs
@pytest.mark.skipif(not ABID.exists(), reason="the real photographs are not here")
def test_real_photographs(served):
    for path in sorted((ABID / "originals").glob("*.jpg"))[:20]:
        photograph = path.read_bytes()
        status, document = ask(served, photograph)
        assert status == 200 and sum(document["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        inline = as_json(image=base64.b64encode(photograph).decode())
        assert ask(served, inline, "application/json") == (200, document)


def test_it_is_ready_and_refuses_other_paths(served):
    assert served.ask("/ping")[0] == 200
    assert served.ask("/elsewhere")[0] in (404, 405)


@pytest.mark.parametrize("front", ["flask", "mms"])
def test_sigterm_loses_no_request_and_leaves_nothing(model, front):
    served = Served(front, model).until_ready()
    try:
        connections = [served.connect() for _ in range(24)]
        for connection in connections:
            connection.request("POST", "/invocations", encoded(), {"Content-Type": "image/jpeg"})
        docker("kill", "--signal", "TERM", served.id)
        assert [connection.getresponse().status for connection in connections] == [200] * 24
        assert docker("wait", served.id).stdout.strip() == "0"
    finally:
        served.remove()


STOP_WORKERS = """
import os, pathlib, signal
for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    own = p.parent.name == str(os.getpid())
    if not own and b"mms/model_service_worker" in p.read_bytes():
        os.kill(int(p.parent.name), signal.SIGSTOP)
"""


def test_ping_fails_once_no_prediction_succeeds(model):
    """The server's workers are stopped, so that it accepts requests and answers none; its own ping is 200."""
    built("bintally-serve")
    served = Served("mms", model, "-e", "BINTALLY_WORKERS=1").until_ready()
    try:
        assert served.ask("/ping")[0] == 200
        docker("exec", served.id, "python", "-c", STOP_WORKERS)
        deadline = time.monotonic() + 60
        while served.ask("/ping")[0] == 200:
            assert time.monotonic() < deadline, "ready, but no worker answers"
            time.sleep(0.5)
        assert served.ask("/ping")[0] == 503
    finally:
        served.remove()


@pytest.mark.parametrize("front", ["flask", "mms"])
def test_it_serves_without_a_network_and_on_the_port_it_is_given(model, front):
    container = Container(
        *HARDENED, "--network", "none", "-e", f"BINTALLY_FRONT={front}", "-e", "SAGEMAKER_BIND_TO_PORT=9123",
        "-v", f"{model}:/opt/ml/model:ro", built("bintally-serve"), "serve",
    )  # fmt: skip
    try:
        container.until_logged(f"ready: {front} on port 9123")
    finally:
        container.remove()


TORCHEIA = """
import types
def attach_eia(module, device):
    print("attached to accelerator", device, flush=True)
    return module
jit = types.SimpleNamespace(attach_eia=attach_eia)
"""


def test_an_accelerator_answers_as_the_cores_do(model, tmp_path):
    """In the image that has torch, with a stand-in for AWS's package."""
    built("bintally-torchserve")
    double = tmp_path / "torcheia.py"
    double.write_text(TORCHEIA)
    options = ("-v", f"{double}:/opt/bintally/torcheia.py:ro", "-e", "BINTALLY_ACCELERATOR=eia")
    served = Served("torchserve", model, *HARDENED, *options, "-e", "BINTALLY_FRONT=flask").until_ready()
    try:
        assert "attached to accelerator 0" in served.logs()
        status, document = ask(served, encoded())
        assert status == 200 and sum(document["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    finally:
        served.remove()


def test_an_accelerator_without_torch_is_one_line(model):
    run = docker(
        *("run", "--rm", *HARDENED, "-e", "BINTALLY_ACCELERATOR=eia", "-v", f"{model}:/opt/ml/model:ro"),
        built("bintally-serve"), "serve", check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr == "error: accelerator eia needs torch, which this image does not have\n"


def test_no_model_is_one_line(tmp_path):
    run = docker(
        "run", "--rm", "-v", f"{tmp_path}:/opt/ml/model:ro", built("bintally-serve"), "serve", check=False
    )
    assert run.returncode == 1 and run.stderr.startswith("error: no model artifact in /opt/ml/model")
    assert run.stderr.count("\n") == 1
