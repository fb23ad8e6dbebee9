"""Every rule, provoked by measurements that show what it is for, and silent at what is healthy."""

import math
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from containers.train.diagnostics import Watch
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters
from containers.train.measurements import Epoch, Gradients, Measurements, Processor, Sample, Stopwatch
from containers.train.rules import RULES

HEALTHY = Epoch(
    number=1,
    train_loss=1.0,
    validation_loss=1.2,
    validation_accuracy=0.5,
    learning_rate=1e-3,
    photographs_per_second=40.0,
    counted=[20, 20, 20, 20, 20],
    seconds={
        "data": 2.0, "forward": 30.0, "backward": 60.0, "update": 5.0, "evaluation": 9.0, "other": 1.0
    },
    rank_seconds=[32.0, 31.0],
    processor_use=0.95,
    gpu_use=None,
    megabytes=900.0,
    gpu_megabytes=None,
)  # fmt: skip
CHECKS = {rule.name: rule.check for rule in RULES}


def epochs(length: int, **series) -> Measurements:
    """Healthy epochs, the training loss falling, with a list of values or one value for some fields."""
    series = {"train_loss": [1.5 * 0.9**i for i in range(length)], **series}
    return Measurements(
        epochs=[
            replace(
                HEALTHY,
                number=i + 1,
                **{
                    name: values[i] if len(values) == length else values[0] for name, values in series.items()
                },
            )
            for i in range(length)
        ]
    )


def samples(gradient: list[float], depth_ratio: float = 0.5, silent: float = 0.0) -> Measurements:
    return Measurements(
        samples=[Sample(1, 50 * i, 1.0, g, depth_ratio, silent) for i, g in enumerate(gradient)]
    )


def seconds(**phases: float) -> list[dict]:
    return [HEALTHY.seconds | phases]


COLLAPSED, UNDECIDED = [0, 0, 100, 0, 0], [1, 1, 90, 5, 3]
SEEN = [
    ("not_a_number", Measurements(not_finite=(2, 7)), "epoch 2, step 7"),
    ("not_a_number", samples([1.0, math.inf]), "step 50"),
    ("loss_not_decreasing", epochs(4, train_loss=[1.6, 1.61, 1.599, 1.6]), "from 1.6000 to 1.5990"),
    ("loss_not_decreasing", epochs(6, train_loss=[1.6, 1.2, 1.0, 1.4, 1.4, 1.5]), "was 1.0000 at epoch 3"),
    ("overfitting", epochs(6, validation_loss=[1.4, 1.2, 1.1, 1.2, 1.3, 1.4]), "from 1.1000 to 1.4000"),
    ("exploding_gradients", samples([1.0, 2.0, 1.5, 2.0, 900.0]), "900"),
    ("vanishing_gradients", samples([1.0, 1.0, 1.0], depth_ratio=1e-6), "1.0e-06"),
    ("dead_units", samples([1.0], silent=0.45), "45 %"),
    ("class_collapse", epochs(3, counted=[COLLAPSED]), "at least 100 %"),
    ("slow_input", epochs(1, seconds=seconds(data=80.0)), "46 %"),
    ("idle_processor", epochs(2, processor_use=[0.2]), "the processor's threads computed in 20 %"),
    ("idle_processor", epochs(2, gpu_use=[0.3], gpu_megabytes=[500.0]), "the GPU computed in 30 %"),
    (
        "memory_growth",
        epochs(6, megabytes=[900.0 + 60 * i for i in range(6)]),
        "900 MB in memory became 1200",
    ),
    ("memory_growth", epochs(6, gpu_megabytes=[500.0 + 60 * i for i in range(6)]), "on the GPU"),
    ("uneven_ranks", epochs(1, rank_seconds=[[30.0, 31.0, 55.0, 30.0]]), "rank 2 took 55.0 s"),
]
HEALTHY_SEEN = [
    ("not_a_number", samples([1.0, 2.0])),
    ("loss_not_decreasing", epochs(3, train_loss=[1.6])),  # too early to say
    ("loss_not_decreasing", epochs(8, train_loss=[1.6, 1.2, 1.0, 0.9, 0.8, 0.8, 0.8, 0.8])),
    ("overfitting", epochs(6, validation_loss=[1.4, 1.2, 1.1, 1.2, 1.09, 1.2])),
    ("overfitting", epochs(6, train_loss=[1.0], validation_loss=[1.4, 1.2, 1.1, 1.2, 1.3, 1.4])),
    ("exploding_gradients", samples([1.0, 2.0, 1.5, 2.0, 60.0])),
    ("exploding_gradients", samples([1e-3, 1e-3, 1e-3, 1e-3, 0.5])),  # the loss is next to nothing
    ("vanishing_gradients", samples([1.0, 1.0], depth_ratio=1e-6)),
    ("dead_units", samples([1.0], silent=0.1)),
    ("class_collapse", epochs(3, counted=[COLLAPSED, COLLAPSED, UNDECIDED])),
    ("slow_input", epochs(1, seconds=seconds(data=0.4, forward=0.1, backward=0.2, update=0.1))),  # too short
    ("idle_processor", epochs(2, processor_use=[0.2, 0.9])),
    ("idle_processor", epochs(2, processor_use=[0.2], gpu_megabytes=[500.0])),  # a GPU that is not asked
    ("memory_growth", epochs(6, megabytes=[900.0, 1200.0, 1190.0, 1200.0, 1210.0, 1220.0])),
    ("uneven_ranks", epochs(1)),
    ("uneven_ranks", epochs(1, rank_seconds=[[30.0]])),
]


@pytest.mark.parametrize(
    ("name", "seen", "said"), SEEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_rule_says_what_it_saw(name, seen, said):
    assert said in CHECKS[name](seen)


@pytest.mark.parametrize(("name", "seen"), HEALTHY_SEEN)
def test_a_rule_is_silent_at_what_is_healthy(name, seen):
    assert CHECKS[name](seen) is None


def test_every_rule_is_provoked_and_silent_before_anything_is_measured():
    assert {name for name, *_ in SEEN} == {name for name, _ in HEALTHY_SEEN} == set(CHECKS)
    assert not any(check(Measurements()) for check in CHECKS.values())


def readings(network: nn.Module, count: int = 5) -> Measurements:
    """``count`` sampled backward passes of a network that takes 16 numbers."""
    gradients, seen = Gradients(network), Measurements()
    for step in range(count):
        network.zero_grad()
        loss = network(torch.randn(32, 16)).square().mean()
        loss.backward()
        seen.samples.append(Sample(1, step, loss.item(), *gradients.read()))
    return seen


def deep(activation: nn.Module, normalised: bool) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        layer
        for _ in range(20)
        for layer in (nn.Linear(16, 16), nn.BatchNorm1d(16) if normalised else nn.Identity(), activation)
    ]
    return nn.Sequential(*layers, nn.Linear(16, 5))


def test_gradients_vanish_in_a_deep_network_of_sigmoids():
    assert CHECKS["vanishing_gradients"](readings(deep(nn.Sigmoid(), normalised=False)))
    assert CHECKS["vanishing_gradients"](readings(deep(nn.ReLU(), normalised=True))) is None


def test_units_that_never_activate_are_dead():
    network = nn.Sequential(nn.Linear(16, 30), nn.ReLU(), nn.Linear(30, 10))
    nn.init.constant_(network[0].bias[:20], -100.0)
    seen = readings(network, count=4)
    assert CHECKS["dead_units"](seen) is None  # four readings do not prove it
    seen = readings(network)
    assert seen.samples[-1].silent == pytest.approx(20 / 40)
    assert CHECKS["dead_units"](seen)


def test_units_are_not_dead_by_what_another_network_had():
    network = nn.Sequential(nn.Linear(16, 30), nn.ReLU(), nn.Linear(30, 10))
    nn.init.constant_(network[0].bias[:20], -100.0)
    gradients, silent = Gradients(network), []
    for step in range(12):
        if step == 6:
            gradients.forget()
        network.zero_grad()
        network(torch.randn(32, 16)).square().mean().backward()
        silent.append(gradients.read()[2])
    assert [share > 0 for share in silent] == [step % 6 >= 4 for step in range(12)]


def test_a_loss_is_placed_in_the_epochs_of_the_whole_training():
    second = epochs(9, train_loss=[1.6, 1.2, 1.0, 1.6, 1.2, 1.0, 1.4, 1.4, 1.5]).epochs[3:]
    assert "was 1.0000 at epoch 6" in CHECKS["loss_not_decreasing"](Measurements(second))


def test_gradients_explode_where_weights_do():
    network = deep(nn.ReLU(), normalised=False)
    gradients, seen = Gradients(network), Measurements()
    for step in range(5):
        if step == 4:
            with torch.no_grad():
                network[-1].weight *= 1e4
        network.zero_grad()
        network(torch.randn(32, 16)).square().mean().backward()
        seen.samples.append(Sample(1, step, 1.0, *gradients.read()))
    assert CHECKS["exploding_gradients"](seen)


def test_layers_without_a_gradient_are_left_out():
    network = nn.Sequential(nn.Linear(16, 8).requires_grad_(False), nn.Linear(8, 5))
    network(torch.randn(4, 16)).sum().backward()
    norm, ratio, _ = Gradients(network).read()
    assert norm > 0 and ratio == pytest.approx(1)


def test_a_stopwatch_gives_each_lap_to_its_phase():
    watch = Stopwatch(torch.device("cpu"))
    for phase in ("data", "forward", "data"):
        watch.lap(phase)
    first = watch.take()
    assert first["data"] > 0 and first["forward"] > 0 and first["update"] == 0
    assert sum(watch.take().values()) == 0


def test_processor_use_is_a_share_of_the_threads():
    processor, began = Processor(), time.process_time()
    while time.process_time() < began + 0.1:
        pass
    assert 0 < processor.take() <= 1


def test_what_a_loaders_workers_did_is_still_counted_when_they_have_ended():
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    processor = Processor()
    with subprocess.Popen([sys.executable, "-c", busy], stdin=-1, stdout=-1) as worker:
        worker.stdout.readline()
        assert processor.take() > 0
        worker.communicate(b"\n")
    assert processor.take() >= 0


def test_a_training_is_reported_from_where_it_ran_and_not_from_where_it_was_exported():
    trained = {"epochs": [asdict(replace(HEALTHY, gpu_megabytes=180.0))], "samples": [], "since": (0, 0)}
    state = trained | {"fired": {}, "operators": []}
    here = World(0, 1, torch.device("cpu"))
    document = Watch(nn.Linear(2, 2), Hyperparameters(), here, 10, state).document()
    assert (document["device"], document["processes"]) == ("cuda", 2)
