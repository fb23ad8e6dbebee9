"""ECR of localcloud and ecr-push.sh: real pushes to the registry, and pulls of what was pushed."""

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from docker.errors import ImageNotFound

import docker
from localcloud.docker_runtime import DockerRuntime
from localcloud.runtime import TRAIN
from localcloud.settings import Settings
from services import settings as services
from services.aws import Aws
from tests import ROOT
from tests.engine import needs, registry_answers
from tests.operator.conftest import Cloud
from tests.operator.test_docker_runtime import engine  # noqa: F401

SCRIPT = ROOT / "ecr-push.sh"


@pytest.fixture(scope="module")
def name(engine: docker.DockerClient, tmp_path_factory) -> Iterator[str]:  # noqa: F811
    """A tiny image, ``name:latest``, that no other test run knows."""
    name = f"bintally-test-{uuid.uuid4().hex[:12]}"
    needs("registry", registry_answers())
    build(engine, tmp_path_factory.mktemp("image"), name)
    yield name
    for image in engine.images.list():
        if any(name in reference for reference in (*image.tags, *image.attrs["RepoDigests"])):
            engine.images.remove(image.id, force=True)


def build(engine: docker.DockerClient, folder: Path, name: str) -> str:  # noqa: F811
    """An image of a file that was never there before; returns its id."""
    (folder / "content").write_text(uuid.uuid4().hex)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY content /content\n")
    return engine.images.build(path=str(folder), tag=name)[0].id


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A committed repository with the script in it: tags must not hang on the state of this one."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(SCRIPT, folder)
    shutil.copytree(ROOT / "infra", folder / "infra")
    (folder / ".gitignore").write_text(".local/\n")
    for inside in ("containers", "docker"):
        (folder / inside).mkdir()
        (folder / inside / "file").touch()
    (folder / ".local").mkdir()
    (folder / ".local" / "venv").symlink_to(ROOT / ".local" / "venv")
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", uuid.uuid4().hex)
    return git(folder, "rev-parse", "--short=12", "HEAD")


def push(cloud: Cloud, checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    variables = {**cloud.environment, **environment}
    return subprocess.run(
        [checkout / SCRIPT.name, *arguments], env=variables, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def pushed(cloud: Cloud, checkout: Path, name: str) -> str:
    """The URI that the first push printed."""
    done = push(cloud, checkout, name)
    assert done.returncode == 0, done.stderr
    assert f"{name}: repository created" in done.stderr
    return done.stdout.strip()


def test_what_was_pushed_is_listed_and_can_be_pulled(cloud, boto, engine, checkout, name, pushed):  # noqa: F811
    ecr, tag = boto("ecr"), git(checkout, "rev-parse", "--short=12", "HEAD")
    address, _, digest = pushed.partition("@")
    assert address == f"127.0.0.1:{cloud.settings.port}/{name}"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert ecr.list_images(repositoryName=name)["imageIds"] == [{"imageDigest": digest, "imageTag": tag}]
    [details] = ecr.describe_images(repositoryName=name)["imageDetails"]
    assert (details["imageDigest"], details["imageTags"]) == (digest, [tag])
    assert 0 < details["imageSizeInBytes"] < 10_000 and details["imagePushedAt"]
    answer = ecr.batch_get_image(
        repositoryName=name, imageIds=[{"imageTag": tag}, {"imageDigest": digest}, {"imageTag": "other"}]
    )
    assert [image["imageId"]["imageDigest"] for image in answer["images"]] == [digest, digest]
    assert "layers" in json.loads(answer["images"][0]["imageManifest"])
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound"]

    local = engine.images.get(name).id
    for reference in (name, f"{address}:{tag}", pushed):
        with suppress(ImageNotFound):  # with its last tag an image goes
            engine.images.remove(reference, force=True)
    login = {"username": "AWS", "password": cloud.aws("ecr", "get-login-password").strip()}
    assert engine.images.pull(pushed, auth_config=login).id == local
    assert engine.images.get(pushed).tag(name)


def test_the_docker_runtime_runs_what_was_pushed_from_wherever_it_is(engine, name, pushed, tmp_path):  # noqa: F811
    runtime = DockerRuntime(Settings(tmp_path, "127.0.0.1", 1, tmp_path, runtime="docker"))
    local = engine.images.get(pushed).id
    assert runtime.find_image(pushed, TRAIN).id == local
    engine.images.get(local).tag(f"{name}-kept")
    for reference in (name, pushed.split("@")[0], pushed):
        for tag in engine.images.get(local).tags:
            if tag.rpartition(":")[0] == reference:
                engine.images.remove(tag)
    with suppress(ImageNotFound):
        engine.images.remove(pushed)
    assert runtime.find_image(pushed, TRAIN).id == local  # fetched from the registry itself
    engine.images.get(local).tag(name)


def test_the_repository_is_as_it_should_be(boto, name, pushed):
    ecr = boto("ecr")
    [repository] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])["rules"]
    assert [rule["rulePriority"] for rule in rules] == [1, 2, 3]
    assert rules[1]["selection"]["tagPrefixList"] == ["dirty-"]


def test_a_repository_that_was_there_is_brought_into_shape(cloud, boto, checkout, name, pushed):
    ecr = boto("ecr")
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    ecr.put_image_scanning_configuration(
        repositoryName=name, imageScanningConfiguration={"scanOnPush": False}
    )
    assert push(cloud, checkout, name).stdout.strip() == pushed
    test_the_repository_is_as_it_should_be(boto, name, pushed)


def test_pushing_again_keeps_what_is_there_even_when_the_image_has_changed(
    cloud, checkout, engine, name, pushed, tmp_path  # noqa: F811
):  # fmt: skip
    build(engine, tmp_path, name)
    done = push(cloud, checkout, name)
    assert (done.returncode, done.stdout.strip()) == (0, pushed)
    assert "is there already, and is kept; the image here is another build of it" in done.stderr


def test_uncommitted_work_is_tagged_by_its_content(cloud, boto, checkout, name, pushed):
    (checkout / "containers" / "work").write_text("not committed")
    first, again = push(cloud, checkout, name), push(cloud, checkout, name)
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    (checkout / "containers" / "work").write_text("changed")
    assert push(cloud, checkout, name).returncode == 0
    # The script leaves the index as it was.
    assert git(checkout, "status", "--porcelain") == "?? containers/work"
    tags = {image["imageTag"] for image in boto("ecr").list_images(repositoryName=name)["imageIds"]}
    assert len([tag for tag in tags if re.fullmatch(r"dirty-[0-9a-f]{12}", tag)]) == 2
    (checkout / "containers" / "work").unlink()


def test_an_image_of_another_commit_is_not_pushed(cloud, checkout, engine, name, pushed, tmp_path):  # noqa: F811
    label = "org.opencontainers.image.revision"
    (tmp_path / "content").write_text("old")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY content /content\n")

    def pushing(revision: str) -> tuple[int, bool]:
        engine.images.build(path=str(tmp_path), tag=f"{name}-of", labels={label: revision})
        done = push(cloud, checkout, f"{name}-of")
        return done.returncode, "run 'make build' first" in done.stderr

    head = git(checkout, "rev-parse", "HEAD")
    assert pushing("0" * 40) == (1, True) and pushing(head) == (0, False)
    (checkout / "bin.jpg").write_text("of no image")
    assert pushing(head) == (0, False)
    (checkout / "bin.jpg").unlink()
    (checkout / "containers" / "work").write_text("done since it was built")
    assert pushing(head) == (1, True)
    here = subprocess.run([checkout / SCRIPT.name, "--revision"], capture_output=True, text=True).stdout
    assert pushing(here.strip()) == (0, False)
    (checkout / "containers" / "work").unlink()


def test_an_immutable_tag_stays_what_it_is(cloud, checkout, engine, name, pushed, tmp_path):  # noqa: F811
    address = pushed.split("@")[0]
    tag = git(checkout, "rev-parse", "--short=12", "HEAD")
    build(engine, tmp_path, f"{address}:{tag}")
    login = {"username": "AWS", "password": cloud.aws("ecr", "get-login-password").strip()}
    answers = engine.images.push(address, tag, auth_config=login, stream=True, decode=True)
    said = " ".join(answer.get("error", "") for answer in answers)
    assert f"The image tag '{tag}' already exists in the '{name}' repository" in said
    assert cloud.client("ecr").describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])[
        "imageDetails"
    ][0]["imageDigest"] == pushed.split("@")[1]  # fmt: skip


@pytest.mark.parametrize(
    ("repository", "login", "said"),
    [
        ("absent/from-ecr", {"username": "AWS", "password": "localcloud"}, "does not exist in the registry"),
        ("absent/from-ecr", {"username": "AWS", "password": "wrong"}, "get-login-password"),
    ],
)
def test_who_may_not_push_is_told_why(cloud, engine, name, repository, login, said):  # noqa: F811
    address = f"127.0.0.1:{cloud.settings.port}/{repository}"
    engine.images.get(name).tag(address, "1")
    answers = list(engine.images.push(address, "1", auth_config=login, stream=True, decode=True))
    engine.images.remove(f"{address}:1")
    assert said in " ".join(answer.get("error", "") for answer in answers)


def test_the_services_use_what_was_pushed(
    cloud, checkout, engine, name, pushed, monkeypatch, tmp_path  # noqa: F811
):  # fmt: skip
    file = checkout / ".local" / "images.json"
    documents = json.loads(file.read_text())
    assert documents["123456789012/us-east-1"][name].startswith(pushed.split("@")[0] + "@sha256:")
    documents["123456789012/us-east-1"]["bintally-train"] = pushed
    file.write_text(json.dumps(documents))
    for variable, value in cloud.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("BINTALLY_LOCAL", str(checkout / ".local"))
    aws = Aws(services.Settings.load())
    assert aws.image("train") == pushed
    assert aws.image("serve") == "123456789012.dkr.ecr.us-east-1.amazonaws.com/bintally-serve:latest"
    # From a checkout that has pushed nothing:
    build(engine, tmp_path, name)
    commit(checkout)
    [newest] = push(cloud, checkout, name).stdout.split()
    assert aws.newest_image(name) == newest and aws.newest_image("absent/from-ecr") is None
    monkeypatch.setenv("BINTALLY_TRAIN_IMAGE", "mine:1")
    assert Aws(services.Settings.load()).image("train") == "mine:1"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["no-such-image"], {}, "there is no image no-such-image here: run 'make build' first"),
        (["--wrong"], {}, "unknown option --wrong"),
        ([], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "is localcloud up"),
        ([], {"DOCKER_HOST": "unix:///nowhere"}, "no Docker engine answers"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_one_line(cloud, checkout, name, arguments, environment, said):
    done = push(cloud, checkout, *arguments, **environment)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and said in done.stderr


def test_aws_itself_wants_to_be_asked(cloud, checkout, name, tmp_path):
    """An ``aws`` that answers as one without AWS_ENDPOINT_URL would, and notes what else it is asked."""
    asked = tmp_path / "asked"
    command = tmp_path / "aws"
    command.write_text(f'#!/bin/sh\necho "$@" >>{asked}\necho 123456789012\n')
    command.chmod(0o755)
    shadow = tmp_path / "checkout"
    shadow.mkdir()
    shutil.copy(SCRIPT, shadow)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "AWS_REGION": "us-east-1"}
    environment.pop("AWS_ENDPOINT_URL", None)
    done = subprocess.run(
        [shadow / SCRIPT.name, name], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "add --aws" in done.stderr
    assert asked.read_text().split() == [
        "sts",
        "get-caller-identity",
        "--query",
        "Account",
        "--output",
        "text",
    ]


def test_images_that_are_listed_are_those_of_the_registry(boto, name, pushed):
    ecr = boto("ecr")
    with pytest.raises(ClientError, match="RepositoryNotEmptyException"):
        ecr.delete_repository(repositoryName=name)
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        ecr.list_images(repositoryName="absent/from-ecr")
    with pytest.raises(ClientError, match="ImageNotFoundException"):
        ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": "other"}])
    with pytest.raises(ClientError, match="localcloud cannot do this"):
        ecr.put_image(repositoryName=name, imageManifest="{}", imageTag="x")


def test_repositories_and_images_are_there_after_a_restart(own_cloud: Cloud, checkout, name):
    assert own_cloud("up").returncode == 0
    commit(checkout)
    uri = push(own_cloud, checkout, name).stdout.strip()
    own_cloud("down")
    assert own_cloud("up").returncode == 0
    ecr = own_cloud.client("ecr")
    [repository] = ecr.describe_repositories()["repositories"]
    assert repository["repositoryUri"] == uri.split("@")[0]
    assert uri.split("@")[1] in {i["imageDigest"] for i in ecr.list_images(repositoryName=name)["imageIds"]}
    assert push(own_cloud, checkout, name).stdout.strip() == uri
