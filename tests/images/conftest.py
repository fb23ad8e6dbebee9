"""Containers of the images that ``make build`` has built, and a model that one of them has trained."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import squares

# As little as an image can be given. /tmp is what SageMaker's toolkit and model servers need to write to.
HARDENED = ("--user", "12345:12345", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp")
WAIT_SECONDS = 90
FRONTS = ("flask", "mms", "torchserve")
HYPERPARAMETERS = {
    "architecture": "resnet10t",
    "image_size": "32",
    "batch_size": "20",
    "epochs": "4",
    "learning_rate": "0.003",
}


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert not check or run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return run


def engine() -> bool:
    try:
        return docker("info", check=False).returncode == 0
    except FileNotFoundError:
        return False


def pytest_collection_modifyitems(items) -> None:
    if not engine():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no Docker engine answers here"))


def built(image: str) -> str:
    """The image's name; the test is skipped where nobody has built it (the exploration image is big)."""
    if docker("image", "inspect", image, check=False).returncode:
        pytest.skip(f"{image} is not built: make build IMAGE={image.removeprefix('bintally-')}")
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

    def processes(self) -> list[str]:
        return docker("top", self.id, "-eo", "args").stdout.splitlines()[1:]

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id)


class Served(Container):
    """A serving container and the address of its port."""

    def __init__(self, front: str, model: Path, *arguments: str):
        image = built("bintally-torchserve" if front == "torchserve" else "bintally-serve")
        options = (
            "-p",
            "127.0.0.1::8080",
            "-e",
            f"BINTALLY_FRONT={front}",
            "-v",
            f"{model}:/opt/ml/model:ro",
        )
        super().__init__(*options, *arguments, image, "serve")
        self.port = int(docker("port", self.id, "8080").stdout.splitlines()[0].rpartition(":")[2])

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int | None, bytes]:
        """(status, body); None while nobody listens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, names)
        if body is not None and "Content-Type" not in names:
            request.add_unredirected_header("Content-Type", "")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return None, b""

    def until_ready(self) -> "Served":
        deadline = time.monotonic() + WAIT_SECONDS
        while "ready: " not in self.logs():
            assert time.monotonic() < deadline and self.inspect(".State.Running") == "true", self.logs()
            time.sleep(0.1)
        return self


@pytest.fixture(scope="session")
def job(tmp_path_factory) -> Path:
    """``/opt/ml`` of a job that the training image has done, as SageMaker lays it out."""
    base = squares.base(tmp_path_factory.mktemp("job"), train=200)
    configure(base)
    run = docker(
        *("run", "--rm", *HARDENED, "--network", "none", "-v", f"{base}:/opt/ml"),
        built("bintally-train"),
        "train",
    )
    assert (base / "model" / "card.json").exists(), run.stdout + run.stderr
    return base


def configure(base: Path) -> None:
    """SageMaker's ``input/config``, and folders that any user may write to."""
    config = base / "input" / "config"
    documents = {
        "hyperparameters": HYPERPARAMETERS,
        "inputdataconfig": {
            name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
            for name in ("train", "validation", "manifest")
        },
        "resourceconfig": {
            "current_host": "localhost",
            "hosts": ["localhost"],
            "current_instance_type": "ml.m5.large",
            "current_group_name": "homogeneousCluster",
            "instance_groups": [
                {
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": "ml.m5.large",
                    "hosts": ["localhost"],
                }
            ],
            "network_interface_name": "lo",
        },
    }
    for folder in (config, base / "model", base / "output" / "data", base / "code", base / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (config / f"{name}.json").write_text(json.dumps(document))
    for folder, _, _ in os.walk(base):
        Path(folder).chmod(0o777)


@pytest.fixture(scope="session")
def model(job) -> Path:
    return job / "model"


@pytest.fixture(scope="session", params=FRONTS)
def served(request, model) -> Iterator[Served]:
    """The serving image behind each front, with as few rights as it can be given."""
    container = Served(request.param, model, *HARDENED)
    yield container.until_ready()
    container.remove()
