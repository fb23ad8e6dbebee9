"""Fixtures of the image tests: a model that the training image has trained, and the serving image with it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import squares
from tests.engine import answers, docker, needs
from tests.images.containers import HARDENED, SERVING_IMAGES, Served, built

HYPERPARAMETERS = {
    "architecture": "resnet10t",
    "image_size": "32",
    "batch_size": "20",
    "epochs": "4",
    "learning_rate": "0.003",
    "torchscript": "true",
}


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    needs("Docker engine", answers())


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
    open_to_all(base)


def open_to_all(base: Path) -> None:
    """Let a container's user, whoever it is, write below ``base``."""
    for folder, _, _ in os.walk(base):
        Path(folder).chmod(0o777)


@pytest.fixture(scope="session")
def model(job) -> Path:
    return job / "model"


@pytest.fixture(scope="session", params=SERVING_IMAGES)
def served(request, model) -> Iterator[Served]:
    """The serving image behind each front, with as few rights as it can be given."""
    built(SERVING_IMAGES[request.param])
    container = Served(request.param, model, *HARDENED).until_ready()
    yield container
    container.remove()
