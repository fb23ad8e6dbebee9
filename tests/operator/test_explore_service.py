"""Exploring through localcloud, with a stand-in for the image that tries nothing and finds something."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.operator.conftest import Cloud, eventually

SEARCH = """
    import json, os, pathlib, time
    from containers.common import paths
    from containers.common.errors import BinTallyError
    from containers.common.recipe import FILE
    from containers.explore import leaderboard, recipe
    from containers.explore.hyperparameters import parse
    from tests.explore.rows import row

    given = json.loads((paths.base() / "input/config/hyperparameters.json").read_text())
    try:
        hp = parse(given)
    except BinTallyError as error:
        (paths.output() / "failure").write_text(f"{type(error).__name__}: {error}")
        raise SystemExit(1)
    assert sorted(p.name for p in (paths.base() / "input/data").iterdir()) == [
        "manifest", "train", "validation"
    ]
    rows = [
        row(0, 0.25),
        row(1, None, status="failed", reason="RuntimeError: [a bracket] " + "x" * 200),
        row(2, 0.5, round="full"),
        row(0, 0.3, round="full"),
    ]
    leaderboard.write(paths.model() / leaderboard.FILE, rows)
    if hp.seed != 1:
        document = recipe.document(rows, hp, "f" * 64, 1000, "float32")
        recipe.write(paths.model() / FILE, document)
    print("trial=2 round=full status=completed validation_accuracy=0.5000 best_validation_accuracy=0.5000")
    if hp.seed == 2:
        time.sleep(600)
"""
TRAIN = "print('train_loss=0.5')"


class Shell:
    """Services against the shared localcloud, with a work folder and stand-in images of their own."""

    def __init__(self, cloud: Cloud, folder: Path):
        self.local = folder / "local"
        self.local.mkdir()
        self._environment = {
            **cloud.environment,
            "BINTALLY_LOCAL": str(self.local),
            "BINTALLY_EXPLORE_IMAGE": cloud.image(f"search-{folder.name}", "train", SEARCH),
            "BINTALLY_TRAIN_IMAGE": cloud.image(f"trainer-{folder.name}", "train", TRAIN),
        }
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket="explored")
        for key in ("data/train/1/a.jpg", "data/validation/1/b.jpg", "data/manifest.csv"):
            s3.put_object(Bucket="explored", Key=key, Body=b"x")

    def __call__(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", f"services.{name}", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def explore(self, *arguments: str) -> subprocess.CompletedProcess:
        return self("explore", "--data", "s3://explored/data", *arguments)


@pytest.fixture
def shell(cloud: Cloud, tmp_path) -> Shell:
    return Shell(cloud, tmp_path)


def job_of(done: subprocess.CompletedProcess) -> str:
    [name] = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("exploration ")]
    return name


def test_an_exploration_ends_with_a_leaderboard_and_the_recipe_that_training_takes(cloud, boto, shell):
    done = shell.explore("--budget", "2m", "architectures=resnet18", "--checkpoints", "s3://explored/c")
    assert done.returncode == 0, done.stdout + done.stderr
    job = boto("sagemaker").describe_training_job(TrainingJobName=job_of(done))
    assert job["HyperParameters"] == {"architectures": "resnet18", "budget": "2m"}
    assert job["StoppingCondition"]["MaxRuntimeInSeconds"] == 120 + 600
    assert job["CheckpointConfig"]["S3Uri"] == "s3://explored/c"
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    assert metrics == {"trial:validation_accuracy": 0.5, "best:validation_accuracy": 0.5}
    tags = boto("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "project", "Value": "bintally"}]

    folder = shell.local / "explorations" / job["TrainingJobName"]
    assert {p.name for p in folder.iterdir()} == {"leaderboard.csv", "recipe.json"}
    assert "4 trials" in done.stdout and "50.0 %" in done.stdout
    assert "[a bracket]" in done.stdout and " default " in done.stdout
    assert "beats the trainer's default on validation by 20.0 points" in done.stdout
    recipe = json.loads((shell.local / "recipe.json").read_text())
    assert recipe["provenance"]["job"] == job["TrainingJobName"]

    trained = shell("train", "--data", "s3://explored/data", "epochs=2", "--no-wait")
    assert trained.returncode == 0, trained.stderr
    assert f"recipe        {shell.local}/recipe.json, from the newest exploration" in trained.stdout
    given = hyperparameters(boto, trained)
    assert given["architecture"] == "net2" and given["pretrained"] == "false" and given["epochs"] == "2"

    plain = shell("train", "--data", "s3://explored/data", "--recipe", "none", "--no-wait")
    assert "newest exploration" not in plain.stdout
    assert "architecture" not in hyperparameters(boto, plain)


def hyperparameters(boto, done: subprocess.CompletedProcess) -> dict[str, str]:
    [name] = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("training job ")]
    return boto("sagemaker").describe_training_job(TrainingJobName=name)["HyperParameters"]


def test_what_a_job_has_found_is_fetched_later(boto, shell):
    started = shell.explore("--no-wait")
    assert started.returncode == 0 and not (shell.local / "explorations").exists()
    done = shell.explore("--job", job_of(started))
    assert done.returncode == 0, done.stderr
    assert (shell.local / "explorations" / job_of(started) / "leaderboard.csv").exists()


def test_what_a_stopped_job_has_found_is_not_lost(boto, shell):
    job = job_of(shell.explore("seed=2", "--no-wait"))
    sagemaker = boto("sagemaker")

    def found() -> bool:
        events = boto("logs").filter_log_events(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job}/"
        )["events"]
        return any("trial=2" in event["message"] for event in events)

    eventually(found)
    sagemaker.stop_training_job(TrainingJobName=job)
    eventually(lambda: sagemaker.describe_training_job(TrainingJobName=job)["SecondaryStatus"] == "Stopped")
    assert shell.explore("--job", job).returncode == 0
    assert json.loads((shell.local / "recipe.json").read_text())["provenance"]["trial"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "soon"], "budget: 'soon' is no duration, such as 20m"),
        (["seed"], "'seed' is not name=value"),
        (["epoch=3"], "SettingsError: unknown hyperparameter epoch"),
        (["seed=1"], "has found no recipe"),
        (["--job", "nowhere"], "Requested resource not found"),
    ],
)
def test_plain_mistakes_end_with_one_clear_line(shell, arguments, said):
    done = shell.explore(*arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and said in done.stderr
