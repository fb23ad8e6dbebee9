"""``recipe.json``: the winner of a search as the trainer's hyperparameters, and where it comes from."""

import json
import math
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from containers.common.files import write_whole
from containers.explore.hyperparameters import Hyperparameters
from containers.explore.leaderboard import COMPLETED, FULL, NOT_TRIED, Row, best
from containers.explore.space import DEFAULT

VERSIONS = ("autogluon.multimodal", "torch", "timm")


def winner(rows: list[Row]) -> Row | None:
    """The best of the second round, or of the first where none of the second has been scored.

    Trials that were cut off count only where none was completed. None: nothing was scored at all.
    """
    in_full = [row for row in rows if row.round == FULL]
    for some in (in_full, rows):
        for conditions in ([lambda row: row.status == COMPLETED], []):
            if found := best(some, *conditions):
                return found
    return None


def default_beside(rows: list[Row], winning: Row) -> Row | None:
    """The trainer's default in the round of the winner, where it has been completed."""
    return best(
        rows,
        lambda row: row.trial == DEFAULT and row.round == winning.round and row.status == COMPLETED,
    )


def verdict(rows: list[Row], photographs: int) -> str:
    """One sentence: what won, and whether it beats the trainer's default.

    Only trials of one round that were completed are compared; one that was cut off may have scored higher
    all the same, and is then named. ``photographs``: how many were validated on, which is what the standard
    error stands on.
    """
    winning = winner(rows)
    return _comparison(rows, winning, photographs) + _cut_off_above(rows, winning)


def _comparison(rows: list[Row], winning: Row, photographs: int) -> str:
    ended = "after" if winning.status == COMPLETED else "cut off before the end of"
    what = (
        f"trial {winning.trial} ({winning.architecture}, {'' if winning.pretrained else 'not '}pretrained, "
        f"{winning.image_size} px) with validation accuracy {winning.validation_accuracy:.4f} {ended} "
        f"{winning.epochs} epoch(s) on {winning.photographs} photographs"
    )
    beside = [row for row in rows if row.round == winning.round and row.status == COMPLETED]
    if winning.trial == DEFAULT:
        other = best(beside, lambda row: row.trial != DEFAULT)
        if other is None:
            return f"nothing was completed beside the trainer's default, so nothing is proved: {what}"
        also = ""
        if other.validation_accuracy == winning.validation_accuracy:
            also = f"; as accurate is trial {other.trial} ({other.architecture}), {_losses(winning, other)}"
        return f"no trial beats the trainer's default on validation: the winner is {what}{also}"
    default = default_beside(rows, winning)
    if default is None:
        return f"the winner is {what}; the trainer's default was not finished beside it, so nothing is proved"
    gain = winning.validation_accuracy - default.validation_accuracy
    if gain == 0:
        losses = _losses(winning, default)
        return f"the winner is only as accurate as the trainer's default on validation, {losses}: {what}"
    shares = (winning.validation_accuracy, default.validation_accuracy)
    error = math.sqrt(sum(share * (1 - share) for share in shares) / photographs)
    return (
        f"the winner beats the trainer's default on validation by {gain * 100:.1f} points (standard error "
        f"about {error * 100:.1f}): {what}, against {default.validation_accuracy:.4f} for the default"
    )


def _losses(winning: Row, other: Row) -> str:
    """What ranks two that are equally accurate."""
    return f"log loss {winning.validation_log_loss} for the winner against {other.validation_log_loss}"


def _cut_off_above(rows: list[Row], winning: Row) -> str:
    """The end of a verdict that names the best trial that was cut off, where it scored higher."""
    above = best(
        rows,
        lambda row: row.round == winning.round,
        lambda row: row.validation_accuracy > winning.validation_accuracy,
    )
    if above is None:
        return ""
    return (
        f"; trial {above.trial} ({above.architecture}) scored higher, {above.validation_accuracy:.4f}, "
        "but was cut off, and only completed trials are compared"
    )


def document(rows: list[Row], hp: Hyperparameters, fingerprint: str, validation: int, precision: str) -> dict:
    """``{"hyperparameters": the trainer's names, "provenance": …}`` of a leaderboard with a winner."""
    winning = winner(rows)
    default = default_beside(rows, winning)
    chosen = {
        name: getattr(winning, name)
        for name in ("architecture", "pretrained", "image_size", "batch_size", "learning_rate")
    }
    if winning.trial != DEFAULT:  # which is what the trainer takes by itself
        chosen["precision"] = precision
    return {
        "hyperparameters": {**chosen, "epochs": hp.recipe_epochs},
        "provenance": {
            "by": "exploration",
            "job": os.environ.get("TRAINING_JOB_NAME", ""),
            "trial": winning.trial,
            "round": winning.round,
            "of_trials": len({row.trial for row in rows if row.status != NOT_TRIED}),
            "verdict": verdict(rows, validation),
            "validation_accuracy": winning.validation_accuracy,
            "trainers_default_validation_accuracy": default and default.validation_accuracy,
            "epochs_compared": winning.epochs,
            "photographs_trained_on": winning.photographs,
            "photographs_validated_on": validation,
            "data_fingerprint": fingerprint,
            "budget_seconds": hp.budget.value,
            "profile": hp.profile,
            "seed": hp.seed,
            "versions": {name: _version(name) for name in VERSIONS},
        },
    }


def write(path: Path, recipe: dict) -> None:
    write_whole(path, json.dumps(recipe, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # tests of this module run where nothing heavy is installed
        return None
