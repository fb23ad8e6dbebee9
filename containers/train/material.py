"""What a network learns from and is validated on: real photographs, or bins that are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from containers.common import manifest
from containers.train import data, lessons, network
from containers.train.data import Photographs, TrainingBatches
from containers.train.distributed import World, cores
from containers.train.hyperparameters import Hyperparameters
from containers.train.rendered import RenderedBins

RENDERED_VALIDATION = 200  # bins at most: enough to see that counting was learnt
# Series of bins, by what is added to a training's seed: none that is rendered as a data set is learnt from,
# and none that is learnt from is counted to see what was learnt.
LEARNT, UNSEEN = 1_000_003, 2_000_003


@dataclass(frozen=True)
class Material:
    batches: TrainingBatches
    loader: DataLoader  # of this rank's photographs and their indices, batch by batch
    labelled: torch.Tensor  # what the label of each says: float [n, classes]
    shift: torch.Tensor  # of its logits, in training: float [n, classes]
    validation: Photographs


def of(
    course: lessons.Course,
    photographs: Mapping[str, Photographs],
    records: Sequence[manifest.Row],
    hp: Hyperparameters,
    peers: World,
) -> Material:
    """photographs: of the channels ``train`` and ``validation``; records: of the manifest."""
    if course.rendered:
        return _rendered(photographs, hp, peers)
    return _real(photographs, records, hp, peers)


def _real(
    photographs: Mapping[str, Photographs],
    records: Sequence[manifest.Row],
    hp: Hyperparameters,
    peers: World,
) -> Material:
    train = photographs["train"]
    batches = TrainingBatches(len(train), hp.batch_size, peers.rank, peers.size, hp.seed)
    shift = data.prior_shift(train, records)
    return _material(train, batches, hp.workers, shift, photographs["validation"], hp, peers)


def _rendered(photographs: Mapping[str, Photographs], hp: Hyperparameters, peers: World) -> Material:
    """As many bins in each epoch as there are photographs, drawn by all cores of the machine."""
    number = len(photographs["train"])
    train = RenderedBins(number * hp.rendered_epochs, hp.seed + LEARNT, hp.input_size)
    batches = TrainingBatches(number, hp.batch_size, peers.rank, peers.size, hp.seed, fresh=True)
    shift = torch.zeros(len(train), len(network.CLASSES))
    unseen = min(RENDERED_VALIDATION, len(photographs["validation"]))
    validation = RenderedBins(unseen, hp.seed + UNSEEN, hp.input_size)
    return _material(train, batches, cores(), shift, validation, hp, peers)


def _material(train, batches, workers, shift, validation, hp, peers) -> Material:
    labelled = lessons.labelled(train.labels, len(network.CLASSES), hp.label_smoothing)
    return Material(
        batches, data.loader(train, batches, workers), labelled.to(peers.device), shift.to(peers.device),
        validation,
    )  # fmt: skip
