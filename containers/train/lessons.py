"""What each photograph's count is said to be in training: its label, softened, and what others made of it."""

import copy

import torch
from torch import nn
from torch.nn import functional

from containers.train import data, scoring
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters


def labelled(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """int64 ``[n]`` -> float ``[n, classes]``: the label, less ``smoothing``, which all classes share
    (Szegedy et al. 2016, "Rethinking the Inception Architecture")."""
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def distilled(
    targets: torch.Tensor,
    network: nn.Module,
    teacher: dict[str, torch.Tensor],
    photographs: data.Photographs,
    shift: torch.Tensor,
    hp: Hyperparameters,
    peers: World,
) -> torch.Tensor:
    """``targets`` with a share of ``hp.distillation`` replaced by a teacher's probabilities.

    A recorded count may be wrong, or an item hidden; a teacher that has seen all the others says how likely
    each count is, and a network that learns from that overfits later (Furlanello et al. 2018, "Born-Again
    Neural Networks"). network: of the teacher's shape, left as it is; teacher: its weights; shift: the log
    prior of each photograph's source, as in the loss. Returns: float ``[n, classes]``, alike on every rank.
    """
    taught = copy.deepcopy(network)
    taught.load_state_dict(teacher)
    logits, _ = scoring.predict(taught, photographs, hp, peers)
    opinions = (logits.to(shift.device) + shift).softmax(1)
    return (1 - hp.distillation) * targets + hp.distillation * opinions
