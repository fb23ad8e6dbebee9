"""The seam for Elastic Inference: the artifact's TorchScript graph on an attached accelerator.

As AWS documented it for PyTorch 1.5.1, the last version that the service had
(https://docs.aws.amazon.com/elastic-inference/latest/developerguide/ei-pytorch-using.html). AWS closed
the service in April 2024, so this is proved against a stand-in for ``torcheia`` alone; ONNX Runtime on
the instance's own cores (``graph.Graph``) is what to use instead.
"""

from pathlib import Path

import numpy as np

from containers.common import card as cards
from containers.common import photograph
from containers.common.errors import ModelError

DEVICE = 0  # the one accelerator of an endpoint's instance


class AcceleratedGraph:
    """Answers as ``graph.Graph`` does. Raises ModelError without torch, ``torcheia`` or ``model.ts``."""

    def __init__(self, folder: Path):
        self.card = cards.read(folder)
        try:
            import torch
            import torcheia
        except ImportError as error:
            raise ModelError(f"accelerator eia needs {error.name}, which this image does not have") from None
        path = folder / cards.TORCHSCRIPT
        if not path.is_file():
            raise ModelError(f"{path} is missing from the artifact: train with torchscript=true")
        self._torch = torch
        torch._C._jit_set_profiling_executor(False)  # the accelerator's client cannot work with it
        self._model = torcheia.jit.attach_eia(torch.jit.load(path, map_location="cpu").eval(), DEVICE)

    def prepare(self, data: bytes) -> np.ndarray:
        """One photograph's bytes -> uint8 ``[height, width, 3]``; raises PhotographError."""
        return photograph.resize(photograph.decode(data), self.card.resize)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """uint8 ``[n, height, width, 3]`` -> float32 ``[n, classes]``, rows summing to 1."""
        with self._torch.no_grad(), self._torch.jit.optimized_execution(True):
            return self._model(self._torch.from_numpy(batch)).numpy()
