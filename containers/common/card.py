"""``card.json``: what an artifact is, what it was made of, and how its answers are to be read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from containers.common.errors import ModelError
from containers.common.verdict import Decision

FILE = "card.json"
SERVED_GRAPH = "model.int8.onnx"
FLOAT_GRAPH = "model.onnx"
TORCHSCRIPT = "model.ts"
WEIGHTS = "model.safetensors"
TRAINING = "training.json"  # how the training went, and the predictions on validation
REPORT = "report.html"


@dataclass(frozen=True)
class Card:
    """Every graph of the artifact takes uint8 ``[n, height, width, 3]`` and gives ``[n, classes]``.

    name: identity of the artifact, given back in every answer. classes: the count of each output
    column. input_size: ``[height, width]``. resize: the steps of ``photograph.resize``.
    data: fingerprint and sizes of the split. recipe: hyperparameters. metrics: by split, with 95 %
    intervals, and the epochs whose weights were kept. calibration: temperature. decision: thresholds of
    the verdict. exports: how far each graph is from the trained network. versions: of what made it.
    baseline: what the monitor compares with, as ``train.monitor.baseline`` describes it; None on cards
    that were written without one.
    """

    name: str
    created: str
    classes: list[int]
    input_size: list[int]
    resize: list[dict]
    data: dict
    recipe: dict
    metrics: dict
    calibration: dict
    decision: dict
    exports: dict
    versions: dict
    baseline: dict | None = None

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @property
    def thresholds(self) -> Decision:
        return Decision(**self.decision)


def read(folder: Path) -> Card:
    """Raises ModelError where the folder holds no artifact of this project."""
    path = folder / FILE
    try:
        return Card(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise ModelError(f"no model artifact in {folder}: {FILE} is missing") from None
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is not a model card of this project: {error}") from None
