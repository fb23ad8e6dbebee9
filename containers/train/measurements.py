"""What a training is watched by: the time of its phases, its gradients, its processor and memory."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
import torch
from torch import nn

PHASES = ("data", "forward", "backward", "update", "evaluation", "other")
IN_TRAINING = ("data", "forward", "backward", "update")
DEPTH = 4  # the first and the last quarter of the layers are compared


@dataclass(frozen=True)
class Epoch:
    """Measured once an epoch, by rank 0 unless said otherwise."""

    number: int  # from 1
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # after its last step
    photographs_per_second: float  # in training, all ranks together
    counted: list[int]  # validation photographs by the count that was given
    seconds: dict[str, float]  # by phase
    rank_seconds: list[float]  # data and forward of every rank: what it does before it waits for others
    processor_use: float  # of the threads that it may use; 0..1
    gpu_use: float | None  # 0..1, mean over the sampled steps
    megabytes: float  # resident memory, the largest of all ranks
    gpu_megabytes: float | None  # allocated, the largest of all ranks

    @property
    def training_seconds(self) -> float:
        return sum(self.seconds.get(phase, 0.0) for phase in IN_TRAINING)


@dataclass(frozen=True)
class Sample:
    """Measured at a sampled step, after the backward pass."""

    epoch: int  # from 1
    step: int  # of the whole training, from 1
    loss: float
    gradient: float  # norm over all layers
    depth_ratio: float  # gradient of the first quarter of the layers over that of the last quarter
    silent: float  # share of units without any gradient in each of the last samples; see Gradients
    gpu_use: float | None = None


@dataclass
class Measurements:
    """All of a training so far; the rules read it."""

    epochs: list[Epoch] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    not_finite: tuple[int, int] | None = None  # epoch and step of the loss that is not a number


class Stopwatch:
    """Seconds by phase: ``lap("forward")`` says that the time since the last lap went into the forward pass.

    On a GPU a lap is an event in its stream, read when it has passed, so that nothing waits for it.
    """

    def __init__(self, device: torch.device):
        self._cuda = device.type == "cuda"
        self._open: deque = deque()
        self._last = self._now()
        self._seconds = dict.fromkeys(PHASES, 0.0)

    def lap(self, phase: str) -> None:
        now = self._now()
        self._open.append((phase, self._last, now))
        self._last = now
        while self._open and self._passed(self._open[0][2]):
            self._close()

    def take(self) -> dict[str, float]:
        """The seconds of each phase since the last call."""
        if self._cuda:
            self._last.synchronize()
        while self._open:
            self._close()
        seconds, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)
        return seconds

    def _close(self) -> None:
        phase, began, ended = self._open.popleft()
        self._seconds[phase] += began.elapsed_time(ended) / 1000 if self._cuda else ended - began

    def _now(self):
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _passed(self, moment) -> bool:
        return not self._cuda or moment.query()


class Gradients:
    """Reads the gradients of every convolution and linear layer; a unit is one of its outputs.

    A unit whose weights had a gradient of exactly zero at each of the last ``memory`` readings takes
    no part in learning: behind a ReLU it is one that never activates. One reading would not tell:
    residual branches that begin at zero have none at the first step.
    """

    def __init__(self, network: nn.Module, memory: int = 5):
        kinds = (nn.Linear, nn.modules.conv._ConvNd)
        self._weights = [module.weight for module in network.modules() if isinstance(module, kinds)]
        self._silent: deque[torch.Tensor] = deque(maxlen=memory)

    @torch.no_grad()
    def read(self) -> tuple[float, float, float]:
        """(norm, depth ratio, share of silent units); the share is 0 until there are enough readings."""
        gradients = [weight.grad.float() for weight in self._weights if weight.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        sizes = torch.tensor([g.numel() for g in gradients], device=norms.device)
        size_free = norms / sizes.sqrt()  # root mean square
        quarter = max(1, len(gradients) // DEPTH)
        first, last = size_free[:quarter].mean(), size_free[-quarter:].mean()
        self._silent.append(torch.cat([(g.flatten(1).abs().amax(1) == 0) for g in gradients]))
        full = len(self._silent) == self._silent.maxlen
        silent = torch.stack(list(self._silent)).all(0).float().mean() if full else torch.zeros(())
        return norms.norm().item(), (first / last).item(), silent.item()

    def forget(self) -> None:
        """Another network's gradients follow."""
        self._silent.clear()


class Processor:
    """Processor time of this process and of the loader's workers, against the threads it may use."""

    def __init__(self):
        self._last = self._now()

    def take(self) -> float:
        """The share used since the last call: 0..1, and above where workers have cores of their own."""
        (used, wall), self._last = self._last, self._now()
        return (self._last[0] - used) / (self._last[1] - wall) / torch.get_num_threads()

    def _now(self) -> tuple[float, float]:
        # An earlier loader's workers have ended; what they used is with this process's third and fourth.
        ended = sum(psutil.Process().cpu_times()[2:4])
        return ended + _total(lambda process: sum(process.cpu_times()[:2])), time.perf_counter()


def megabytes() -> float:
    """Resident memory of this process and of the loader's workers."""
    return _total(lambda process: process.memory_info().rss) / 2**20


def _total(measure: Callable[[psutil.Process], float]) -> float:
    """Summed over this process and the loader's workers below it."""
    own, total = psutil.Process(), 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            total += measure(process)
    return total


def gpu_use(device: torch.device) -> float | None:
    """The share of the last moment in which the GPU computed, or None where nobody can say."""
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.utilization(device) / 100
    except Exception:  # no NVML, or one that refuses: its client raises many types
        return None
