"""What a card says of the photographs that its model was made with, for the monitor to compare with."""

from collections.abc import Sequence

import numpy as np

from containers.train.monitor.appearance import DIGITS, SIZE_EDGES, Appearance
from containers.train.monitor.drift import Histogram

QUANTILES = (0.1, 0.5, 0.9)
MOST_PHOTOGRAPHS = 2000  # measured of a data set, at even distances: deciles need no more


def describe(
    seen: Sequence[Appearance],
    probabilities: np.ndarray,
    classes: Sequence[int],
    trained_on: Sequence[int],
) -> dict:
    """The card's ``baseline``. Photographs and answers are those of validation: on those that a network
    was fitted on it is too sure of itself.

    seen: of the photographs. probabilities: float ``[n, classes]``, what the served graph answers.
    trained_on: training photographs of each class.
    """
    confidence, counts = probabilities.max(1), np.asarray(classes)[probabilities.argmax(1)]
    return {
        "photographs": {
            "measured": len(seen),
            "brightness": _continuous([a.brightness for a in seen], "brightness"),
            "sharpness": _continuous([a.sharpness for a in seen], "sharpness"),
            "megapixels": Histogram.of([a.megapixels for a in seen], SIZE_EDGES).as_dict()
            | {"quantiles": _quantiles([a.megapixels for a in seen])},
        },
        "answers": {
            "photographs": len(probabilities),
            "mean_confidence": float(confidence.mean()),
            "confidence": _continuous(confidence, "confidence"),
            "counts": {str(n): int((counts == n).sum()) for n in classes},
        },
        "training_counts": {str(n): int(m) for n, m in zip(classes, trained_on, strict=True)},
    }


def chosen(photographs: int) -> np.ndarray:
    """Indices of those that are measured of a data set."""
    return np.unique(np.linspace(0, photographs - 1, min(photographs, MOST_PHOTOGRAPHS)).astype(int))


def count_edges(classes: Sequence[int]) -> list[float]:
    """Edges that put each count in an interval of its own."""
    return [n + 0.5 for n in classes[:-1]]


def _continuous(values: Sequence[float], name: str) -> dict:
    return Histogram.by_deciles(values, DIGITS[name]).as_dict() | {"quantiles": _quantiles(values)}


def _quantiles(values: Sequence[float]) -> list[float]:
    """The 10 %, 50 % and 90 % quantiles."""
    return [round(float(q), 4) for q in np.quantile(values, QUANTILES)]
