"""The whole job with AutoGluon itself, on data that a tiny network can learn."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from containers.explore import trial as trials
from containers.explore.leaderboard import CUT_OFF, FAILED
from containers.explore.runner import Runner
from containers.explore.space import Trial
from containers.train import hyperparameters as trainers
from tests import squares

TINY = {
    "budget": "3h",
    "architectures": "tf_efficientnet_lite0,resnet99",
    "image_sizes": "32",
    "batch_sizes": "20",
    "trials": "2",
    "subset": "60",
    "subset_epochs": "1",
    "epochs": "1",
}


def lay_out(base: Path, **hyperparameters: str) -> Path:
    squares.base(base, train=100)
    config = base / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps(TINY | hyperparameters))
    return base


def start(base: Path) -> subprocess.Popen:
    """The image's entry point. HF_HUB_OFFLINE: what is tested must not depend on a hub."""
    return subprocess.Popen(
        [sys.executable, "-m", "containers.explore.explore"],
        env={**squares.environment(base), "HF_HUB_OFFLINE": "1", "TRAINING_JOB_NAME": "tried"},
        stdout=(base / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )


def finish(base: Path, **hyperparameters: str) -> tuple[int, str]:
    """(exit status, log)"""
    status = start(lay_out(base, **hyperparameters)).wait()
    return status, (base / "log").read_text()


def rows(folder: Path) -> list[dict]:
    with (folder / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> tuple[Path, str]:
    base = tmp_path_factory.mktemp("explored")
    status, log = finish(base)
    assert status == 0, log
    return base, log


def test_every_trial_is_a_row_and_a_failing_one_says_why(explored):
    base, log = explored
    found = rows(base / "model")
    assert [(r["trial"], r["round"], r["status"]) for r in found] == [
        ("0", "subset", "completed"),
        ("1", "subset", "completed"),
        ("2", "subset", "failed"),
        ("1", "full", "completed"),
        ("0", "full", "completed"),
    ]
    assert found[2]["reason"].startswith("SettingsError: architecture 'resnet99' is unknown to timm")
    assert found[2]["validation_accuracy"] == ""
    assert all(0 <= float(r["validation_accuracy"]) <= 1 for r in found if r["status"] == "completed")
    assert (found[1]["pretrained"], found[3]["photographs"]) == ("True", "100")
    assert "trial=1 round=full status=completed validation_accuracy=" in log
    assert rows(base / "checkpoints") == found
    assert (base / "output" / "data" / "trial-2-subset.log").exists()


def test_the_recipe_is_the_trainers(explored):
    base, log = explored
    recipe = json.loads((base / "model" / "recipe.json").read_text())
    given = [f"--{name}={value}" for name, value in recipe["hyperparameters"].items()]
    assert trainers.parse(given).image_size in (32, 128)
    provenance = recipe["provenance"]
    assert provenance["job"] == "tried" and provenance["of_trials"] == 3
    assert provenance["versions"]["autogluon.multimodal"] == "1.6.3"
    assert log.splitlines()[-1] == provenance["verdict"]


def test_a_finished_search_started_again_tries_nothing_and_keeps_its_results(explored):
    base, _ = explored
    before = rows(base / "model")
    for path in (base / "model").iterdir():
        path.unlink()
    assert start(base).wait(60) == 0
    log = (base / "log").read_text()
    assert "resumed after 5 finished trial(s)" in log and "starts" not in log
    assert rows(base / "model") == before


def wait_for(base: Path, text: str, process: subprocess.Popen) -> None:
    while text not in (base / "log").read_text():
        assert process.poll() is None, (base / "log").read_text()
        time.sleep(0.1)


def test_sigterm_leaves_what_was_found_and_no_process(tmp_path):
    base = lay_out(tmp_path, architectures="tf_efficientnet_lite0", trials="9")
    process = start(base)
    wait_for(base, "trial=1 round=subset architecture", process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert family and not psutil.wait_procs(family, timeout=60)[1]
    found = [(r["trial"], r["status"]) for r in rows(base / "model")]
    assert found[:2] == [("0", "completed"), ("1", "stopped")]
    assert found[2:] == [(str(number), "not tried") for number in range(2, 10)]
    assert json.loads((base / "model" / "recipe.json").read_text())["provenance"]["trial"] == 0
    assert "stopped by SIGTERM" in (base / "log").read_text()

    again = start(base)
    wait_for(base, "trial=1 round=subset architecture", again)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0
    log = (base / "log").read_text()
    assert "resumed after 1 finished trial(s)" in log and "trial=0 round=subset" not in log


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": "3"}, "SettingsError: unknown hyperparameter epoch; known: profile"),
        ({"budget": "1s"}, "NothingFound: no trial was scored within 1 s"),
    ],
)
def test_plain_mistakes_are_one_line_and_a_failure_file(tmp_path, given, said):
    status, log = finish(tmp_path, **given)
    assert status == 1 and "Traceback" not in log
    [line] = [line for line in log.splitlines() if line.startswith("error: ")]
    failure = (tmp_path / "output" / "failure").read_text()
    assert failure.startswith(said) and line.removeprefix("error: ") in failure


def test_a_list_of_which_not_all_are_tried_is_said_to_be_one(tmp_path):
    _, log = finish(tmp_path, budget="1s", trials="1")
    assert "light search of 1 of 2 architectures: 100 photographs" in log


@pytest.mark.parametrize("full", [["model"], ["model", "output"]])
def test_a_disk_that_takes_no_more_is_one_line(tmp_path, full):
    """A file where the job needs a folder stands for it: to root, everything else can be written."""
    for name in full:
        (tmp_path / name).touch()
    status, log = finish(tmp_path, budget="1s")
    assert status == 1 and "Traceback" not in log
    assert log.splitlines()[-1].startswith("error: [Errno 17] File exists: ")
    assert (tmp_path / "checkpoints" / "leaderboard.csv").exists()  # which a job that fails leaves
    if "output" not in full:
        assert (tmp_path / "output" / "failure").read_text().startswith("FileExistsError: ")


def test_checkpoints_of_another_search_are_refused(tmp_path):
    finish(tmp_path, budget="1s")
    config = tmp_path / "input" / "config" / "hyperparameters.json"
    config.write_text(json.dumps(TINY | {"trials": "3"}))
    assert start(tmp_path).wait(60) == 1
    assert "of a search with another trials" in (tmp_path / "output" / "failure").read_text()


def trial(**values) -> Trial:
    return Trial(
        **{
            **{"number": 1, "round": "subset", "architecture": "resnet10t", "pretrained": False},
            **{"image_size": 32, "batch_size": 20, "learning_rate": 1e-3, "epochs": 1, "photographs": 60},
            **values,
        }
    )


@pytest.fixture
def job(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(squares.base(tmp_path, train=100)))
    monkeypatch.setenv("PYTHONPATH", str(squares.ROOT))
    return tmp_path


def test_a_trial_is_killed_when_its_time_is_over(job):
    row = Runner(0, {}, lambda: False, job / "scratch")(trial(epochs=100_000), seconds=2)
    assert row.status == CUT_OFF and row.validation_accuracy is None and "could be scored" in row.reason
    assert list((job / "scratch").iterdir()) == []


def test_a_trial_whose_process_dies_is_a_row(job, monkeypatch):
    monkeypatch.chdir(job)  # where Python finds no trial to run
    row = Runner(0, {"PYTHONPATH": os.devnull}, lambda: False, job / "scratch")(trial(), seconds=60)
    assert (row.status, row.reason) == (FAILED, "its process ended with exit code 1")


def test_training_that_is_cut_off_is_scored_as_far_as_it_got(job):
    result = trials.run(trial(epochs=100_000), seed=0, until=time.time() + 3, folder=job / "trial")
    assert not result["finished"] and 0 <= result["accuracy"] <= 1


def test_weights_that_cannot_be_had_are_reported_and_the_network_starts_from_scratch(job, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = trials.run(
        trial(architecture="resnet18", pretrained=True), seed=0, until=time.time() + 500, folder=job / "trial"
    )
    assert result["finished"] and not result["pretrained"]
    assert result["reason"].startswith("no pretrained weights: ")
