"""Every command of the README is run, as it is written, but for the names that a reader fills in."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from containers.common import synthetic
from tests import ROOT
from tests.engine import NO_REGISTRY, answers, has, needs, registry_answers
from tests.operator.conftest import Cloud

README = (ROOT / "README.md").read_text()
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]
TABLE = re.findall(r"^\| [^|]* \| `(make .*?)`[^|]*\|$", README, re.MULTILINE)  # rows of what to say
# .ci/run runs these whole
IN_CI = {
    "make demo",
    "make test",
    "make test-images",
    "make demo RUNTIME=docker",
    "make demo SOURCE=../shared/data/abid",
}
SHIPPED, ONE_STEP, REPLACING, AWS_CLI, CONTAINERS, BY_HAND = BLOCKS[2:8]
TINY = "epochs=1 image_size=32 batch_size=16"  # appended: the last value of a hyperparameter counts
pytestmark = pytest.mark.training


class Shell:
    """A reader's terminal in the repository, with a localcloud and a work folder of its own."""

    def __init__(self, folder: Path):
        self.cloud = Cloud(folder / "cloud")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BINTALLY_", "MAKE"))},
            **{k: v for k, v in self.cloud.environment.items() if k.startswith("LOCALCLOUD_")},
            "BINTALLY_LOCAL": str(folder / "local"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.bins = folder / "bins"
        synthetic.render_dataset(self.bins, 220, seed=7, workers=2)
        listed = json.loads((self.bins / "file_list.json").read_text())
        extra = {count: [names.pop()] for count, names in listed.items()}
        (self.bins / "file_list.json").write_text(json.dumps(listed))
        (self.bins / "extra_list.json").write_text(json.dumps(extra))

    def __call__(self, *lines: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-euc", "\n".join(lines)],
            cwd=ROOT,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=900,
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    shell = Shell(tmp_path_factory.mktemp("readme"))
    assert shell("make up").returncode == 0
    yield shell
    shell("make down")


@pytest.fixture(scope="module")
def uploaded(shell):
    """The rendered bins are the data set that was uploaded last."""
    done = shell(f"make data SOURCE={shell.bins}")
    assert done.returncode == 0, done.stderr


def commands() -> list[str]:
    return [line for block in BLOCKS for line in block] + TABLE


def test_the_two_commands_come_first_and_ci_runs_them():
    assert BLOCKS[0] == ["make demo", "make test"]
    script = (ROOT / ".ci" / "run").read_text()
    assert "\nmake test\n" in script and "\nmake demo\n" in script
    assert "photographs=../shared/data/abid" in script and 'make demo SOURCE="$photographs"' in script
    assert "make test-images " in script and "demo_runtime=docker" in script
    assert "\nmake demo RUNTIME=$demo_runtime\n" in script


def test_every_command_is_run_somewhere():
    tested = IN_CI | {*SHIPPED, *ONE_STEP, *REPLACING, *AWS_CLI, *CONTAINERS, *BY_HAND, *TABLE}
    assert set(commands()) == tested and len(TABLE) == 15


def test_the_model_that_ships(shell):
    """The report finds none of its photographs among rendered bins, and names them instead."""
    photograph = str(shell.bins / "bin-images" / "00001.jpg")
    meant = {"bin.jpg": photograph, "../shared/data/abid": str(shell.bins)}
    lines = [re.sub("|".join(map(re.escape, meant)), lambda found: meant[found[0]], line) for line in SHIPPED]
    done = shell(*lines)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the model that ships with BinTally is taken" in done.stdout
    assert all(name in done.stdout for name in ("model.onnx", "model.ts", "report.html"))


def test_one_step_at_a_time(shell):
    photograph = shell.bins / "bin-images" / "00001.jpg"
    done = shell(*(line.replace("bin.jpg", str(photograph)) for line in ONE_STEP))
    assert done.returncode == 0, done.stdout + done.stderr
    assert photograph.name in done.stdout and "localcloud is stopped" in done.stdout


def test_the_aws_cli(shell, uploaded):
    done = shell(*AWS_CLI)
    assert done.returncode == 0, done.stderr
    assert "TrainingJobSummaries" in done.stdout and "sagemaker-us-east-1" in done.stdout


@pytest.mark.parametrize("command", [c for c in TABLE if c.startswith("make train")])
def test_ways_to_train(shell, uploaded, command):
    command = command.replace("s3://bucket", "s3://sagemaker-us-east-1-123456789012")
    tiny = re.sub(r'"$', f' {TINY}"', command)
    twice = "checkpoints" in command
    for again in range(1 + twice):
        done = shell(tiny)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "model.tar.gz" in done.stdout and ("resumed at epoch 2" in done.stdout) == bool(again)


def test_exploring(shell, uploaded):
    [command] = [c for c in TABLE if c.startswith("make explore")]
    sizes = "image_sizes=32 batch_sizes=16 trials=1 subset=60 subset_epochs=1 epochs=1"
    tiny = f"architectures=tf_efficientnet_lite0 {sizes}"
    done = shell(f'{command} ARGS="{tiny}"', HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recipe.json is what 'make train' takes by default" in done.stdout


def test_replacing_the_model(shell, uploaded):
    deploy, pipeline, monitor = REPLACING
    done = shell(deploy, re.sub(r'"$', f' {TINY}"', pipeline), monitor)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test photographs exactly, against" in done.stdout and "monitor.html" in done.stdout


def test_data_with_extras(shell):
    [command] = [c for c in TABLE if "--use-extra" in c]
    done = shell(command.replace("SOURCE=folder", f"SOURCE={shell.bins}"))
    assert done.returncode == 0, done.stderr


def test_data_that_stays_on_its_side(shell):
    """The manifest is of the same list: another test may have left one that holds the extras, too."""
    assert shell(f"make data SOURCE={shell.bins}").returncode == 0
    [command] = [c for c in TABLE if "--sides-of" in c]
    [manifest] = Path(shell.environment["BINTALLY_LOCAL"]).glob("data/bins-*/manifest.csv")
    before = manifest.read_text()
    done = shell(
        command.replace("SOURCE=folder", f"SOURCE={shell.bins}").replace("manifest.csv", str(manifest))
    )
    assert done.returncode == 0, done.stderr
    assert manifest.read_text() == before


def test_data_from_the_public_bucket(shell):
    """The bucket is localcloud's own, filled as the public one is."""
    [command] = [c for c in TABLE if "SOURCE=abid" in c]
    listed = json.loads((shell.bins / "file_list.json").read_text())
    few = {count: names[:4] for count, names in listed.items()}
    (shell.bins / "few.json").write_text(json.dumps(few))
    s3 = shell.cloud.client("s3")
    s3.create_bucket(Bucket="aft-vbi-pds")
    for name in (Path(name).stem for names in few.values() for name in names):
        for key in (f"bin-images/{name}.jpg", f"metadata/{name}.json"):
            if (shell.bins / key).exists():  # metadata may be missing, as in the real bucket
                s3.upload_file(str(shell.bins / key), "aft-vbi-pds", key, ExtraArgs={"ACL": "public-read"})
    done = shell(
        command.replace("file_list.json", str(shell.bins / "few.json")),
        ABID_ENDPOINT_URL=shell.cloud.settings.url,
    )
    assert done.returncode == 0, done.stderr
    assert "upload: 20 of 20" in done.stderr and "set aside    0" in done.stdout


def test_everything_is_made_and_taken_away_again(tmp_path):
    bootstrap, cost, teardown = (
        next(c for c in TABLE if c.startswith(f"make {verb}")) for verb in ("bootstrap", "cost", "teardown")
    )
    shell = Shell(tmp_path)
    shell.environment |= NO_REGISTRY
    try:
        done = shell(f"make data SOURCE={shell.bins}", bootstrap, cost)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "bintally-promote" in done.stdout and "infra/prices.csv" in done.stdout
        done = shell(teardown)
        assert done.returncode == 0, done.stdout + done.stderr
        s3 = shell.cloud.client("s3")
        assert "Contents" not in s3.list_objects_v2(Bucket="sagemaker-us-east-1-123456789012")
        assert len(s3.list_buckets()["Buckets"]) == 1  # SageMaker's own, which may hold more
    finally:
        shell("make down")


@pytest.fixture(scope="module")
def images():
    names = ("bintally-function", "bintally-serve", "bintally-train")
    needs("Docker engine", answers())
    needs("set of built images ('make build')", all(map(has, names)))


def test_the_images_are_built(shell, images):
    build, *others = CONTAINERS
    assert build.startswith("make build") and set(others) <= IN_CI | {"make down"}
    done = shell(build)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_serving_image_is_asked_by_hand(shell, images):
    assert shell(f"make data SOURCE={shell.bins}", f'make train ARGS="{TINY}"').returncode == 0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    meant = {
        "$PWD/.local": shell.environment["BINTALLY_LOCAL"],
        "8080:": f"{port}:",
        "localhost:8080": f"localhost:{port}",
        "bin.jpg": str(shell.bins / "bin-images" / "00001.jpg"),
        "--name bintally": f"--name bintally-{port}",
        "stop bintally": f"stop bintally-{port}",
    }
    lines = []
    for line in BY_HAND:
        for written, here in meant.items():
            line = line.replace(written, here)
        lines.append(line)
    done = shell(*lines)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"expected": 3, "verdict":' in done.stdout


def test_pushing(shell, images):
    """One image of them: the whole set takes minutes, and test_ecr goes into it."""
    needs("registry", registry_answers())
    [command] = [c for c in TABLE if c.startswith("make push")]
    done = shell(f'{command} ARGS="bintally-function"')
    assert done.returncode == 0, done.stderr
    assert "bintally-function@sha256:" in done.stdout


def test_aws_without_credentials_is_one_line(shell):
    [command] = [c for c in TABLE if "CLOUD=aws" in c]
    done = shell(command)
    assert done.returncode != 0 and "error: no AWS credentials" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_lists_every_verb(shell):
    listed = shell("make").stdout
    rules = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rules and all(re.search(rf"make {verb}\s+\S", listed) for verb in rules)
    assert all(verb in listed for verb in re.findall(r"make ([a-z]+)", " ".join(commands())))


def test_an_options_list_is_one_argument_away(shell):
    assert "--processes" in shell("make train ARGS=--help").stdout


@pytest.mark.parametrize(
    ("tool", "said"), [("python3.11", "python3.11"), ("cc", "gcc"), ("git", "install git")]
)
def test_a_missing_prerequisite_is_named_with_its_cure(shell, tmp_path, tool, said):
    here = tmp_path / "bin"
    here.mkdir()
    for name in {"bash", "sh", "make", "printf", "python3.11", "cc", "git", "grep", "sed", "awk"} - {tool}:
        target = {"python3.11": getattr(sys, "_base_executable", sys.executable)}.get(name) or shutil.which(
            name
        )
        (here / name).symlink_to(target)
    done = shell("make prerequisites", PATH=str(here))
    assert done.returncode != 0 and said in done.stderr and "apt-get install" in done.stderr
