"""How far what is seen has moved from what a model was made with: the population stability index.

PSI = Σ (p − q) ln(p / q) over the intervals of a histogram, p and q the shares seen and expected; the
symmetric Kullback-Leibler divergence. Below 0.1 little has changed, above 0.25 much (Siddiqi, "Credit Risk
Scorecards", 2006, ch. 9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SOME, MUCH = 0.1, 0.25  # Siddiqi's two limits
LEAST = 100  # observations: of fewer, chance alone can reach Siddiqi's limits
PARTS = 10  # intervals of a continuous quantity, equally likely in the baseline


@dataclass(frozen=True)
class Histogram:
    """counts: observations below ``edges[0]``, then from each edge up to the next, then from the last on."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[float], edges: Sequence[float]) -> "Histogram":
        """edges: rising. A value on an edge belongs above it."""
        inside = np.searchsorted(edges, values, side="right")
        counts = np.bincount(inside, minlength=len(edges) + 1)
        return cls(tuple(map(float, edges)), tuple(counts.tolist()))

    @classmethod
    def by_deciles(cls, values: Sequence[float], digits: int) -> "Histogram":
        """Of a baseline: the edges are its own deciles, rounded to ``digits``; equal ones count once."""
        deciles = np.quantile(values, np.arange(1, PARTS) / PARTS)
        return cls.of(values, np.unique(deciles.round(digits)))

    @classmethod
    def parse(cls, document: Mapping) -> "Histogram":
        return cls(tuple(document["edges"]), tuple(document["counts"]))

    def as_dict(self) -> dict[str, list]:
        return {"edges": list(self.edges), "counts": list(self.counts)}


def psi(baseline: Histogram, seen: Histogram) -> float | None:
    """The index, at least 0; None for fewer than ``LEAST`` observations on either side.

    Half an observation is added to every interval, so that an empty one is not infinitely far. Two samples
    of one distribution have (B − 1)(1/n + 1/m) on average, with B intervals (Yurdakul & Naranjo,
    "Statistical properties of the population stability index", 2020): it is subtracted.
    """
    q, p = (np.asarray(h.counts, float) for h in (baseline, seen))
    if min(q.sum(), p.sum()) < LEAST:
        return None
    by_chance = (len(q) - 1) * (1 / q.sum() + 1 / p.sum())
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (p, q))
    return max(0.0, float(((p - q) * np.log(p / q)).sum() - by_chance))


def largest(*indices: float | None) -> float | None:
    """The largest of those that are known."""
    return max((i for i in indices if i is not None), default=None)
