"""A localcloud of the tests' own: a free port, a home that goes away, the project's images and the tests'."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import psutil
import pytest

from localcloud.settings import PROJECT, Settings

ACCOUNT_ROLE = "arn:aws:iam::123456789012:role/bintally"
WAIT_SECONDS = 60


def pytest_terminal_summary(terminalreporter) -> None:
    """One line for each reason why tests were skipped."""
    reports = terminalreporter.stats.get("skipped", [])
    for reason, count in Counter(report.longrepr[2] for report in reports).items():
        terminalreporter.write_line(f"{count} tests skipped: {reason.removeprefix('Skipped: ')}")


class Cloud:
    """One localcloud, driven by its command line; ``environment`` points clients at it."""

    def __init__(self, home: Path):
        home.mkdir(parents=True)
        self.scripts = home / "scripts"
        self.scripts.mkdir()
        images = home / "images.toml"
        images.write_text((PROJECT / "docker" / "images.toml").read_text())
        self.settings = Settings(home / "cloud", "127.0.0.1", _free_port(), images)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AWS_", "LOCALCLOUD_"))
            },
            **self.settings.client_environment,
            "LOCALCLOUD_HOME": str(self.settings.home),
            "LOCALCLOUD_PORT": str(self.settings.port),
            "LOCALCLOUD_IMAGES": str(images),
        }

    def __call__(self, verb: str) -> subprocess.CompletedProcess:
        """``python -m localcloud VERB``."""
        return self.run(sys.executable, "-m", "localcloud", verb)

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=120
        )

    def aws(self, *arguments: str) -> str:
        """What the unmodified AWS CLI prints; fails with what it says on stderr."""
        done = self.run(str(Path(sys.executable).parent / "aws"), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, service: str):
        settings = self.settings.client_environment
        return boto3.client(
            service,
            endpoint_url=settings["AWS_ENDPOINT_URL"],
            region_name=settings["AWS_REGION"],
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        )

    def image(self, name: str, role: str, script: str, venv: Path = PROJECT / ".local/venv/operator") -> str:
        """Make an image whose entry point for ``role`` is a Python script; returns its URI."""
        path = self.scripts / f"{name}.py"
        path.write_text(textwrap.dedent(script))
        with self.settings.images.open("a") as images:
            images.write(f'\n[{name}]\nvenv = "{venv}"\n{role} = ["python", "{path}"]\n')
        return f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{name}:latest"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def cloud(tmp_path_factory) -> Iterator[Cloud]:
    """The localcloud that tests share: give things names of your own, and leave it running."""
    shared = Cloud(tmp_path_factory.mktemp("localcloud") / "shared")
    started = shared("up")
    assert started.returncode == 0, started.stderr
    yield shared
    shared("down")


@pytest.fixture
def own_cloud(tmp_path) -> Iterator[Cloud]:
    """A localcloud that the test may stop, kill and start; not started yet."""
    own = Cloud(tmp_path / "own")
    yield own
    own("down")


@pytest.fixture(scope="session")
def boto(cloud: Cloud) -> Callable:
    """``boto("s3")``: a client of the shared localcloud."""
    return cloud.client


def service(cloud: Cloud, name: str, *arguments: str) -> subprocess.CompletedProcess:
    """``python -m services.<name>`` against a localcloud."""
    return subprocess.run(
        [sys.executable, "-m", f"services.{name}", *arguments],
        cwd=PROJECT, env=cloud.environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def eventually(condition: Callable, seconds: float = WAIT_SECONDS):
    """What ``condition`` returns once that is true; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.02)
    return value


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has, where nobody reaps orphans."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
