"""The trainer's own watch: it measures as the training goes, and speaks when a rule does.

A rule speaks once for each network that is trained, in the log at once and in
``output/data/diagnostics.json``, which holds what it said last, and is written after every epoch and
whenever a rule speaks. What touches all gradients is measured at sampled steps only.
"""

import dataclasses
import json
import math

import torch
from torch import nn

from containers.common import paths
from containers.train import lessons
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters
from containers.train.measurements import (
    Epoch,
    Gradients,
    Measurements,
    Processor,
    Sample,
    Stopwatch,
    gpu_use,
    megabytes,
)
from containers.train.profiling import Profiler
from containers.train.rules import RULES, Rule

FILE = "diagnostics.json"
EVERY, MOST = 50, 200  # steps from one sample to the next; samples in a training, about


class Watch:
    """Every rank has one; rank 0's samples, applies the rules and writes.

    ``steps`` are those of an epoch. ``state`` is what ``state()`` gave to the checkpoint that the training
    resumes from.
    """

    def __init__(
        self, network: nn.Module, hp: Hyperparameters, peers: World, steps: int, state: dict | None = None
    ):
        self._peers, self._steps = peers, steps
        self._every = max(EVERY, lessons.epochs(hp) * steps // MOST)
        self._gradients = Gradients(network)
        self._seen = Measurements()
        self._since = (0, 0)  # epochs and samples of networks before, which no rule looks at
        self._fired: dict[str, dict] = {}
        self._operators: list[dict] = []
        if state:
            self._seen.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
            self._seen.samples = [Sample(**sample) for sample in state["samples"]]
            self._fired, self._operators = state["fired"], state["operators"]
            self._since = state["since"]
        profiled = hp.profile_steps and peers.chief
        self._profiler = Profiler(hp.profile_steps, paths.output() / "data") if profiled else None
        self._processor = Processor()
        self._stopwatch = Stopwatch(peers.device)

    def state(self) -> dict:
        """Plain values for the checkpoint."""
        return {
            "epochs": [dataclasses.asdict(epoch) for epoch in self._seen.epochs],
            "samples": [dataclasses.asdict(sample) for sample in self._seen.samples],
            "since": self._since,
            "fired": self._fired,
            "operators": self._profiled(),
        }

    def restart(self) -> None:
        """The next network starts where the first one did: rules compare nothing with what was before."""
        self._since = (len(self._seen.epochs), len(self._seen.samples))
        self._gradients.forget()

    def lap(self, phase: str) -> None:
        """The time since the last lap went into this phase, one of ``measurements.PHASES``."""
        self._stopwatch.lap(phase)

    def sample(self, epoch: int, step: int, loss: torch.Tensor) -> None:
        """After a backward pass; reads the gradients if this step (of the epoch, from 0) is a sampled one.

        Sampled are the steps 1, 2, 4, 8 … of the whole training, and every so many.
        """
        nth = (epoch - 1) * self._steps + step + 1
        if self._peers.chief and (nth & (nth - 1) == 0 or nth % self._every == 0):
            measured = (loss.item(), *self._gradients.read(), gpu_use(self._peers.device))
            self._seen.samples.append(Sample(epoch, nth, *measured))
            self._apply(epoch, nth)
            self.lap("other")

    def step(self) -> None:
        """A training step has ended."""
        if self._profiler:
            self._profiler.step()
        self.lap("other")

    def epoch(
        self,
        number: int,
        train_loss: float,
        scores: dict,
        learning_rate: float,
        photographs_per_second: float,
    ) -> None:
        """An epoch and its evaluation have ended; every rank calls it, for the ranks tell rank 0 their times.

        scores: as ``scoring.evaluate`` gives them.
        """
        self.lap("evaluation")
        seconds = self._stopwatch.take()
        gpu = torch.cuda.memory_allocated(self._peers.device) / 2**20 if self._on_gpu else None
        own = seconds["data"] + seconds["forward"]
        ranks = self._peers.gather({"own": own, "megabytes": megabytes(), "gpu": gpu})
        if not self._peers.chief:
            return
        uses = [s.gpu_use for s in self._seen.samples if s.epoch == number and s.gpu_use is not None]
        self._seen.epochs.append(
            Epoch(
                number=number,
                train_loss=train_loss,
                validation_loss=scores["loss"],
                validation_accuracy=scores["accuracy"],
                learning_rate=learning_rate,
                photographs_per_second=photographs_per_second,
                counted=scores["counted"],
                seconds=seconds,
                rank_seconds=[rank["own"] for rank in ranks],
                processor_use=self._processor.take(),
                gpu_use=sum(uses) / len(uses) if uses else None,
                megabytes=max(rank["megabytes"] for rank in ranks),
                gpu_megabytes=max(rank["gpu"] for rank in ranks) if self._on_gpu else None,
            )
        )
        self._apply(number, number * self._steps)
        self._write()

    def diverged(self, epoch: int, step: int) -> None:
        """The loss is not finite: the rule says so before the training ends with an error."""
        if self._peers.chief:
            self._seen.not_finite = (epoch, step)
            self._apply(epoch, (epoch - 1) * self._steps + step)

    def close(self) -> dict:
        """The training has ended; returns what ``diagnostics.json`` holds."""
        if self._profiler:
            self._profiler.close()
        if self._peers.chief:
            self._write()
        return self.document()

    def document(self) -> dict:
        """Rules and what they saw, seconds by phase, epochs, samples, and the profiled operators."""
        seconds = [epoch.seconds for epoch in self._seen.epochs]
        device, processes = self._trained_on
        return _plain(
            {
                "rules": [
                    {"name": rule.name, "watches": rule.watches, "fired": self._fired.get(rule.name)}
                    for rule in RULES
                ],
                "device": device,
                "processes": processes,
                "steps": self._steps,
                "seconds": {phase: sum(s[phase] for s in seconds) for phase in (seconds or [{}])[0]},
                "epochs": [dataclasses.asdict(epoch) for epoch in self._seen.epochs],
                "samples": [dataclasses.asdict(sample) for sample in self._seen.samples],
                "operators": self._profiled(),
            }
        )

    def _profiled(self) -> list[dict]:
        """This job's operators, or those of the job that it resumes."""
        return (self._profiler and self._profiler.operators) or self._operators

    @property
    def _trained_on(self) -> tuple[str, int]:
        """Kind of device, and processes, of the last epoch; this job's may only export what was trained."""
        if not self._seen.epochs:
            return self._peers.device.type, self._peers.size
        last = self._seen.epochs[-1]
        return "cpu" if last.gpu_megabytes is None else "cuda", len(last.rank_seconds)

    @property
    def _on_gpu(self) -> bool:
        return self._peers.device.type == "cuda"

    def _apply(self, epoch: int, step: int) -> None:
        """Let every rule that has not spoken of this network yet see what was measured of it."""
        epochs, samples = self._since
        current = Measurements(
            self._seen.epochs[epochs:], self._seen.samples[samples:], self._seen.not_finite
        )
        for rule in RULES:
            spoken = rule.name in self._fired and self._fired[rule.name]["epoch"] > epochs
            if not spoken and (saw := rule.check(current)):
                self._fire(rule, saw, epoch, step)

    def _fire(self, rule: Rule, saw: str, epoch: int, step: int) -> None:
        self._fired[rule.name] = {"epoch": epoch, "step": step, "saw": saw, "try": rule.advice}
        print(f"diagnostics: {rule.name} at epoch {epoch}: {saw}; try {rule.advice}", flush=True)
        self._write()

    def _write(self) -> None:
        folder = paths.output() / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(self.document(), indent=1) + "\n")


def _plain(value):
    """Numbers to five digits; what is not finite becomes null, which JSON has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
