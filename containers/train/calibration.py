"""Whether the confidence of a count can be believed: reliability, calibration error, risk against coverage.

Confidence is the probability of the count that is answered, the likeliest one.
"""

import math

import numpy as np

from containers.common.metrics import TAILS, Resamples

BINS = 10  # of equal width between 0 and 1
COVERAGES = np.arange(1, 21) / 20


def reliability(confidence: np.ndarray, correct: np.ndarray, resamples: Resamples) -> list[dict]:
    """For each bin of confidence ``{"low", "high", "photographs", "confidence", "accuracy"}``.

    confidence: float ``[n]``; correct: bool ``[n]``. The last two are None where no photograph falls.
    """
    bins = []
    for index, inside in enumerate(_membership(confidence).T):
        bins.append(
            {
                "low": index / BINS,
                "high": (index + 1) / BINS,
                "photographs": int(inside.sum()),
                "confidence": float(confidence[inside > 0].mean()) if inside.any() else None,
                "accuracy": resamples.ratio(inside * correct, inside),
            }
        )
    return bins


def expected_error(confidence: np.ndarray, correct: np.ndarray, resamples: Resamples) -> dict[str, float]:
    """Expected calibration error of the top count, debiased: ``{"value", "low", "high", "plug_in"}``.

    The plug-in ECE takes the chance scatter of every bin for miscalibration, so that it is above 0
    even for a perfect model. It is debiased as in Kumar, Liang & Ma, "Verified Uncertainty
    Calibration", 2019 (section 4 and appendix, the L1 case): each bin's accuracy is redrawn from a normal of
    its standard error, and the mean rise of the ECE that this causes is subtracted. Their Monte
    Carlo mean has a closed form, the folded normal's, which is used here. Below 0 there is nothing.
    For a perfect network two fifths of the bias go, for one that is clearly off nearly all of it.

    The interval is the basic bootstrap's (Davison & Hinkley 1997, eq. 5.6): in a resample of
    the photographs the truth is their plug-in ECE, so the debiased ECE of resamples scatters around that.
    Simulated on 576 photographs it holds the truth 93 times in 100 for a network that is 10 points too
    sure, 89 times for one that is 5, and 84 times for one that is calibrated.
    """
    inside = _membership(confidence)
    columns = np.concatenate([inside, inside * confidence[:, None], inside * correct[:, None]], axis=1)
    plug_in, debiased = _errors(columns.sum(0))
    scatter = _errors(resamples.sums(columns))[1] - plug_in
    low, high = debiased - np.quantile(scatter, TAILS[::-1])
    value, low, high = (max(0.0, float(x)) for x in (debiased, low, high))
    return {"value": value, "low": low, "high": high, "plug_in": float(plug_in)}


def risk_coverage(confidence: np.ndarray, correct: np.ndarray, resamples: Resamples) -> list[dict]:
    """Share of wrong counts among the surest: ``{"coverage", "confidence", "risk"}``, coverage rising.

    ``confidence`` is the threshold that answers that share of these photographs, ties included.
    """
    points = []
    for coverage in COVERAGES:
        threshold = np.quantile(confidence, 1 - coverage, method="higher")
        answered = (confidence >= threshold).astype(float)
        points.append(
            {
                "coverage": float(answered.mean()),
                "confidence": float(threshold),
                "risk": resamples.ratio(answered * ~correct, answered),
            }
        )
    return points


def _membership(confidence: np.ndarray) -> np.ndarray:
    """float ``[n, BINS]``: 1 in the column of the bin of confidence; 1.0 belongs to the last."""
    return np.eye(BINS)[np.minimum((confidence * BINS).astype(int), BINS - 1)]


def _errors(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plug-in and debiased ECE from ``[..., 3 * BINS]``: photographs, confidence and exact counts by bin."""
    photographs, confidence, exact = np.split(sums, 3, axis=-1)
    size = np.maximum(photographs, 1)  # an empty bin weighs nothing below
    accuracy, share = exact / size, photographs / photographs.sum(-1, keepdims=True)
    gap = abs(accuracy - confidence / size)
    redrawn = _folded_normal_mean(gap, np.sqrt(accuracy * (1 - accuracy) / size))
    plug_in = (share * gap).sum(-1)
    return plug_in, 2 * plug_in - (share * redrawn).sum(-1)


def _folded_normal_mean(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """E|x| of x ~ N(mean, deviation²), for a mean of at least 0 (Leone, Nelson & Nottingham 1961)."""
    z = mean / np.maximum(deviation, 1e-12)
    return deviation * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + mean * _erf(z / math.sqrt(2))


_erf = np.vectorize(math.erf, otypes=[float])
