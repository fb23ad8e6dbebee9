"""From calibrated probabilities and a recorded count to ``match``, ``mismatch`` or ``unsure``.

The probability that the network gives to the recorded count is the evidence. Two thresholds on it,
fitted on validation photographs, state what each word risks:

- ``mismatch`` at or below ``mismatch_below``: of correct records, a share of at most
  ``false_alarm_rate`` would be called wrong;
- ``match`` at or above ``match_above``: of records that are wrong by one, a share of at most
  ``missed_error_rate`` would be believed;
- ``unsure`` between the two.
"""

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Decision:
    """The two thresholds and the error rates they were fitted for."""

    mismatch_below: float
    match_above: float
    false_alarm_rate: float
    missed_error_rate: float

    def doubts(self, evidence):
        """Whether a record with this evidence, a float or an array of them, is a ``mismatch``."""
        return evidence <= self.mismatch_below

    def believes(self, evidence):
        """Whether it is a ``match``. What it neither doubts nor believes is ``unsure``."""
        return (evidence >= self.match_above) & (evidence > self.mismatch_below)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def fit(
    probabilities: np.ndarray,
    counts: np.ndarray,
    classes: list[int],
    false_alarm_rate: float = 0.05,
    missed_error_rate: float = 0.05,
) -> Decision:
    """Fit the thresholds on photographs whose records are right.

    probabilities: float ``[photographs, classes]``; counts: int ``[photographs]``, true counts.
    A wrong record is made of each right one by adding and by taking one item, within the classes.
    """
    column = {count: i for i, count in enumerate(classes)}
    right = np.array([p[column[int(n)]] for p, n in zip(probabilities, counts, strict=True)])
    wrong = np.array(
        [
            p[column[int(n) + step]]
            for p, n in zip(probabilities, counts, strict=True)
            for step in (-1, 1)
            if int(n) + step in column
        ]
    )
    low = float(np.nextafter(np.quantile(right, false_alarm_rate, method="lower"), 0))
    high = float(np.nextafter(np.quantile(wrong, 1 - missed_error_rate, method="higher"), 1))
    # A network that separates well can have its thresholds cross; nothing is unsure then.
    return Decision(min(low, high), high, false_alarm_rate, missed_error_rate)


def judge(
    probabilities: dict[int, float], expected: int | None, decision: Decision
) -> tuple[str | None, str | None]:
    """Returns (verdict, reason); the verdict is None when nothing was recorded."""
    if expected is None:
        return None, None
    if expected not in probabilities:
        return "unsure", "out_of_range"
    evidence = probabilities[expected]
    if decision.doubts(evidence):
        return "mismatch", None
    return ("match", None) if decision.believes(evidence) else ("unsure", None)
