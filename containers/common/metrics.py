"""Scores of a counter, each with a 95 % interval that respects bins.

Photographs of one bin are not independent, so the bootstrap draws bins, not photographs
(Efron & Tibshirani 1993, ch. 8: resample the unit that was sampled).
"""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000
TAILS = (0.025, 0.975)


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """Share of exact counts; both int ``[n]``."""
    return float((predicted == true).mean())


def confusion(true: np.ndarray, counted: np.ndarray, classes: Sequence[int]) -> list[list[int]]:
    """Photographs by true count (rows) and by the count given (columns); both int counts ``[n]``."""
    return [[int(((true == n) & (counted == m)).sum()) for m in classes] for n in classes]


class Resamples:
    """Bins drawn with replacement, once, so that all scores of an evaluation see the same draws."""

    def __init__(self, groups: Sequence[str], seed: int = 0):
        """groups: the bin of each photograph."""
        names, self._bin = np.unique(np.asarray(groups), return_inverse=True)
        draw = np.random.default_rng(seed)
        self._draws = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES).astype(
            float
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the photographs of each resample: ``[n]`` or ``[n, k]`` -> ``[RESAMPLES(, k)]``."""
        totals = np.zeros((self._draws.shape[1], *values.shape[1:]))
        np.add.at(totals, self._bin, values)
        return self._draws @ totals

    def ratio(
        self, values: np.ndarray, weights: np.ndarray, finish: Callable = lambda ratio: ratio
    ) -> dict[str, float] | None:
        """``finish`` of Σ values / Σ weights, both float ``[n]``, with its percentile interval.

        Returns: ``{"value", "low", "high"}``, or None where all weights are 0. Resamples without
        weight, which small data sets have, say nothing and are left out.
        """
        if not weights.sum() > 0:
            return None
        numerators, denominators = self.sums(values), self.sums(weights)
        resampled = finish(numerators[denominators > 0] / denominators[denominators > 0])
        low, high = np.quantile(resampled, TAILS)
        return {"value": float(finish(values.sum() / weights.sum())), "low": float(low), "high": float(high)}

    def mean(self, values: np.ndarray, finish: Callable = lambda mean: mean) -> dict[str, float]:
        """``finish`` of the mean of ``[n]`` values, with its percentile interval."""
        return self.ratio(values, np.ones(len(values)), finish)


def score(
    probabilities: np.ndarray, true: np.ndarray, classes: Sequence[int], groups: Sequence[str]
) -> dict[str, dict]:
    """Accuracy and within-one of the argmax, RMSE of the mean, MAE of the median.

    probabilities: float ``[n, classes]``; true: int counts ``[n]``; groups: the bin of each photograph.
    Each decoder is the one that is best for its score.
    """
    counts, resamples = np.asarray(classes), Resamples(groups)
    mode = counts[probabilities.argmax(1)]
    mean = probabilities @ counts
    median = counts[(probabilities.cumsum(1) >= 0.5).argmax(1)]
    stated = probabilities[np.arange(len(true)), np.searchsorted(counts, true)]
    return {
        "accuracy": resamples.mean((mode == true).astype(float)),
        "within_one": resamples.mean((abs(mode - true) <= 1).astype(float)),
        "rmse": resamples.mean((mean - true) ** 2.0, np.sqrt),
        "mae": resamples.mean(abs(median - true).astype(float)),
        "log_loss": resamples.mean(-np.log(stated.clip(1e-9))),
    }


def shown(score: dict[str, float] | None, percent: bool = False, two_lines: bool = False) -> str:
    """A score for people: ``43.0 % (40.1–45.9)`` or ``0.912 (0.870–0.951)``; a dash for none.

    two_lines: the interval goes below its value, for cells of tables.
    """
    if score is None:
        return "–"
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    value, low, high = (f"{scale * score[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value}{unit}\n{low}–{high}" if two_lines else f"{value}{unit} ({low}–{high})"
