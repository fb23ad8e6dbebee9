"""Bins that this project draws, learnt from before any real one.

There is no end to them, and each is counted without error, where real photographs are few and some recorded
counts are wrong. A network that has learnt to count drawn bins counts real ones no better than a guess, but
learns to count them better than one that has only learnt to tell ImageNet's classes apart; what that is
worth is in ``bench/recipes.csv``.
"""

from itertools import islice

import torch

from containers.common import photograph, synthetic, synthetic_photo
from containers.train.data import Photographs
from containers.train.network import CLASSES


class RenderedBins(Photographs):
    """The first so many of a series, in memory as plans only: each is drawn when it is asked for."""

    cache = None

    def __init__(self, number: int, seed: int, input_size: tuple[int, int]):
        """seed: of the series; input_size: (height, width) in pixels."""
        self.rule = photograph.resize_rule(input_size)
        self._planned = list(islice(synthetic.series(seed), number))
        self.labels = torch.tensor([CLASSES.index(len(planned.bin.items)) for planned in self._planned])

    def _decode(self, index: int) -> torch.Tensor:
        planned = self._planned[index]
        drawn = photograph.decode(synthetic_photo.photograph(planned.bin, planned.moment))
        return torch.from_numpy(photograph.resize(drawn, self.rule).copy())

    def __len__(self) -> int:
        return len(self._planned)
