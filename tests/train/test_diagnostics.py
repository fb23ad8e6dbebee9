"""The trainer's watch over several networks, one after the other, without training any."""

import copy
import json
import re

import pytest
import torch
from torch import nn

from containers.train.diagnostics import FILE, Watch
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters

STEPS = 10
FITS, OVERFITS = [1.2, 1.1, 1.0, 0.9, 0.8, 0.7], [1.2, 1.0, 1.1, 1.2, 1.3, 1.4]  # validation losses


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path


def watching(network: nn.Module, state: dict | None = None) -> Watch:
    return Watch(network, Hyperparameters(), World(0, 1, torch.device("cpu")), STEPS, state)


def pass_epochs(watch: Watch, first: int, validation_losses: list[float]) -> None:
    """Epochs from that number on; the training loss falls."""
    for number, loss in enumerate(validation_losses, first):
        scores = {"loss": loss, "accuracy": 0.5, "counted": [20] * 5}
        watch.epoch(number, 1.5 * 0.9**number, scores, 1e-3, 40.0)


def overfitted(base) -> dict | None:
    document = json.loads((base / "output" / "data" / FILE).read_text())
    return {rule["name"]: rule["fired"] for rule in document["rules"]}["overfitting"]


def spoken(log: str) -> list[int]:
    """Epochs at which that rule spoke."""
    return [
        int(epoch) for epoch in re.findall(r"^diagnostics: overfitting at epoch (\d+)", log, re.MULTILINE)
    ]


def test_a_rule_speaks_once_for_each_network_and_the_last_time_is_kept(base, capsys):
    watch = watching(nn.Linear(2, 2))
    pass_epochs(watch, 1, OVERFITS)
    assert overfitted(base)["epoch"] == 5
    watch.restart()
    pass_epochs(watch, 7, FITS)
    assert overfitted(base)["epoch"] == 5
    watch.restart()
    pass_epochs(watch, 13, OVERFITS)
    assert spoken(capsys.readouterr().out) == [5, 17]
    last = overfitted(base)
    assert (last["epoch"], last["step"]) == (17, 17 * STEPS) and "since epoch 14" in last["saw"]
    assert set(last) == {"epoch", "step", "saw", "try"}


@pytest.mark.parametrize("interrupted", range(1, 12))
def test_a_training_that_goes_on_repeats_no_rule_and_leaves_out_none(base, capsys, interrupted):
    """At any epoch of two networks that both overfit, also just between them."""
    watch = watching(nn.Linear(2, 2))
    for number, loss in enumerate([*OVERFITS, *OVERFITS], 1):
        pass_epochs(watch, number, [loss])
        if number == 6:
            watch.restart()
        if number == interrupted:
            watch = watching(nn.Linear(2, 2), copy.deepcopy(watch.state()))
    assert spoken(capsys.readouterr().out) == [5, 11]


def test_units_are_not_dead_by_what_the_network_before_did(base, capsys):
    network = nn.Linear(2, 2)
    network.weight.grad = torch.zeros(2, 2)
    watch = watching(network)
    for step in (0, 1, 3, 7):  # those of the first ten that are sampled: one too few to prove it
        watch.sample(1, step, torch.ones(()))
    watch.restart()
    watch.sample(2, 5, torch.ones(()))
    assert [sample["step"] for sample in watch.state()["samples"]] == [1, 2, 4, 8, 16]
    assert "dead_units" not in capsys.readouterr().out
