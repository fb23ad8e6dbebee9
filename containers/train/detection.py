"""The user's question: of records that are wrong, how many are caught, and at what price?

No wrong record is drawn by chance: a share is the expectation over every wrong record that a
photograph could have had. Which ones are likely is an assumption, and it is this one: from 1 to 5,
and half as likely for each further item that it is off (``likelihoods``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from containers.common import verdict
from containers.common.metrics import Resamples
from containers.common.verdict import Decision

FALSE_ALARMS = (0.01, 0.05, 0.10)  # for which thresholds are fitted
WRONG_RECORDS = 0.05  # share of bins whose record is wrong, unless told
HALVING = 0.5  # likelihood of an error of one more item
SIZES = {"1": (1, 1), "2": (2, 2), "3+": (3, 99)}  # items that a record is off: least, most
CURVE = np.arange(0, 31) / 100  # false alarms at which the curve is given


@dataclass(frozen=True)
class Scored:
    """Photographs of one side with what the model made of them.

    probabilities: float ``[n, classes]``; true: int ``[n]``; classes: the count of each column;
    bins: the bin of each photograph.
    """

    probabilities: np.ndarray
    true: np.ndarray
    classes: Sequence[int]
    bins: Sequence[str]

    @property
    def recorded_right(self) -> np.ndarray:
        """Evidence for the right record: float ``[n]``."""
        return self.probabilities[np.arange(len(self.true)), np.searchsorted(self.classes, self.true)]

    @property
    def off(self) -> np.ndarray:
        """Items that a record of each class would be off: int ``[n, classes]``."""
        return abs(np.asarray(self.classes) - self.true[:, None])


def likelihoods(off: np.ndarray) -> np.ndarray:
    """Of each wrong record, given that the record is wrong: rows of ``[n, classes]`` that sum to 1."""
    weights = np.where(off > 0, HALVING ** np.maximum(off - 1, 0), 0)
    return weights / weights.sum(1, keepdims=True)


def detect(
    validation: Scored, test: Scored, deployed: Decision, wrong: float = WRONG_RECORDS
) -> dict[str, object]:
    """What is caught on ``test`` with thresholds fitted on ``validation``, and with the artifact's own.

    wrong: share of records that are wrong, which only the precision and the shares of all records
    depend on. Returns: see ``_outcome``; ``curve`` has the same on test for every threshold.
    """
    resamples = Resamples(test.bins)
    levels = [
        verdict.fit(
            validation.probabilities, validation.true, validation.classes, rate, deployed.missed_error_rate
        )
        for rate in FALSE_ALARMS
    ]
    return {
        "wrong_records": wrong,
        "halving": HALVING,
        "levels": [_outcome(test, decision, wrong, resamples) for decision in levels],
        "deployed": _outcome(test, deployed, wrong, resamples),
        "curve": _curve(test),
    }


def _outcome(test: Scored, decision: Decision, wrong: float, resamples: Resamples) -> dict[str, object]:
    """Shares, each with its interval.

    false_alarms: right records that are doubted; caught: wrong records that are, in all and by size;
    precision: doubted records that are wrong; missed: wrong records that are believed; doubted,
    unsure: of all records. A share of nothing is None.
    """
    likely, off = likelihoods(test.off), test.off
    evidence, right = test.probabilities, test.recorded_right
    doubted_right, doubted = decision.doubts(right).astype(float), likely * decision.doubts(evidence)
    believed_right, believed = decision.believes(right).astype(float), likely * decision.believes(evidence)
    everything = np.ones(len(right))
    alarms = (1 - wrong) * doubted_right + wrong * doubted.sum(1)
    answered = alarms + (1 - wrong) * believed_right + wrong * believed.sum(1)
    by_size = {}
    for size, (least, most) in SIZES.items():
        of_size = (off >= least) & (off <= most)
        by_size[size] = resamples.ratio((doubted * of_size).sum(1), (likely * of_size).sum(1))
    return {
        "decision": decision.as_dict(),
        "false_alarms": resamples.mean(doubted_right),
        "caught": resamples.mean(doubted.sum(1)),
        "caught_by_size": by_size,
        "missed": resamples.mean(believed.sum(1)),
        "precision": resamples.ratio(wrong * doubted.sum(1), alarms),
        "doubted": resamples.ratio(alarms, everything),
        "unsure": resamples.ratio(everything - answered, everything),
    }


def _curve(test: Scored) -> dict[str, object]:
    """Shares caught by size where the share of false alarms on test itself is at most that of ``CURVE``."""
    likely, off, right = likelihoods(test.off), test.off, test.recorded_right
    below = [np.nextafter(np.quantile(right, rate, method="lower"), 0) for rate in CURVE]
    caught = {}
    for size, (least, most) in SIZES.items():
        weights = likely * ((off >= least) & (off <= most))
        if weights.any():
            caught[size] = [
                float((weights * (test.probabilities <= limit)).sum() / weights.sum()) for limit in below
            ]
    return {"false_alarms": [float((right <= limit).mean()) for limit in below], "caught": caught}
