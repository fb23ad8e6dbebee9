"""Networks that were trained before, and say of each photograph what they make of it.

A recorded count may be wrong, or an item hidden. Teachers have seen all the other photographs, and their
probabilities say how likely each count is; a network that learns from those overfits later and counts better
(Furlanello et al. 2018, "Born-Again Neural Networks"), the more so where they are asked about the very
pixels that it sees, changed at random as they are, and not once about each photograph (Beyer et al. 2022,
"Knowledge distillation: A good teacher is patient and consistent"). Teachers are taken as they are after
their last epoch, not as they were when they were best on validation: what they say of training photographs
is asked for. Those who were taught can teach the next generation (``lessons.py`` says who asks whom). What
this is worth on real bins is in ``bench/recipes.csv``.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from containers.train import folding, network
from containers.train.hyperparameters import Hyperparameters


class Teachers:
    """Whatever they began with, their frozen stages are those of ``student``: what these make of a batch is
    computed once, in the student's forward pass, and the teachers go on from there."""

    def __init__(self, student: nn.Module, hp: Hyperparameters):
        self._student = student
        shared = hp.teachers and hp.frozen_stages and _can_be_divided(student, hp)
        self._stages = hp.frozen_stages if shared else 0
        self._networks: list[nn.Module] = []
        self._folded: dict[int, folding.Replacements] = {}
        self._reached = None

    def add(self, taught: nn.Module) -> None:
        """A copy of it becomes the next teacher."""
        self._networks.append(rest(taught, self._stages).eval().requires_grad_(False))

    @contextmanager
    def attending(self) -> Iterator[None]:
        """While the student counts a batch, so that they can be asked for their ``opinion`` of it."""
        with _watched(self._student, self._stages, self._attend):
            yield

    def _attend(self, reached: torch.Tensor) -> None:
        self._reached = reached.detach()

    @torch.no_grad()
    def opinion(self, asked: Iterable[int]) -> torch.Tensor:
        """Mean probabilities for that batch, float ``[n, classes]``, of those teachers by the order in which
        they were added, from 0."""
        return torch.stack([self._ask(teacher).float().softmax(1) for teacher in asked]).mean(0)

    def _ask(self, teacher: int) -> torch.Tensor:
        asked = self._networks[teacher]
        if teacher not in self._folded:
            self._folded[teacher] = folding.replacements(asked, asked.modules(), self._reached[:2].float())
        with folding.replaced(self._folded[teacher]):
            return asked(self._reached)

    def state_dict(self) -> list[dict]:
        return [teacher.state_dict() for teacher in self._networks]

    def load_state_dict(self, states: list[dict]) -> None:
        self._networks, self._folded = [], {}
        for state in states:
            self.add(self._student)
            self._networks[-1].load_state_dict(state)


def rest(whole: nn.Module, stages: int) -> nn.Module:
    """A copy that begins after the first stages, with what they make of a batch."""
    shortened, skipped = copy.deepcopy(whole), []
    passed = dict(network.first_stages(whole, stages)) if stages else {}
    for name, module in passed.items():
        inner = [f"{name}.{below}" for below, _ in module.named_modules() if below]
        if name and passed.keys() >= set(inner) and not name.startswith(tuple(f"{s}." for s in skipped)):
            shortened.set_submodule(name, nn.Identity())
            skipped.append(name)
    return shortened


@contextmanager
def _watched(whole: nn.Module, stages: int, attend) -> Iterator[None]:
    """``attend`` gets what the first stages make of each batch meanwhile; with none, the batch itself."""
    if stages:
        last = whole.get_submodule(network.last_of(whole, stages))
        handle = last.register_forward_hook(lambda module, inputs, output: attend(output))
    else:
        handle = whole.register_forward_pre_hook(lambda module, inputs: attend(inputs[0]))
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def _can_be_divided(whole: nn.Module, hp: Hyperparameters) -> bool:
    """Whether ``rest`` goes on from the frozen stages to the same logits: some networks do more between
    their modules than to pass on what the one before has made."""
    whole, reached = copy.deepcopy(whole).eval(), []
    pixels = torch.randn(2, 3, *hp.input_size, device=next(whole.parameters()).device)
    try:
        with _watched(whole, hp.frozen_stages, reached.append):
            logits = whole(pixels)
        return torch.allclose(rest(whole, hp.frozen_stages)(reached[-1]), logits, atol=1e-4, rtol=1e-3)
    except (RuntimeError, TypeError):  # of a shape that is not expected there, or more than one tensor
        return False
