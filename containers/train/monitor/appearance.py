"""What is measured of a photograph, alike in training and in what an endpoint was sent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Megapixels as they come. Fixed, not deciles: a data set of copies has one size only.
SIZE_EDGES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12)
DIGITS = {"brightness": 1, "sharpness": 1, "confidence": 3}  # of the edges of a baseline's deciles


@dataclass(frozen=True)
class Appearance:
    """brightness: mean luma, 0 to 255. sharpness: variance of the luma's Laplacian (Pech-Pacheco et al.,
    "Diatom autofocusing in brightfield microscopy", 2000). megapixels: of the photograph as it came.
    """

    brightness: float
    sharpness: float
    megapixels: float


def measure(pixels: np.ndarray, size: Sequence[int]) -> Appearance:
    """pixels: uint8 ``[height, width, 3]`` as the network sees them; size: (width, height) as it came.

    Both light and focus are taken where all photographs have one size, since the Laplacian of a
    photograph depends on how large it is.
    """
    luma = pixels.astype(np.float32) @ LUMA
    inside = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inside
    return Appearance(float(luma.mean()), float(laplacian.var()), size[0] * size[1] / 1e6)
