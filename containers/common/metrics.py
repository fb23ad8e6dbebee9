"""Scores of a counter, each with a 95 % interval that respects bins.

Photographs of one bin are not independent, so the bootstrap draws bins, not photographs
(Efron & Tibshirani 1993, ch. 8: resample the unit that was sampled).
"""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """Share of exact counts; both int ``[n]``."""
    return float((predicted == true).mean())


def with_interval(
    values: np.ndarray, groups: list[str], finish: Callable = lambda mean: mean, seed: int = 0
) -> dict[str, float]:
    """``finish`` of the mean of per-photograph ``values`` ``[n]``, with its percentile interval over bins.

    Returns: ``{"value", "low", "high"}``.
    """
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    resampled = [finish(mean) for mean in (draws @ sums) / (draws @ sizes)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": float(finish(values.mean())), "low": float(low), "high": float(high)}


def score(
    probabilities: np.ndarray, true: np.ndarray, classes: list[int], groups: list[str]
) -> dict[str, dict]:
    """Accuracy and within-one of the argmax, RMSE of the mean, MAE of the median.

    probabilities: float ``[n, classes]``; true: int counts ``[n]``; groups: the bin of each photograph.
    Each decoder is the one that is best for its score.
    """
    counts = np.asarray(classes)
    mode = counts[probabilities.argmax(1)]
    mean = probabilities @ counts
    median = counts[(probabilities.cumsum(1) >= 0.5).argmax(1)]
    return {
        "accuracy": with_interval((mode == true).astype(float), groups),
        "within_one": with_interval((abs(mode - true) <= 1).astype(float), groups),
        "rmse": with_interval((mean - true) ** 2.0, groups, np.sqrt),
        "mae": with_interval(abs(median - true).astype(float), groups),
        "log_loss": with_interval(
            -np.log(probabilities[np.arange(len(true)), np.searchsorted(counts, true)].clip(1e-9)), groups
        ),
    }
