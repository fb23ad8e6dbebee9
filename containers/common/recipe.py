"""``recipe.json`` as whoever trains reads it: what exploration hands to training."""

import json
from pathlib import Path

from containers.common.errors import SettingsError

FILE = "recipe.json"


def hyperparameters(path: Path) -> dict[str, str]:
    """The hyperparameters of a recipe, as the strings that SageMaker carries; raises SettingsError."""
    try:
        found = json.loads(path.read_text())["hyperparameters"]
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is not a recipe ({{'hyperparameters': …}}): {error!r}") from None


def arguments(folder: Path) -> list[str]:
    """``--name value …`` of the recipe in a folder; nothing where there is none."""
    path = folder / FILE
    if not path.exists():
        return []
    return [part for name, value in hyperparameters(path).items() for part in (f"--{name}", value)]
