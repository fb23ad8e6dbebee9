"""The supervisor as the main process: readiness, draining, and an end that leaves nothing behind."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from containers.serve import servers, state
from tests import ROOT
from tests.serve.test_requests import encoded


class Served:
    """A supervisor and the address that it serves."""

    def __init__(self, model: Path, **variables: str):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "containers.serve.supervisor"],
            env={
                "SM_MODEL_DIR": str(model),
                "SAGEMAKER_BIND_TO_PORT": str(port),
                "BINTALLY_HOST": "127.0.0.1",
                "PYTHONPATH": str(ROOT),
                "PATH": os.environ["PATH"],
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ping(self) -> int | None:
        try:
            return urllib.request.urlopen(f"{self.url}/ping").status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while self.ping() != 200:
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.02)

    def ask(self) -> dict:
        request = urllib.request.Request(f"{self.url}/invocations", encoded(), {"Content-Type": "image/jpeg"})
        return json.load(urllib.request.urlopen(request))

    def family(self) -> list[int]:
        listed = subprocess.run(
            ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
        ).stdout.split("\n")
        pairs = [tuple(map(int, line.split())) for line in listed if line.strip()]
        return [pid for pid, parent in pairs if parent == self.process.pid]


@pytest.fixture
def served(model_folder):
    served = Served(model_folder)
    yield served
    if served.process.poll() is None:
        served.process.terminate()
        served.process.wait(30)


def test_it_serves_and_ends_on_sigterm(served):
    served.until_ready()
    assert served.ask()["count"] in range(1, 6)
    [server] = served.family()
    served.process.terminate()
    assert served.process.wait(20) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_signals_that_arrive_in_the_midst_of_one_another_stop_nothing(served):
    served.until_ready()
    for _ in range(20_000):  # as from the children of a busy server
        served.process.send_signal(signal.SIGCHLD)
    served.process.terminate()
    assert served.process.wait(20) == 0


def test_requests_in_flight_are_answered_after_sigterm(served):
    served.until_ready()
    connections = [http.client.HTTPConnection(served.url.removeprefix("http://")) for _ in range(24)]
    for connection in connections:  # far more than can be answered at once
        connection.request("POST", "/invocations", encoded(), {"Content-Type": "image/jpeg"})
    served.process.terminate()
    answers = [connection.getresponse() for connection in connections]
    assert [answer.status for answer in answers] == [200] * 24
    assert served.process.wait(20) == 0


def test_ping_fails_while_it_drains(served):
    served.until_ready()
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"))
    connection.request("GET", "/ping")  # an open connection, as a load balancer keeps
    assert (answer := connection.getresponse()).status == 200 and answer.read() == b""
    served.process.terminate()
    statuses = []
    while not statuses or statuses[-1] == 200:
        connection.request("GET", "/ping")
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    assert statuses[-1] == 503


def test_a_server_that_dies_ends_the_container(served):
    served.until_ready()
    [server] = served.family()
    os.kill(server, signal.SIGKILL)
    assert served.process.wait(20) != 0


@pytest.mark.parametrize(
    ("variables", "message"),
    [({}, "error: no model artifact in "), ({"BINTALLY_FRONT": "apache"}, "error: BINTALLY_FRONT=apache; ")],
)
def test_what_cannot_be_served_is_one_line(tmp_path, model_folder, variables, message):
    served = Served(model_folder if variables else tmp_path, **variables)
    output, _ = served.process.communicate(timeout=30)
    assert served.process.returncode == 1
    assert output.startswith(message) and "Traceback" not in output and output.count("\n") == 1


def test_a_request_being_answered_is_seen(tmp_path, monkeypatch):
    state.create(tmp_path)
    os.utime(tmp_path / "working", (0, 0))
    assert state.quiet_for(tmp_path) > 3600
    monkeypatch.setenv(state.VARIABLE, str(tmp_path))
    with state.working():
        assert state.quiet_for(tmp_path) == 0
    assert state.quiet_for(tmp_path) < 3600


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_cores_of_a_limited_container(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert servers.quota(tmp_path) == cores
