"""One checkpoint file, replaced atomically, that a later job resumes from."""

from pathlib import Path

import torch

from containers.common.errors import ModelError

FILE = "last.pt"


def save(folder: Path, state: dict) -> Path:
    """Write tensors and plain values; a crash while writing leaves the earlier checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    torch.save(state, part)
    part.replace(folder / FILE)
    return folder / FILE


def load(folder: Path, recipe: dict) -> dict | None:
    """The state to resume from, or None. Nothing in it is executed: only tensors and values are read.

    Raises ModelError where the checkpoint was written under other hyperparameters: going on with
    it would train neither recipe.
    """
    path = folder / FILE
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    differing = sorted(k for k in recipe if state["recipe"].get(k) != recipe[k])
    if differing:
        raise ModelError(
            f"{path} was trained with another {', '.join(differing)}; use the same, or an empty place"
        )
    return state
