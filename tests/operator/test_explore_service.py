"""Exploring through localcloud, with a stand-in for the image that tries nothing and finds something."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.operator.conftest import Cloud, eventually

# By its seed: 0 completes, 1 finds no recipe, 2 and 3 go on until they are stopped, 4 fails after its trials,
# 5 with its trials. 3 leaves nothing in the artifact, as a job that is killed does.
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
        row(3, None, status="not tried", seconds=0.0),
    ]
    if hp.seed == 5:
        rows = [row(0, None, status="failed", reason="OSError: no weights")]
    for folder in [paths.checkpoints()] if hp.seed == 3 else [paths.checkpoints(), paths.model()]:
        leaderboard.write(folder / leaderboard.FILE, rows)
        if hp.seed not in (1, 5):
            document = recipe.document(rows, hp, "f" * 64, 1000, "float32")
            recipe.write(folder / FILE, document)
    print("trial=2 round=full status=completed validation_accuracy=0.5000 best_validation_accuracy=0.5000")
    if hp.seed in (2, 3):
        time.sleep(600)
    if hp.seed in (4, 5):
        (paths.output() / "failure").write_text("OSError: [Errno 28] No space left on device")
        raise SystemExit(1)
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
        return self.finish(self.start(name, *arguments))

    def start(self, name: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", f"services.{name}", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
        try:
            said = process.communicate(timeout=120)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

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


def own_checkpoints(job: str) -> str:
    """Below what the training role may write, and read again to go on."""
    return f"s3://sagemaker-us-east-1-123456789012/bintally/checkpoints/{job}"


def wait_until_found(boto, job: str) -> None:
    def found() -> bool:
        events = boto("logs").filter_log_events(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job}/"
        )["events"]
        return any("trial=2" in event["message"] for event in events)

    eventually(found)


def watch(shell: Shell, job: str) -> subprocess.Popen:
    """A process that has shown the log of a job that found something."""
    watching = shell.start("explore", "--job", job)
    assert any("trial=2" in line for line in watching.stdout)
    return watching


def test_what_a_stopped_job_has_found_is_not_lost(boto, shell):
    job = job_of(shell.explore("seed=2", "--no-wait"))
    sagemaker = boto("sagemaker")
    wait_until_found(boto, job)
    sagemaker.stop_training_job(TrainingJobName=job)
    eventually(lambda: sagemaker.describe_training_job(TrainingJobName=job)["SecondaryStatus"] == "Stopped")
    assert shell.explore("--job", job).returncode == 0
    assert json.loads((shell.local / "recipe.json").read_text())["provenance"]["trial"] == 2


def test_a_job_that_is_stopped_while_it_is_watched_leaves_its_checkpoints(boto, shell):
    job = job_of(shell.explore("seed=3", "--no-wait"))
    wait_until_found(boto, job)
    watching = watch(shell, job)
    boto("sagemaker").stop_training_job(TrainingJobName=job)
    done = shell.finish(watching)
    assert done.returncode == 0, done.stderr
    assert "beats the trainer's default on validation by 20.0 points" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith(f"{job} ended as Stopped; ")]
    assert line.endswith(f"the same command with --checkpoints {own_checkpoints(job)}")
    assert json.loads((shell.local / "recipe.json").read_text())["provenance"]["job"] == job


@pytest.fixture
def interruptible():
    """Whoever runs the tests in the background ignores Ctrl-C, and a child would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_who_stops_watching_is_told_how_to_come_back(boto, shell, interruptible):
    job = job_of(shell.explore("seed=2", "--no-wait"))
    wait_until_found(boto, job)
    watching = watch(shell, job)
    watching.send_signal(signal.SIGINT)
    done = shell.finish(watching)
    boto("sagemaker").stop_training_job(TrainingJobName=job)
    [line] = done.stderr.splitlines()
    assert done.returncode == 1 and "no longer watching" in line and line.endswith(f"--job {job}")


def test_finished_trials_outlive_a_job_that_fails(boto, shell):
    done = shell.explore("seed=4")
    job = job_of(done)
    described = boto("sagemaker").describe_training_job(TrainingJobName=job)
    assert described["CheckpointConfig"]["S3Uri"] == own_checkpoints(job)
    assert "4 trials" in done.stdout and "50.0 %" in done.stdout
    board = shell.local / "explorations" / job / "leaderboard.csv"
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and said.startswith(f"error: {job} ended as Failed; AlgorithmError: OSError")
    assert f"its trials are in {board} and {own_checkpoints(job)}; to go on" in said
    assert said.endswith(f"the same command with --checkpoints {own_checkpoints(job)}")
    found = {path.name: path.read_text() for path in board.parent.iterdir()}
    assert set(found) == {"leaderboard.csv", "recipe.json"} and not (shell.local / "recipe.json").exists()
    board.unlink()
    assert shell.explore("--job", job).returncode == 1 and board.read_text() == found[board.name]


def test_the_leaderboard_of_nothing_but_failures_reaches_the_user(shell):
    done = shell.explore("seed=5")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "trial 0 (net0), failed: OSError: no weights" in done.stdout
    assert "it has found no recipe; its trials are in" in done.stderr
    assert (shell.local / "explorations" / job_of(done) / "leaderboard.csv").exists()


def test_hyperparameters_may_stand_on_both_sides_of_an_option(boto, shell):
    done = shell.explore("architectures=resnet18", "--budget", "2m", "seed=0", "--no-wait")
    assert done.returncode == 0, done.stderr
    job = boto("sagemaker").describe_training_job(TrainingJobName=job_of(done))
    assert job["HyperParameters"] == {"architectures": "resnet18", "budget": "2m", "seed": "0"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "soon"], "budget: 'soon' is no duration, such as 20m"),
        (["seed"], "'seed' is not name=value"),
        (["epoch=3"], "SettingsError: unknown hyperparameter epoch"),
        (["seed=1"], "ended as Completed; it has found no recipe; its trials are in"),
        (["--job", "nowhere"], "Requested resource not found"),
    ],
)
def test_plain_mistakes_end_with_one_clear_line(shell, arguments, said):
    done = shell.explore(*arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and said in done.stderr
