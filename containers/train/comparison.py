"""Whether a challenger counts better than what it would replace: a paired test on the same photographs.

Both have counted every photograph, so only those that one of them counts exactly and the other does not
say anything. Bins are drawn again, not photographs, as for every score (``metrics.Resamples``).
"""

import math
from statistics import NormalDist

import numpy as np

from containers.common.metrics import Resamples

POWER = 0.80  # with which a gain of the smallest detectable size is found


def compare(challenger: np.ndarray, other: np.ndarray, bins: list[str], level: float) -> dict:
    """The gain in accuracy with its one-sided lower bound, and the gain that this test can find.

    challenger, other: bool ``[n]``, whether each photograph was counted exactly; bins: the bin of each.
    Returns: ``gain`` (difference of the accuracies: value and lower bound ``low`` at ``level``, which is
    the percentile bootstrap's, Efron & Tibshirani 1993, ch. 13), ``accuracies`` with 95 % intervals,
    ``only_challenger`` and ``only_other`` (photographs that only one counts exactly) and
    ``detectable_gain``. Simulated on 300 photographs in bins of one and two, 30 % of them discordant, a
    lower bound above zero at a level of 90 % is had by 10.2 % of 2,000 challengers that are no better, and
    by 78.6 % of 500 that are better by just the detectable gain.
    """
    resamples = Resamples(bins)
    difference = challenger.astype(float) - other
    drawn = resamples.sums(difference) / resamples.sums(np.ones(len(difference)))
    return {
        "level": level,
        "power": POWER,
        "photographs": len(difference),
        "bins": len(set(bins)),
        "accuracies": {
            "challenger": resamples.mean(challenger.astype(float)),
            "other": resamples.mean(other.astype(float)),
        },
        "only_challenger": int((difference > 0).sum()),
        "only_other": int((difference < 0).sum()),
        "gain": {"value": float(difference.mean()), "low": float(np.quantile(drawn, 1 - level))},
        "detectable_gain": detectable_gain(
            float(abs(difference).mean()), len(difference) / _design_effect(difference, drawn), level
        ),
    }


def detectable_gain(discordance: float, photographs: float, level: float) -> float:
    """The smallest true gain δ that a one-sided test at ``level`` finds with a probability of ``POWER``.

    discordance: share ψ of photographs that one model counts exactly and the other does not;
    photographs: how many independent ones the test is worth. Solves, for δ, the sample size of McNemar's
    test, n = (z_level √ψ + z_power √(ψ − δ²))² / δ² (Connor, "Sample size for testing differences in
    proportions for the paired-sample design", Biometrics 43, 1987). A gain of δ needs a discordance of at
    least δ, so where the two models hardly ever differ ψ is taken to be δ. At most 1.
    """
    z_level, z_power = (NormalDist().inv_cdf(p) for p in (level, POWER))

    def found(gain: float) -> bool:
        spread = max(discordance, gain)
        reach = z_level * math.sqrt(spread) + z_power * math.sqrt(max(0.0, spread - gain**2))
        return gain * math.sqrt(photographs) >= reach

    low, high = 0.0, 1.0
    for _ in range(40):  # bisection, to 1e-12
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def decide(challenger: str, other: str, comparison: dict) -> dict:
    """``{"promote", "reason"}``: the challenger wins only with a lower bound above zero.

    challenger, other: what they are called in the reason, which is a sentence for people.
    """
    gain, accuracies = comparison["gain"], comparison["accuracies"]
    promote = gain["low"] > 0
    reason = (
        f"{challenger} counts {100 * accuracies['challenger']['value']:.1f} % of "
        f"{comparison['photographs']:,} test photographs exactly, against "
        f"{100 * accuracies['other']['value']:.1f} % for {other}: a gain of "
        f"{_points(gain['value'])} points, and with {100 * comparison['level']:g} % confidence of at least "
        f"{_points(gain['low'])}"
    )
    if not promote:
        reason += (
            f", which is not above zero; a true gain of {100 * comparison['detectable_gain']:.1f} points "
            f"would be found {100 * comparison['power']:.0f} times in 100"
        )
    return {"promote": promote, "reason": reason}


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _design_effect(difference: np.ndarray, drawn: np.ndarray) -> float:
    """How many photographs in bins are worth one that stands alone; at least 1 (Kish 1965, ch. 5)."""
    alone = difference.var() / len(difference)
    return max(1.0, float(drawn.var() / alone)) if alone > 0 else 1.0
