"""One exported graph on ONNX Runtime: photographs in, calibrated probabilities out."""

from pathlib import Path

import numpy as np
import onnxruntime

from containers.common import card as cards
from containers.common import photograph
from containers.common.errors import ModelError


class Graph:
    """A loaded artifact. Safe to share between threads: ONNX Runtime sessions are."""

    def __init__(self, folder: Path, file: str = cards.SERVED_GRAPH, threads: int = 1):
        """Raises ModelError where the folder holds no usable artifact."""
        self.card = cards.read(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        path = folder / file
        if not path.is_file():
            raise ModelError(f"{path} is missing from the artifact")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exception types are not exported
            raise ModelError(f"{path} cannot be loaded: {error}") from None
        self._input = self._session.get_inputs()[0].name

    def prepare(self, data: bytes) -> np.ndarray:
        """One photograph's bytes -> uint8 ``[height, width, 3]``; raises PhotographError."""
        return photograph.resize(photograph.decode(data), self.card.resize)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """uint8 ``[n, height, width, 3]`` -> float32 ``[n, classes]``, rows summing to 1."""
        return self._session.run(None, {self._input: batch})[0]
