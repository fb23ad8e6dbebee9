"""Which network learns when, in a training whose last network learns from others, and what labels say."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional

from containers.train.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Course:
    """What one network learns: ``first`` is the epoch of the whole training that it begins with, and it has
    ``epochs`` of them; ``rendered``: from bins that are drawn, before any other network; ``prepared``: from
    photographs, beginning with what those bins have taught; ``teachers``: which of the networks that learnt
    from photographs before it are asked, in their order, from 0; none: it learns from labels alone."""

    first: int
    epochs: int
    rendered: bool
    prepared: bool
    teachers: tuple[int, ...]

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
    """Networks that began differently err differently, and their mean errs less. So those of a generation
    begin in turn with what rendered bins have taught and without it, and a teacher asks only those of the
    generation before that began as it did: whoever asks both becomes like both. The last network does."""
    courses = [Course(0, hp.rendered_epochs, rendered=True, prepared=False, teachers=())]

    def learn(epochs: int, prepared: bool, teachers: Iterable[int]) -> None:
        courses.append(Course(courses[-1].end, epochs, False, prepared, tuple(teachers)))

    asked = range(0)
    for generation in range(hp.generations):
        size = min(hp.teachers, 2) if generation else hp.teachers
        epochs = hp.epochs if generation else hp.teacher_epochs or hp.epochs
        for number in range(size):
            learn(epochs, number % 2 == 0, asked[number % 2 :: 2])
        asked = range(asked.stop, asked.stop + size)
    learn(hp.epochs, True, asked)
    return courses


def labelled(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """int64 ``[n]`` -> float ``[n, classes]``: the label, less ``smoothing``, which all classes share
    (Szegedy et al. 2016, "Rethinking the Inception Architecture")."""
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
