"""Which network learns when, in a training whose last network learns from others, and what labels say."""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch.nn import functional

from containers.train.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Course:
    """What one network learns: ``first`` is the epoch of the whole training that it begins with, and it has
    ``epochs`` of them; ``rendered``: from bins that are drawn, before any other network; ``prepared``: from
    photographs, beginning with what those bins have taught; ``taught``: by the networks of the generation
    before, not by labels alone."""

    first: int
    epochs: int
    rendered: bool
    prepared: bool
    taught: bool

    @property
    def end(self) -> int:
        return self.first + self.epochs


def course(hp: Hyperparameters, epoch: int) -> Course:
    """Whose turn it is in that epoch, from 0, of the whole training: the one's that learns from rendered
    bins, the teachers', generation after generation, then the one's that is kept."""
    courses = _courses(hp)
    return next((course for course in courses if epoch < course.end), courses[-1])


def epochs(hp: Hyperparameters) -> int:
    """Of the whole training."""
    return _courses(hp)[-1].end


def _courses(hp: Hyperparameters) -> list[Course]:
    from_labels = [hp.teacher_epochs or hp.epochs] * hp.teachers
    lengths = [hp.rendered_epochs, *from_labels] + [hp.epochs] * (hp.teachers * (hp.generations - 1) + 1)
    ends, last = list(accumulate(lengths)), len(lengths) - 1
    return [
        Course(
            end - length,
            length,
            rendered=number == 0,
            # Every other teacher: those that began differently err differently, and their mean errs less.
            prepared=number % 2 == 1 or number == last,
            taught=0 < hp.teachers < number,
        )
        for number, (length, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def labelled(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """int64 ``[n]`` -> float ``[n, classes]``: the label, less ``smoothing``, which all classes share
    (Szegedy et al. 2016, "Rethinking the Inception Architecture")."""
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
