"""One checkpoint file, replaced atomically, that a later job resumes from."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from containers.common import manifest
from containers.common.errors import ModelError
from containers.train.hyperparameters import Hyperparameters

FILE = "last.pt"
# Hyperparameters that no weight depends on: a job may go on under others, with less memory, say.
FREE = (
    "workers", "cache_megabytes", "profile_steps", "torchscript", "report_pictures", "false_alarm_rate",
    "missed_error_rate",
)  # fmt: skip


def identity(hp: Hyperparameters, records: Iterable[manifest.Row]) -> dict:
    """What the job that goes on must have in common with the one that wrote the checkpoint."""
    recipe = {name: value for name, value in asdict(hp).items() if name not in FREE}
    return recipe | {"data set": manifest.fingerprint(records)}


def save(folder: Path, state: dict) -> Path:
    """Write tensors and plain values; a crash while writing leaves the earlier checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    torch.save(state, part)
    part.replace(folder / FILE)
    return folder / FILE


def load(folder: Path, identity: dict) -> dict | None:
    """The state to resume from, or None. Nothing in it is executed: only tensors and values are read.

    Raises ModelError where ``state["identity"]`` is another: going on with that checkpoint would train
    neither recipe, or score a network on photographs that it was trained on.
    """
    path = folder / FILE
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    written = state.get("identity", {})
    differing = sorted(name for name in identity if written.get(name) != identity[name])
    if differing:
        raise ModelError(
            f"{path} was trained with another {', '.join(differing)}; use the same, or an empty place"
        )
    return state
