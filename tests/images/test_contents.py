"""What is in each image, seen from inside and from its configuration."""

import json
import re

import pytest

from tests import ROOT
from tests.engine import docker
from tests.images.containers import HARDENED, built, read_inside

BASE = "python:3.11-slim-bookworm"
BUDGETS = {"function": 80, "serve": 450, "train": 1600, "explore": 3000}  # MB over the base
IMPORTS = {
    "function": "import awslambdaric, boto3",
    "serve": "import containers.serve.front, containers.serve.supervisor, mms",
    "train": "import containers.train.torchvision_cpu, timm, torchvision, sagemaker_training, onnxruntime, "
    "containers.train.monitor.capture",
    "explore": "import containers.explore.explore, containers.explore.trial, containers.explore.versions",
}
INSTALLED = """
import json
from importlib.metadata import distributions
found = distributions(path=["/opt/venv/lib/python3.11/site-packages"])
print(json.dumps({d.metadata["Name"].lower().replace("_", "-").replace(".", "-"): d.version for d in found}))
"""
LEFTOVERS = """
import os, shutil
ours = "/opt/venv/bin:/opt/java/bin:/usr/local/sbin"
tools = ("gcc", "g++", "cc", "make", "cmake", "javac", "pip")
found = [name for name in tools if shutil.which(name, path=ours)]
for place in ("/root/.cache", "/build", "/tmp", "/root/.aws", "/root/.netrc", "/root/.docker"):
    if os.path.isfile(place) or (os.path.isdir(place) and os.listdir(place)):
        found.append(place)
for ours in ("/opt/venv", "/opt/bintally", "/opt/java", "/opt/front"):
    for folder, folders, files in os.walk(ours):
        wheels = [] if "/site-packages/virtualenv/" in folder else [n for n in files if n.endswith(".whl")]
        found += [f"{folder}/{n}" for n in [*wheels, *folders, *files] if n in (".git", ".env", *wheels)]
print("\\n".join(found))
"""


@pytest.fixture(params=BUDGETS)
def image(request) -> str:
    return built(f"bintally-{request.param}")


def kind(image: str) -> str:
    return image.removeprefix("bintally-")


def configuration(image: str) -> dict:
    return json.loads(docker("image", "inspect", image).stdout)[0]


def megabytes_over_base(image: str) -> float:
    return (configuration(image)["Size"] - configuration(BASE)["Size"]) / 1e6


def test_its_size_over_the_base_is_within_its_budget(image):
    assert 0 < megabytes_over_base(image) <= BUDGETS[kind(image)]


def test_its_labels_and_its_environment(image):
    config = configuration(image)["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == image
    assert re.fullmatch(r"(dirty-)?[0-9a-f]{40}", config["Labels"]["org.opencontainers.image.revision"])
    assert not [
        name
        for name in config["Env"]
        if re.match(r"(AWS_|PIP_INDEX|PIP_EXTRA|.*(TOKEN|SECRET|PASSWORD))", name)
    ]


def test_the_function_runs_as_an_ordinary_user():
    assert configuration(built("bintally-function"))["Config"]["User"] == "10001:10001"


def test_versions_are_the_pinned_ones(image):
    installed = json.loads(read_inside(image, INSTALLED))
    name = "explore.lock" if kind(image) == "explore" else "constraints"
    pins = {}
    for file in (f"{name}.txt", f"{kind(image)}.requirements.txt"):
        for found in re.finditer(r"^([\w.-]+)==(\S+)", (ROOT / "docker" / file).read_text(), re.MULTILINE):
            pins[found[1].lower().replace("_", "-").replace(".", "-")] = found[2]
    assert installed and not set(installed) - set(pins), "installed without a pin"
    assert {n: v for n, v in installed.items() if v.split("+")[0] != pins[n]} == {}


def test_nothing_is_left_of_its_making(image):
    assert read_inside(image, LEFTOVERS).split() == []


def test_it_starts_as_any_user_and_can_write_nowhere(image):
    run = docker(
        "run", "--rm", *HARDENED, "--network", "none", "--entrypoint", "python", image, "-c",
        f"import os; {IMPORTS[kind(image)]}; print(os.getuid(), os.access('/opt/bintally', os.W_OK))",
    )  # fmt: skip
    assert run.stdout.split()[-2:] == ["12345", "False"]


def test_the_exploration_image_tells_its_versions():
    run = docker(
        *("run", "--rm", *HARDENED, "--network", "none", "--entrypoint", "python"),
        *(built("bintally-explore"), "-m", "containers.explore.versions"),
    )
    assert json.loads(run.stdout.splitlines()[-1])["autogluon.multimodal"] == "1.6.3"
