"""``monitor.json``: what was read, as numbers by window and model, and how far it is from the baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from containers.common.card import Card
from containers.train.monitor.appearance import Appearance
from containers.train.monitor.baseline import QUANTILES, count_edges
from containers.train.monitor.drift import LEAST, Histogram, largest, psi
from containers.train.monitor.reading import STEPS, Cell, Span, Summary, stamp

VERDICTS = ("match", "unsure", "mismatch")
LOOKS = ("brightness", "sharpness", "megapixels")
DRIFTS = (*LOOKS, "counts", "confidence")
Where = tuple[int, str]  # start of a window, name of a model


@dataclass(frozen=True)
class Live:
    """The model behind the endpoint. accuracy: on the split ``scored_on``. baseline: None where its card
    has none.
    """

    name: str
    classes: list[int]
    accuracy: float
    scored_on: str
    baseline: Mapping | None

    @classmethod
    def of(cls, card: Card) -> "Live":
        """Scored on test, where the card says how: the model was chosen on validation, which flatters it."""
        scored_on = "test" if "test" in card.metrics else "validation"
        accuracy = card.metrics[scored_on]["accuracy"]["value"]
        return cls(card.name, card.classes, accuracy, scored_on, card.baseline)


def describe(
    span: Span,
    recent: int,
    live: Live,
    summary: Summary,
    seen: Mapping[Where, Sequence[Appearance]],
    sample: int,
) -> dict:
    """The part of the document that captured records give.

    recent: seconds before the span's end that metrics and alarms are about, of the live model alone; but
    accuracy is of all its answers that were read, since true counts come late.
    seen: what the sampled photographs look like. sample: how many of each window were asked for.
    """

    def is_recent(where: Where) -> bool:
        return where[0] >= span.until - recent and where[1] == live.name

    total = Cell()
    for where in filter(is_recent, summary.cells):
        total.add(summary.cells[where], most=0)
    looks = [look for where in filter(is_recent, seen) for look in seen[where]]
    of_live = [cell for (_, model), cell in summary.cells.items() if model == live.name]
    models = sorted({model for _, model in summary.cells}, key=lambda model: _first(summary, model))
    return {
        "since": stamp(span.since),
        "until": stamp(span.until),
        "window_seconds": span.step,
        "recent_seconds": recent,
        "live": {
            "model": live.name,
            "classes": live.classes,
            "accuracy": live.accuracy,
            "scored_on": live.scored_on,
            "baseline": live.baseline,
            "feedback": {
                "checked": sum(cell.checked for cell in of_live),
                "exact": sum(cell.exact for cell in of_live),
            },
        },
        "records": {
            "read": summary.records,
            "by_variant": dict(summary.variants),
            "unusable": dict(summary.unusable),
            "outside": summary.outside,
            "verifying": summary.verifying,
            "photographs_measured": sum(map(len, seen.values())),
            "photographs_a_window": sample,
        },
        "models": [_model(model, summary, live) for model in models],
        "windows": [
            {"start": stamp(start), "model": model}
            | _numbers(cell, seen.get((start, model), ()), live if model == live.name else None, live.classes)
            for (start, model), cell in sorted(summary.cells.items())
        ],
        "recent": _numbers(total, looks, live, live.classes),
    }


def metrics(told: Mapping) -> dict[str, float]:
    """What is published of what ``describe`` told, by the metric's name: only what enough records say."""
    recent, feedback = told["recent"], told["live"]["feedback"]
    drift, judged = recent["drift"], sum(recent["verdicts"][v] for v in VERDICTS)
    values = {
        "CapturedRequests": float(recent["records"]),
        "InputDrift": largest(drift["brightness"], drift["sharpness"]),
        "PredictionDrift": largest(drift["counts"], drift["confidence"]),
    }
    values["Drift"] = largest(values["InputDrift"], values["PredictionDrift"])
    if recent["records"] >= LEAST:
        values["MeanConfidence"] = recent["mean_confidence"]
    if judged >= LEAST:
        values["MismatchRate"] = recent["verdicts"]["mismatch"] / judged
        values["UnsureRate"] = recent["verdicts"]["unsure"] / judged
    if feedback["checked"] >= LEAST:
        score = wilson(feedback["exact"], feedback["checked"])
        values["Accuracy"], values["AccuracyAtBest"] = score["value"], score["high"]
    return {name: value for name, value in values.items() if value is not None}


def wilson(successes: float, trials: float, z: float = 1.96) -> dict[str, float] | None:
    """A share with its 95 % score interval (Wilson, "Probable inference", 1927); None of nothing."""
    if not trials:
        return None
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / trials / 4)
    # Rounding may put a bound past a share of 0 or 1.
    return {"value": share, "low": min(share, middle - half), "high": max(share, middle + half)}


def _numbers(cell: Cell, seen: Sequence[Appearance], live: Live | None, classes: Sequence[int]) -> dict:
    """live: the model, where it is the one whose baseline is known."""
    return {
        "records": cell.records,
        "counts": {str(n): cell.counts[n] for n in classes},
        "verdicts": {v: cell.verdicts[v] for v in VERDICTS} | {"none": cell.verdicts[None]},
        "mean_confidence": cell.confidence_sum / cell.records if cell.records else None,
        "photographs": len(seen),
        **{look: _quantiles([getattr(a, look) for a in seen]) for look in LOOKS},
        "drift": _drift(cell, seen, live) if live and live.baseline else dict.fromkeys(DRIFTS),
        "feedback": {
            "checked": cell.checked,
            "exact": cell.exact,
            "alarms_checked": cell.alarms_checked,
            "alarms_right": cell.alarms_right,
        },
    }


def _drift(cell: Cell, seen: Sequence[Appearance], live: Live) -> dict[str, float | None]:
    """The stability index of each quantity; None where too little was seen."""
    photographs, answers = live.baseline["photographs"], live.baseline["answers"]
    found = {}
    for look in LOOKS:
        baseline = Histogram.parse(photographs[look])
        found[look] = psi(baseline, Histogram.of([getattr(a, look) for a in seen], baseline.edges))
    edges = tuple(count_edges(live.classes))
    expected = tuple(answers["counts"][str(n)] for n in live.classes)
    counted = tuple(cell.counts[n] for n in live.classes)
    found["counts"] = psi(Histogram(edges, expected), Histogram(edges, counted))
    confidence = Histogram.parse(answers["confidence"])
    found["confidence"] = psi(confidence, _rebinned(cell.confidence, confidence.edges))
    return found


def _rebinned(steps: Sequence[int], edges: Sequence[float]) -> Histogram:
    """The fine distribution of a cell, in a baseline's intervals; its edges have as many digits."""
    bounds = [0, *(round(edge * STEPS) for edge in edges), STEPS + 1]
    return Histogram(tuple(edges), tuple(sum(steps[a:b]) for a, b in pairwise(bounds)))


def _quantiles(values: Sequence[float]) -> list[float] | None:
    return [float(q) for q in np.quantile(values, QUANTILES)] if values else None


def _model(model: str, summary: Summary, live: Live) -> dict:
    cells = {start: cell for (start, name), cell in summary.cells.items() if name == model}
    return {
        "model": model,
        "live": model == live.name,
        "records": sum(cell.records for cell in cells.values()),
        "mean_confidence": sum(c.confidence_sum for c in cells.values())
        / sum(c.records for c in cells.values()),
        "first_window": stamp(min(cells)),
        "last_window": stamp(max(cells)),
    }


def _first(summary: Summary, model: str) -> int:
    return min(start for start, name in summary.cells if name == model)
