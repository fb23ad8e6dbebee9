"""What each photograph's count is said to be in training: its label, softened, and what teachers make of it.

A recorded count may be wrong, or an item hidden. Networks that were trained before (``teachers``) have seen
all the other photographs, and their probabilities say how likely each count is; a network that learns from
those beside the labels overfits later and counts better (Furlanello et al. 2018, "Born-Again Neural
Networks"). Teachers are taken as they are after their last epoch, not as they were when they were best
on validation: what they say of training photographs is asked for. What distillation is worth on real bins
is in ``bench/recipes.csv``.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from containers.train import data, scoring
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Course:
    """What one network learns: ``first`` is the epoch of the whole training that it begins with, and it has
    ``epochs`` of them."""

    first: int
    epochs: int
    student: bool

    @property
    def end(self) -> int:
        return self.first + self.epochs


def course(hp: Hyperparameters, epoch: int) -> Course:
    """Whose turn it is in that epoch, from 0, of the whole training: the teachers', then the one's kept."""
    each = _of_a_teacher(hp)
    number = min(epoch // each, hp.teachers)
    last = number == hp.teachers
    return Course(number * each, hp.epochs if last else each, last and hp.teachers > 0)


def epochs(hp: Hyperparameters) -> int:
    """Of the whole training."""
    return hp.teachers * _of_a_teacher(hp) + hp.epochs


def _of_a_teacher(hp: Hyperparameters) -> int:
    return hp.teacher_epochs or hp.epochs


def labelled(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """int64 ``[n]`` -> float ``[n, classes]``: the label, less ``smoothing``, which all classes share
    (Szegedy et al. 2016, "Rethinking the Inception Architecture")."""
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def opinions(
    teacher: nn.Module,
    photographs: data.Photographs,
    shift: torch.Tensor,
    hp: Hyperparameters,
    peers: World,
) -> torch.Tensor:
    """A teacher's probabilities: float ``[n, classes]`` on the device of ``shift``, alike on every rank.

    Where training mirrors photographs (``hp.flip``), each is shown with its mirror image. shift: the log
    prior of each photograph's source, as in the loss. Computed in ``hp.precision``, as what learns from them.
    """
    with scoring.autocast(hp, peers):
        logits, _ = scoring.predict(teacher, photographs, replace(hp, mirror=hp.flip), peers)
    return (logits.to(shift.device) + shift).softmax(1)


def taught(targets: torch.Tensor, total: torch.Tensor, teachers: int, share: float) -> torch.Tensor:
    """``targets`` with a ``share`` of them replaced by the mean of so many teachers' opinions."""
    return (1 - share) * targets + share * total / teachers
