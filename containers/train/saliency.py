"""What a network looked at: how much each pixel moves the logit of the count that was given."""

import numpy as np
import torch
from torch.nn import functional

from containers.train.network import Counter

COPIES, NOISE = 12, 0.1  # noisy copies of a photograph; their noise as a share of the range of its pixels
DETAIL = 16  # squares of a side's sixteenth: single pixels of a gradient are mostly noise
BRIGHTEST = 0.99  # quantile that is shown as 1


def saliency(counter: Counter, photographs: torch.Tensor, classes: torch.Tensor, seed: int = 0) -> np.ndarray:
    """Squared gradients of the logits of ``classes`` with respect to the pixels, averaged over noisy copies.

    SmoothGrad (Smilkov et al. 2017), squared as by Hooker et al. 2019; it asks nothing of the network
    but a gradient, so that it does for convolutions and transformers alike.

    photographs: uint8 ``[n, height, width, 3]``; classes: int ``[n]``. Returns: float32
    ``[n, height, width]`` in 0..1, each photograph on a scale of its own.
    """
    counter.eval()
    draws = torch.Generator().manual_seed(seed)
    total = torch.zeros(photographs.shape[:3])
    for _ in range(COPIES):
        noise = torch.randn(photographs.shape, generator=draws) * NOISE * 255
        pixels = (photographs.float() + noise).requires_grad_()
        chosen = counter.logits(pixels).gather(1, classes[:, None]).sum()
        [gradient] = torch.autograd.grad(chosen, pixels)
        total += gradient.square().sum(3)
    size = max(1, min(total.shape[1:]) // DETAIL) | 1  # odd, so that the middle stays in the middle
    smooth = functional.avg_pool2d(total[:, None], size, 1, size // 2, count_include_pad=False)[:, 0].sqrt()
    brightest = torch.quantile(smooth.flatten(1), BRIGHTEST, 1)[:, None, None]
    return (smooth / brightest.clamp_min(1e-12)).clamp(0, 1).numpy()
