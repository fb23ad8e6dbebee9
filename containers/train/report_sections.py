"""The sections of a training's report, from the card and ``training.json``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from containers.common import metrics
from containers.common.card import Card
from containers.common.metrics import Resamples
from containers.train import calibration, figures, training_figures
from containers.train.mistakes import Mistake
from containers.train.page import Picture, Section, Table


@dataclass(frozen=True)
class Predictions:
    """What the served graph says of the validation photographs; ``true`` are counts."""

    names: list[str]
    bins: list[str]
    true: np.ndarray  # int [n]
    probabilities: np.ndarray  # float [n, classes]
    classes: list[int]

    @classmethod
    def read(cls, table: Mapping, classes: Sequence[int]) -> "Predictions":
        """table: ``training.json``'s ``validation``."""
        names, bins, true, *probabilities = zip(*table["rows"], strict=True)
        return cls(list(names), list(bins), np.array(true), np.array(probabilities).T, list(classes))

    @property
    def counted(self) -> np.ndarray:
        return np.asarray(self.classes)[self.probabilities.argmax(1)]


def sections(
    card: Card, training: Mapping, predictions: Predictions, wrong: Sequence[Mistake], pictures: str
) -> list[Section]:
    """pictures: HTML of ``mistakes.pictures``, or nothing; the mistakes are named in a table then."""
    return [
        _rules(training["rules"]),
        _curves(card, training["epochs"]),
        _time(training),
        _operators(training["operators"]),
        _validation(predictions),
        _mistakes(wrong, pictures),
        _recipe(card),
    ]


def words(name: str) -> str:
    """``loss_not_decreasing`` -> ``loss not decreasing``."""
    return name.replace("_", " ")


def _rules(rules: Sequence[Mapping]) -> Section:
    fired = [rule for rule in rules if rule["fired"]]
    tables = []
    if fired:
        rows = [
            (words(r["name"]), str(r["fired"]["epoch"]), r["fired"]["saw"], r["fired"]["try"]) for r in fired
        ]
        tables.append(Table(("rule", "epoch", "it saw", "what to try"), rows, "lrll"))
    rows = [(words(r["name"]), "spoke" if r["fired"] else "silent", r["watches"]) for r in rules]
    strong = [index for index, rule in enumerate(rules) if rule["fired"]]
    tables.append(Table(("rule", "", "what it expects"), rows, "lll", strong))
    text = f"{len(fired)} of {len(rules)} rules spoke." if fired else f"None of {len(rules)} rules spoke."
    return Section("What the rules saw", text, tables)


def _curves(card: Card, epochs: Sequence[Mapping]) -> Section:
    text = (
        "The training loss is measured on augmented photographs while the weights change, with all that the "
        "recipe adds to it; the validation loss on photographs as they are, with the averaged weights. "
        "Compare their courses, not their heights."
    )
    if rendered := card.recipe.get("rendered_epochs", 0):
        last = epochs[rendered - 1]
        text += (
            f" Epochs 1 to {rendered}, of rendered bins, are not shown; in the end "
            f"{100 * last['validation_accuracy']:.0f} % of such bins were counted exactly."
        )
    kept = [epoch for epoch in card.metrics["kept_epochs"] if epoch > rendered]
    return Section(
        "Learning curves", text, pictures=[Picture(training_figures.learning_curves(epochs[rendered:], kept))]
    )


def _time(training: Mapping) -> Section:
    epochs, seconds = training["epochs"], training["seconds"]
    return Section(
        "Where the time goes",
        f"{len(epochs)} epochs of {training['steps']} steps took {sum(seconds.values()):,.0f} seconds. Data "
        "is loading and augmenting photographs; other is what lies between the phases: waiting for other "
        "processes, measuring, checkpoints.",
        pictures=[
            Picture(training_figures.time_by_phase(seconds)),
            Picture(training_figures.throughput(epochs)),
        ],
    )


def _operators(operators: Sequence[Mapping]) -> Section:
    if not operators:
        return Section("Operators", "Not recorded; profile_steps=20 records a window of 20 training steps.")
    rows = [
        (
            o["name"].removeprefix("aten::"),
            f"{o['calls']:,}",
            f"{o['milliseconds']:,.1f}",
            f"{o['share'] * 100:.1f} %",
        )
        for o in operators
    ]
    return Section(
        "Operators",
        "Those that took most time of their own in the profiled steps. The trace is in the job's "
        "output.tar.gz: open it in chrome://tracing or Perfetto.",
        [Table(("operator", "calls", "own ms", "share"), rows)],
    )


def _validation(predictions: Predictions) -> Section:
    confidence = predictions.probabilities.max(1)
    correct = predictions.counted == predictions.true
    resamples, classes = Resamples(predictions.bins), predictions.classes
    confusion = metrics.confusion(predictions.true, predictions.counted, classes)
    return Section(
        "How it counts",
        f"The served graph on {len(correct):,} validation photographs. Epoch, temperature and thresholds "
        "were chosen on these, so that the figures flatter; the evaluation on test bins is the honest one.",
        pictures=[
            Picture(figures.confusion(confusion, classes), "Confusion matrix"),
            Picture(
                figures.reliability(calibration.reliability(confidence, correct, resamples)),
                "Reliability: whether it is as often right as it is sure",
            ),
            Picture(
                figures.risk_coverage(calibration.risk_coverage(confidence, correct, resamples)),
                "Risk against coverage: how many mistakes remain when it answers only what it is surest of",
            ),
        ],
    )


def _mistakes(wrong: Sequence[Mistake], pictures: str) -> Section:
    if not wrong:
        return Section("Worst mistakes", "Every validation photograph was counted exactly.")
    text = "The validation photographs whose true count was given least probability."
    if pictures:
        text += (
            " Beside each, bright, what moved the answer most: squared gradients by the pixels, averaged "
            "over noisy copies (SmoothGrad, Smilkov et al. 2017). It shows where the network looked, not why."
        )
        return Section("Worst mistakes", text, pictures=[Picture(pictures)])
    text += " To see them: python -m containers.train.report --model FOLDER --photographs FOLDER"
    rows = [
        (
            m.name,
            str(m.true),
            str(m.counted),
            f"{m.confidence * 100:.0f} %",
            f"{m.true_probability * 100:.1f} %",
        )
        for m in wrong
    ]
    columns = ("photograph", "in the bin", "counted", "confidence", "probability of the true count")
    return Section("Worst mistakes", text, [Table(columns, rows)])


def _recipe(card: Card) -> Section:
    recipe = [
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in card.recipe.items()
    ]
    versions = list(card.versions.items())
    return Section(
        "Recipe and versions",
        f"Data fingerprint {card.data['fingerprint'][:16]}.",
        [Table(("hyperparameter", "value"), recipe), Table(("package", "version"), versions)],
    )
