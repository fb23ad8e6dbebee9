"""What the Dockerfiles promise without an engine: which torch is asked for, and what a build is sent."""

import os
import re
import subprocess

import pytest

from tests import ROOT

DOCKER = ROOT / "docker"
INDEX = "http://index.example/simple"


def install_torch(tmp_path, build: str, index: str = "") -> subprocess.CompletedProcess:
    """The script of the images that carry torch, with a pip that only says what it was asked."""
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)
    return subprocess.run(
        ["sh", DOCKER / "install-torch.sh", build, index, DOCKER / "train.requirements.txt"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("build", "pin"), [("cpu", "torch==2.13.0+cpu"), ("gpu", "torch===2.13.0")])
def test_the_build_of_torch_is_an_argument(tmp_path, build, pin):
    asked = install_torch(tmp_path, build).stdout.split()
    assert asked[-1] == pin and "--extra-index-url" not in asked
    asked = install_torch(tmp_path, build, INDEX).stdout.split()
    assert asked[asked.index("--extra-index-url") + 1] == INDEX


def test_another_build_of_torch_is_refused(tmp_path):
    done = install_torch(tmp_path, "rocm")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: TORCH=rocm; it is cpu or gpu\n"


@pytest.mark.parametrize("image", ["train", "explore", "serve"])
def test_the_choice_is_no_second_file(image):
    dockerfile = (DOCKER / f"{image}.Dockerfile").read_text()
    assert re.search(r"^ARG TORCH=(cpu|none)$", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("dockerfile", sorted(DOCKER.glob("*.Dockerfile")), ids=lambda path: path.stem)
def test_our_code_comes_after_every_package(dockerfile):
    """A change of it then rebuilds no package: in each stage nothing is installed after it is copied."""
    copied = False
    for line in dockerfile.read_text().splitlines():
        copied = (copied or line.startswith("COPY containers")) and not line.startswith("FROM")
        assert not (copied and re.match(r"RUN .*(pip|apt-get|install-torch)", line)), line


def test_a_build_is_sent_nothing_but_code_and_pins():
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored and {line for line in ignored if line.startswith("!")} == {"!containers", "!docker"}
