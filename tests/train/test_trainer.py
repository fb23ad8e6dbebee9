"""The trainer on data it can learn: what it leaves behind, and that it stops, resumes and fails properly."""

import json
import re
import signal
import subprocess
import time

import psutil
import pytest
import torch

from containers.common import card as cards
from containers.common import job
from containers.train import checkpoint, hyperparameters, scoring
from containers.train import train as trainer
from containers.train.distributed import World
from tests import squares
from tests.train.conftest import RECIPE

ACCURACY = re.compile(r"validation_accuracy=([0-9.]+)")


def test_it_learns_to_count(trained):
    _, log = trained
    assert max(float(x) for x in ACCURACY.findall(log)) > 0.6  # a fifth would be chance


def test_the_artifact_is_whole(trained):
    base, _ = trained
    card = cards.read(base / "model")
    assert {p.name for p in (base / "model").iterdir()} == {
        cards.FILE,
        cards.FLOAT_GRAPH,
        cards.SERVED_GRAPH,
        cards.WEIGHTS,
        cards.TORCHSCRIPT,
        cards.TRAINING,
        cards.REPORT,
    }
    assert card.input_size == [32, 32] and card.classes == [1, 2, 3, 4, 5]
    assert card.recipe["epochs"] == 6 and card.data["train"] == 400
    accuracy = card.metrics["validation"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert 0 < card.decision["mismatch_below"] <= card.decision["match_above"] < 1


def test_a_finished_job_exports_again_from_its_checkpoint(trained):
    base, _ = trained
    before, history = cards.read(base / "model"), json.loads((base / "model" / cards.TRAINING).read_text())
    log = squares.train(base, *RECIPE).stdout
    after = cards.read(base / "model")
    assert "resumed at epoch 7" in log and "epoch=" not in log.replace("best_epoch=", "")
    assert after.metrics == before.metrics and after.decision == before.decision
    assert json.loads((base / "model" / cards.TRAINING).read_text()) == history


def test_teachers_are_trained_from_the_same_start_and_the_last_network_is_kept(tmp_path):
    recipe = ["--epochs", "2", "--teachers", "1", "--teacher-epochs", "3", "--decay", "1.5"]
    recipe += ["--generations", "2"]
    log = squares.train(squares.base(tmp_path), *recipe).stdout
    card = cards.read(tmp_path / "model")
    *before, last = card.metrics["kept_epochs"]
    assert before == [3, 5] and last in (6, 7) and "epoch=7/7" in log
    loss = {int(n): float(v) for n, v in re.findall(r"^epoch=(\d)/7 train_loss=([0-9.]+)", log, re.MULTILINE)}
    assert loss[4] > loss[3] and loss[6] > loss[5]  # each began where the first one did
    accuracy = re.search(rf"^epoch={last}/7 .*validation_accuracy=([0-9.]+)", log, re.MULTILINE)[1]
    assert f"best_epoch={last} best_validation_accuracy={accuracy}" in log

    assert "resumed at epoch 8" in squares.train(tmp_path, *recipe).stdout  # with what the teachers said
    assert cards.read(tmp_path / "model").metrics == card.metrics


def test_networks_begin_with_what_rendered_bins_taught(tmp_path):
    recipe = ["--image_size", "48", "--rendered-epochs", "2", "--epochs", "1", "--teachers", "2"]
    log = squares.train(squares.base(tmp_path, train=200), *recipe).stdout
    assert re.findall(r"^epoch=(\d)/5 .* (\w+)_accuracy", log, re.MULTILINE) == [
        ("1", "rendered"), ("2", "rendered"), ("3", "validation"), ("4", "validation"), ("5", "validation"),
    ]  # fmt: skip
    assert cards.read(tmp_path / "model").metrics["kept_epochs"] == [2, 3, 4, 5]
    assert "Epochs 1 to 2, of rendered bins, are not" in (tmp_path / "model" / cards.REPORT).read_text()
    state = torch.load(tmp_path / "checkpoints" / checkpoint.FILE, weights_only=True)
    learnt, other = state["teachers"]

    def distance(teacher: dict) -> float:
        return sum((teacher[k] - v).abs().sum().item() for k, v in state["prepared"].items() if v.ndim == 4)

    assert distance(learnt) < 0.8 * distance(other)  # one began there, the other did not


def test_a_network_with_two_classifiers_is_trained_and_served(tmp_path):
    recipe = ["--architecture", "deit_tiny_distilled_patch16_224", "--epochs", "1"]
    squares.train(squares.base(tmp_path), *recipe)
    exports = cards.read(tmp_path / "model").exports
    assert all(
        exports[graph]["same_count_when_clear"] == 1 for graph in (cards.FLOAT_GRAPH, cards.SERVED_GRAPH)
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epoch", "3"], "unknown hyperparameter epoch"),
        (["--architecture", "resnet99"], "architecture 'resnet99' is unknown"),
        (["--architecture", "inception_v3"], "inception_v3 cannot count photographs of 32 × 32 px"),
        (["--drop_rate", "30", "--pretrained", "true"], "drop_rate=30.0: must be from 0 to below 1"),
        (["--precision", "int4"], "must be bf16 or float32"),
        (["--epochs", "many"], "epochs"),
        (["--batch_size", "500"], "do not fill one batch of 500"),
        (["--learning_rate", "1e12", "--precision", "float32", "--epochs", "30"], "lower learning_rate"),
    ],
)
def test_plain_mistakes_are_one_line_and_a_failure_file(tmp_path, arguments, said):
    run = squares.train(squares.base(tmp_path), *arguments, check=False)
    assert run.returncode == 1
    assert said in (tmp_path / "output" / "failure").read_text()
    assert "Traceback" not in run.stderr and said in run.stderr
    assert not (tmp_path / "model").exists()


WORKER = """Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "data.py", line 7, in run
ValueError: no such thing
"""
LESS = "memory ran out: use a smaller batch_size or image_size"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("CUDA error: illegal access\nFor debugging …"),
            "RuntimeError: CUDA error: illegal access",
        ),
        (ValueError(WORKER), "ValueError: no such thing"),
        (AssertionError(), "AssertionError: no more is known"),
        (torch.OutOfMemoryError("CUDA out of memory."), f"OutOfMemoryError: CUDA out of memory.; {LESS}"),
        (MemoryError("Unable to allocate 8 GiB"), f"MemoryError: Unable to allocate 8 GiB; {LESS}"),
        (
            RuntimeError("worker is killed by signal: Killed."),
            f"RuntimeError: worker is killed by signal: Killed.; {LESS}",
        ),
    ],
)
def test_an_error_that_nobody_foresaw_is_a_reason_of_one_line_below_its_traceback(
    tmp_path, monkeypatch, capsys, error, reason
):
    assert failing_with(error, tmp_path, monkeypatch) == 1
    assert (tmp_path / "output" / "failure").read_text() == reason
    log = capsys.readouterr().err
    assert "Traceback" in log and log.endswith(f"\nerror: {reason}\n")


def test_a_rank_that_lost_another_leaves_the_reason_to_it(tmp_path, monkeypatch, capsys):
    lost = RuntimeError(
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"
    )
    assert failing_with(lost, tmp_path, monkeypatch) == 1
    assert "Connection closed" in capsys.readouterr().err and not (tmp_path / "output" / "failure").exists()


def failing_with(error: Exception, base, monkeypatch) -> int:
    """The exit status of the trainer's main, with a training that fails so."""

    def train(*_):
        raise error

    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    monkeypatch.setattr(trainer, "train", train)
    monkeypatch.setattr(trainer.sys, "argv", ["train.py"])
    monkeypatch.setattr(trainer.signal, "signal", lambda *_: None)
    return trainer.main()


@pytest.mark.parametrize("cache", ["0", "100"])
def test_a_damaged_photograph_is_one_line_whoever_decodes_it(tmp_path, cache):
    folder = squares.base(tmp_path)
    damaged = next((folder / "input/data/train/3").iterdir())
    damaged.write_bytes(b"no photograph")
    run = squares.train(folder, "--cache_megabytes", cache, check=False)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    reason = (folder / "output/failure").read_text()
    assert re.fullmatch(rf"DataError: {damaged}: .+", reason)
    assert reason.removeprefix("DataError") in run.stderr


def test_photographs_that_the_manifest_does_not_name_are_refused_before_training(tmp_path):
    folder = squares.base(tmp_path)
    known = next((folder / "input/data/validation/3").iterdir())
    known.with_name("stranger.jpg").write_bytes(known.read_bytes())
    run = squares.train(folder, check=False)
    assert run.returncode == 1 and "epoch=" not in run.stdout
    assert "the manifest does not name 1 of the photographs, stranger first" in run.stderr


def test_a_job_goes_on_from_a_checkpoint_of_its_recipe_and_photographs_alone(tmp_path):
    squares.train(squares.base(tmp_path), "--epochs", "1")
    run = squares.train(tmp_path, "--epochs", "2", check=False)
    assert run.returncode == 1 and "another epochs" in run.stderr
    less = ["--cache_megabytes", "0", "--workers", "1", "--false_alarm_rate", "0.1"]
    assert "resumed at epoch 2" in squares.train(tmp_path, "--epochs", "1", *less).stdout
    squares.write(tmp_path / "input/data", {"train": 100, "validation": 43}, seed=1000)
    run = squares.train(tmp_path, "--epochs", "1", check=False)
    assert run.returncode == 1 and "another data set" in run.stderr


def launch(base, **hyperparameters: str) -> subprocess.Popen:
    """The image's entry point under SageMaker's contract, with two training processes."""
    config = base / "input" / "config"
    config.mkdir(parents=True)
    tiny = dict(zip((a.removeprefix("--") for a in squares.TINY[::2]), squares.TINY[1::2], strict=True))
    (config / "hyperparameters.json").write_text(
        json.dumps(
            {
                **tiny,
                **hyperparameters,
                "sagemaker_torch_distributed_enabled": "true",
                "sagemaker_mpi_num_of_processes_per_host": "2",
            }
        )
    )
    (config / "resourceconfig.json").write_text(
        json.dumps(
            {
                "current_host": "localhost",
                "hosts": ["localhost"],
                "current_instance_type": "ml.m5.xlarge",
                "current_group_name": "homogeneousCluster",
                "network_interface_name": "lo",
            }
        )
    )
    (config / "inputdataconfig.json").write_text(
        json.dumps({name: {"TrainingInputMode": "File"} for name in ("train", "validation", "manifest")})
    )
    log = (base / "log").open("wb")
    return subprocess.Popen(
        [squares.TRAIN_PYTHON, "-m", "containers.train.launch"],
        env={**squares.environment(base), "AWS_REGION": "us-east-1"},
        stdout=log,
        stderr=log,
    )


def wait_for(base, text: str, process: subprocess.Popen) -> None:
    while text not in (base / "log").read_text():
        assert process.poll() is None, (base / "log").read_text()
        time.sleep(0.1)


@pytest.mark.parametrize("recipe", [{"epochs": "200"}, {"rendered_epochs": "199", "epochs": "1"}])
def test_sigterm_stops_two_processes_with_a_checkpoint_and_a_reason_then_resumes(recipe, tmp_path):
    process = launch(squares.base(tmp_path, train=400), **recipe)
    wait_for(tmp_path, "epoch=2/200", process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert sum("train.py" in " ".join(p.cmdline()) for p in family) >= 3  # torchrun and two ranks
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    psutil.wait_procs(family, timeout=5)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    reason = (tmp_path / "output" / "failure").read_text()
    assert "OMP_NUM_THREADS" not in (tmp_path / "log").read_text()  # torchrun has nothing to warn of
    assert re.match(r"Stopped: stopped by SIGTERM at epoch \d+ of 200, step \d+ of 20; a checkpoint", reason)
    stopped = int(re.search(r"epoch (\d+)", reason)[1])

    again = subprocess.Popen(
        process.args,
        env={**squares.environment(tmp_path), "AWS_REGION": "us-east-1"},
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    wait_for(tmp_path, f"resumed at epoch {stopped}", again)
    wait_for(tmp_path, f"epoch={stopped}/200", again)
    diagnostics = json.loads((tmp_path / "output/data/diagnostics.json").read_text())
    assert [epoch["number"] for epoch in diagnostics["epochs"]][: stopped - 1] == list(range(1, stopped))
    assert all(len(epoch["rank_seconds"]) == 2 for epoch in diagnostics["epochs"])
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) != 0


class StopAfter:
    """Asked for when it has been looked at so many times: once a step."""

    def __init__(self, steps: float):
        self.left = steps

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_an_epoch_that_was_interrupted_reports_the_loss_of_all_its_steps(tmp_path, monkeypatch):
    hp, alone = hyperparameters.parse([*squares.TINY, "--epochs", "2"]), World(0, 1, torch.device("cpu"))
    losses = []
    for run, stops in (
        ("whole", []),
        ("interrupted", [3, 2]),
    ):  # of five steps; the second at the end
        monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(squares.base(tmp_path / run)))
        for steps in stops:
            with pytest.raises(trainer.Stopped):
                trainer.train(hp, alone, StopAfter(steps))
        trainer.train(hp, alone, StopAfter(float("inf")))
        training = json.loads((tmp_path / run / "model" / cards.TRAINING).read_text())
        losses.append([epoch["train_loss"] for epoch in training["epochs"]])
        assert all(epoch["photographs_per_second"] > 0 for epoch in training["epochs"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_mistake_reaches_the_failure_file_through_the_launcher(tmp_path):
    process = launch(squares.base(tmp_path), epoch="1")
    assert process.wait(60) != 0
    assert (
        (tmp_path / "output" / "failure")
        .read_text()
        .startswith("SettingsError: unknown hyperparameter epoch")
    )


ONE_RUNS_OUT_OF_MEMORY = """
import os, sys
from containers.train import augmentation, train

def augment(*_):
    raise MemoryError("no more")

if os.environ["RANK"] == "1":
    augmentation.augment = augment
sys.exit(train.main())
"""


def test_of_two_processes_the_one_that_failed_gives_the_reason(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(ONE_RUNS_OUT_OF_MEMORY)
    process = launch(squares.base(tmp_path))
    assert process.wait(60) != 0
    log = (tmp_path / "log").read_text()
    assert (
        "Connection closed by peer" in log and 'raise MemoryError("no more")' in log
    )  # of either a traceback
    assert (tmp_path / "output" / "failure").read_text() == f"MemoryError: no more; {LESS}"


def test_a_trainer_that_was_killed_is_explained_by_the_launcher(tmp_path):
    process = launch(squares.base(tmp_path, train=400), epochs="200")
    wait_for(tmp_path, "epoch=1/200", process)
    ranks = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "train.py" in " ".join(child.cmdline()) and "torchrun" not in " ".join(child.cmdline())
    ]
    ranks[0].kill()  # as the kernel does where memory runs out
    assert process.wait(60) != 0
    assert "SIGKILL" in (tmp_path / "log").read_text()
    reason = (tmp_path / "output" / "failure").read_text()
    assert reason.startswith("the training ended without a reason of its own; where its log says SIGKILL")


EVALUATION = """
import json, sys
from safetensors.torch import load_file
from containers.common import paths
from containers.train import data, hyperparameters, network, scoring
from containers.train.distributed import world
hp = hyperparameters.parse(sys.argv[2:])
with world() as peers:
    weights = network.create(hp)
    weights.load_state_dict(load_file(paths.model() / "model.safetensors"))
    photographs = data.Photographs(paths.channel("validation"), hp.input_size, hp.cache_megabytes)
    logits, _ = scoring.predict(weights, photographs, hp, peers)
    scores = scoring.evaluate(weights, photographs, hp, peers)
    if peers.chief:
        open(sys.argv[1], "w").write(json.dumps({"world": peers.size, "logits": logits.tolist(), **scores}))
"""


def test_two_processes_and_one_give_the_same_evaluation_of_the_same_weights(trained, tmp_path):
    base, _ = trained
    script = tmp_path / "evaluation.py"
    script.write_text(EVALUATION)
    results = {}
    for processes in (1, 2):
        subprocess.run(
            [
                squares.TRAIN_PYTHON.with_name("torchrun"),
                "--nproc_per_node",
                str(processes),
                "--master_port",
                "29511",
                script,
                tmp_path / f"{processes}.json",
                *squares.TINY,
                *("--precision", "float32"),
            ],
            env=squares.environment(base),
            check=True,
            capture_output=True,
        )
        results[processes] = json.loads((tmp_path / f"{processes}.json").read_text())
    one, two = results[1], results[2]
    assert (one["world"], two["world"]) == (1, 2) and len(one["logits"]) == len(two["logits"]) == 103
    assert two["accuracy"] == one["accuracy"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    for a, b in zip(one["logits"], two["logits"], strict=True):
        assert b == pytest.approx(a, abs=1e-4)


def test_the_epoch_with_the_lowest_calibrated_loss_is_kept(tmp_path, monkeypatch):
    base = squares.base(tmp_path, train=40, validation=20)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    scores = iter([(0.9, 1.4), (0.1, 1.2), (0.5, 1.3)])  # accuracy, calibrated loss

    def evaluate(*given):
        accuracy, loss = next(scores)
        return scored(*given) | {"accuracy": accuracy, "calibrated_loss": loss}

    scored = scoring.evaluate
    monkeypatch.setattr(scoring, "evaluate", evaluate)
    hp = hyperparameters.parse([*squares.TINY, "--epochs", "3"])
    trainer.train(hp, World(0, 1, torch.device("cpu")), job.Stop())
    assert cards.read(base / "model").metrics["kept_epochs"] == [2]
