"""The Docker engine of this machine: what tests of containers need, or skip without."""

import os
import subprocess

import pytest

REGISTRY = "localhost:5000"
# For a localcloud whose repositories must be empty: all share that registry, which keeps what others pushed.
NO_REGISTRY = {"LOCALCLOUD_REGISTRY": "localhost:1"}


def needs(what: str, there: bool) -> None:
    """Skip a test whose means this machine lacks, except where the tests must be complete."""
    if not there and os.environ.get("TESTS_NEED_DOCKER"):
        pytest.fail(f"{what} is missing, and TESTS_NEED_DOCKER is set")
    if not there:
        pytest.skip(f"no {what} on this machine")


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """``docker …``, with what it printed; fails with that unless told otherwise."""
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert not check or run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return run


def answers() -> bool:
    """Whether there is an engine."""
    try:
        return docker("info", check=False).returncode == 0
    except FileNotFoundError:
        return False


def has(image: str) -> bool:
    """Whether the engine has an image of this name."""
    return docker("image", "inspect", image, check=False).returncode == 0


def registry_answers() -> bool:
    """Whether there is the image registry that stands behind localcloud's ECR."""
    return subprocess.run(["curl", "-fsS", f"http://{REGISTRY}/v2/"], capture_output=True).returncode == 0
