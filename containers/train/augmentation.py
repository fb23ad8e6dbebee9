"""What is changed at random about each photograph that is trained on; its count stays what it was."""

import math

import torch
from torch.nn import functional

from containers.train.hyperparameters import Hyperparameters


def augment(photographs: torch.Tensor, hp: Hyperparameters, generator: torch.Generator) -> torch.Tensor:
    """Place and light, drawn for each photograph; none can take an item out of the bin's middle.

    uint8 ``[n, height, width, 3]`` -> float32 of the same shape, in 0..255. The border is repeated where a
    change of place uncovers it.
    """
    n, device = len(photographs), photographs.device

    def uniform(*shape: int) -> torch.Tensor:
        return (torch.rand(shape, generator=generator) * 2 - 1).to(device)

    down, right = uniform(2, n) * hp.shift
    mirrored = uniform(n) > 0 if hp.flip else torch.zeros(n, dtype=torch.bool, device=device)
    if hp.scale or hp.rotation:
        taller, wider = 1 + uniform(2, n) * hp.scale
        turned = uniform(n) * math.radians(hp.rotation)
        pixels = _placed(photographs, down, right, mirrored, taller, wider, turned)
    else:
        pixels = _shifted(photographs, down, right, mirrored)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = 1 + uniform(2, n, 1, 1, 1) * hp.brightness
    pixels = (pixels - mean) * contrast + mean * brightness
    if hp.colour:
        pixels = pixels * (1 + uniform(n, 1, 1, 3) * hp.colour)
    return pixels.clamp(0, 255)


def _shifted(photographs, down, right, mirrored) -> torch.Tensor:
    """By whole pixels, so that each keeps its value."""
    n, height, width, _ = photographs.shape
    device = photographs.device
    rows = torch.arange(height, device=device) + (down * height).round().long()[:, None]
    columns = torch.arange(width, device=device) + (right * width).round().long()[:, None]
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    each = torch.arange(n, device=device)[:, None, None]
    return photographs[each, rows[:, :, None], columns[:, None, :]].float()


def _placed(photographs, down, right, mirrored, taller, wider, turned) -> torch.Tensor:
    """By an affine map from each pixel to where it is read from, in units of half the image's sides."""
    n, height, width, _ = photographs.shape
    sign = torch.where(mirrored, -1.0, 1.0)
    aspect = height / width
    sine, cosine = turned.sin(), turned.cos()
    across = torch.stack([sign * wider * cosine, -sign * wider * sine * aspect, 2 * right], 1)
    along = torch.stack([taller * sine / aspect, taller * cosine, 2 * down], 1)
    grid = functional.affine_grid(torch.stack([across, along], 1), [n, 3, height, width], align_corners=False)
    planes = photographs.permute(0, 3, 1, 2).float()
    read = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return read.permute(0, 2, 3, 1)
