"""Which network learns when, in a training whose last network learns from others, and what labels say."""

from dataclasses import dataclass

import torch
from torch.nn import functional

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
