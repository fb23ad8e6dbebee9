"""``recipe.json``: the winner of a search as the trainer's hyperparameters, and where it comes from."""

import json
import math
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from containers.common.files import write_whole
from containers.explore.hyperparameters import Hyperparameters
from containers.explore.leaderboard import COMPLETED, FULL, Row, best
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

    ``photographs``: how many were validated on, which is what the standard error stands on.
    """
    winning = winner(rows)
    default = default_beside(rows, winning)
    what = (
        f"trial {winning.trial} ({winning.architecture}, {'' if winning.pretrained else 'not '}pretrained, "
        f"{winning.image_size} px) with validation accuracy {winning.validation_accuracy:.4f} after "
        f"{winning.epochs} epoch(s) on {winning.photographs} photographs"
    )
    if winning.trial == DEFAULT:
        if not best(rows, lambda row: row.trial != DEFAULT and row.round == winning.round):
            return f"nothing was scored beside the trainer's default, so nothing is proved: {what}"
        return f"no trial beats the trainer's default on validation: the winner is {what}"
    if default is None:
        return f"the winner is {what}; the trainer's default was not finished beside it, so nothing is proved"
    gain = winning.validation_accuracy - default.validation_accuracy
    shares = (winning.validation_accuracy, default.validation_accuracy)
    error = math.sqrt(sum(share * (1 - share) for share in shares) / photographs)
    beats = "beats" if gain > 0 else "does not beat"
    return (
        f"the winner {beats} the trainer's default on validation by {gain * 100:.1f} points (standard error "
        f"about {error * 100:.1f}): {what}, against {default.validation_accuracy:.4f} for the default"
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
            "of_trials": len({row.trial for row in rows}),
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
