"""What a count is worth without looking: the commonest one, and the counts of neighbouring names.

Photographs with consecutive names often show one bin before and after an item moved. A split that
deals out photographs instead of bins leaves one of the two in training, and whoever looks up its
count scores well without a pixel. What that is worth is measured here, on our split and on such a one,
both of the main list alone. Extras are trained on and never tested, and are another selection: their
counts, in other shares, would teach a guess about photographs that are not tested, and a random split
would test it on them.
"""

from collections.abc import Sequence

import numpy as np

from containers.common import metrics, splitting
from containers.common.errors import DataError
from containers.common.manifest import MAIN, Row

OFFSETS = (-2, -1, 1, 2)  # of the neighbours that are asked
SEEDS = 10  # random splits that are averaged
PUBLISHED = {
    "accuracy": 0.5567,
    "model": "ResNet-34 from scratch",
    "photographs": 325_000,
    "counts": [0, 1, 2, 3, 4, 5],
    "comparable": False,  # another split, by photograph; fifty times the photographs; a sixth count
}


def baselines(records: Sequence[Row], tested: Sequence[str], classes: Sequence[int]) -> dict[str, dict]:
    """Every baseline with the scores of ``metrics.score``.

    tested: names of the photographs that the model is tested on. Raises DataError where one of them is
    an extra, or where the main list has no other photograph to learn from.
    """
    records = [row for row in records if row.source == MAIN]
    place = {row.name: index for index, row in enumerate(records)}
    if extras := sorted(set(tested) - place.keys()):
        raise DataError(f"{extras[0]} is not of the main list: extras are for training only")
    counts = np.array([row.count for row in records])
    bins = np.array([row.group for row in records])
    train = np.array([row.split == "train" for row in records])
    test = np.array([place[name] for name in tested])
    # Photographs may be added to the training side in another mix of counts; validation has the test's.
    usual = np.array([row.split == "validation" for row in records])
    if not train.any() or not usual.any():
        raise DataError("the main list has no photographs to train or none to validate on")
    commonness = _shares(counts[usual], classes)
    constant = np.tile(commonness, (len(test), 1))
    commonest = int(classes[commonness.argmax()])

    neighbours = Neighbours(records, classes)
    # Names on two sides are never of one bin here, so pairs of one bin teach nothing about the test side.
    known = neighbours.known(train, across_bins=True)
    guesses = neighbours.guess(known, train, commonness)[test]
    return {
        "majority_class": {
            "count": commonest,
            "accuracy": float((counts[test] == commonest).mean()),
            "metrics": metrics.score(constant, counts[test], classes, bins[test]),
        },
        "no_pixels": {
            "informed": float((known[test] >= 0).any(1).mean()),
            "metrics": metrics.score(guesses, counts[test], classes, bins[test]),
        },
        "no_pixels_random_split": {"leaky": True, **_random_splits(neighbours, counts, bins, classes)},
        "published": PUBLISHED,
    }


class Neighbours:
    """Guesses a count from the counts of the names around: a naive Bayes classifier of four features."""

    def __init__(self, records: Sequence[Row], classes: Sequence[int]):
        self._classes = len(classes)
        self._label = np.searchsorted(classes, [row.count for row in records])
        place = {splitting.position(row.name): index for index, row in enumerate(records)}
        place.pop(None, None)  # a name outside the series has no neighbours
        self._index = np.full((len(records), len(OFFSETS)), -1)
        for row, record in enumerate(records):
            if position := splitting.position(record.name):
                series, number = position
                self._index[row] = [place.get((series, number + offset), -1) for offset in OFFSETS]
        self._bin = np.unique([row.group for row in records], return_inverse=True)[1]

    def known(self, train: np.ndarray, across_bins: bool) -> np.ndarray:
        """Labels of the neighbours on the training side, as indices of classes, else -1: ``[n, 4]``.

        train: bool ``[n]``. across_bins: leave out neighbours that are photographs of the same bin.
        """
        usable = (self._index >= 0) & train[self._index]
        if across_bins:
            usable &= self._bin[self._index] != self._bin[:, None]
        return np.where(usable, self._label[self._index], -1)

    def guess(self, known: np.ndarray, train: np.ndarray, commonness: np.ndarray) -> np.ndarray:
        """Probabilities ``[n, classes]`` of every photograph; its own label is never asked.

        known: of ``known``; commonness: how common each count is where it is guessed.
        """
        evidence = np.tile(np.log(commonness), (len(known), 1))
        for labels in known.T:
            seen = labels >= 0
            pairs = np.ones((self._classes, self._classes))  # Laplace's rule: one of each pair
            np.add.at(pairs, (self._label[seen & train], labels[seen & train]), 1)
            evidence[seen] += np.log(pairs / pairs.sum(1, keepdims=True)).T[labels[seen]]
        probabilities = np.exp(evidence - evidence.max(1, keepdims=True))
        return probabilities / probabilities.sum(1, keepdims=True)


def _random_splits(
    neighbours: Neighbours, counts: np.ndarray, bins: np.ndarray, classes: Sequence[int]
) -> dict[str, object]:
    """The same guess where photographs are dealt out at random, over ``SEEDS`` such splits.

    A photograph weighs as often as it was tested on; the interval is over bins, as everywhere.
    """
    exact, tested, informed = (np.zeros(len(counts)) for _ in range(3))
    last_train = round(len(counts) * splitting.RATIOS["train"])
    last_validation = min(round(len(counts) * (1 - splitting.RATIOS["test"])), len(counts) - 1)
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(counts))
        train, test = np.isin(np.arange(len(counts)), order[:last_train]), order[last_validation:]
        known = neighbours.known(train, across_bins=False)
        guesses = neighbours.guess(known, train, _shares(counts[order[last_train:last_validation]], classes))
        exact[test] += np.asarray(classes)[guesses[test].argmax(1)] == counts[test]
        informed[test] += (known[test] >= 0).any(1)
        tested[test] += 1
    resamples = metrics.Resamples(bins)
    return {
        "splits": SEEDS,
        "informed": float(informed.sum() / tested.sum()),
        "metrics": {"accuracy": resamples.ratio(exact, tested)},
    }


def _shares(counts: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """How common each count is, and never impossible: float ``[classes]``."""
    tally = np.array([(counts == n).sum() for n in classes]) + 1e-3
    return tally / tally.sum()
