"""Depthwise convolutions under bf16 on a CPU, differentiated by the kernels that are fast there.

oneDNN computes a depthwise convolution in bf16 as fast as any, but has no fast kernel for its gradients:
for a network made of them (EfficientNet, MobileNet) they take two thirds of a training step, and bf16 is no
faster than float32. Here the gradient of the input at stride 1 is itself computed as a convolution in bf16,
with the kernel turned by 180 degrees; the other gradients are computed in float32, that of a wide kernel
three columns at a time: oneDNN's own takes ten times as long for five columns as for three.
``bench/training.py`` measures what that is worth.
"""

from contextlib import nullcontext

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def fast(device: torch.device, precision: str) -> TorchFunctionMode | nullcontext:
    """A context for the forward pass of a training step; it does nothing but under bf16 on a CPU."""
    return _FastDepthwise() if device.type == "cpu" and precision == "bf16" else nullcontext()


class _FastDepthwise(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is functional.conv2d and not kwargs and len(args) == 7 and _handles(*args):
            pixels, weight, _, stride, padding, _, _ = args
            return _Depthwise.apply(pixels, weight, stride, padding)
        return function(*args, **(kwargs or {}))


def _handles(pixels, weight, bias, stride, padding, dilation, groups) -> bool:
    channels = weight.shape[0]
    square = all(not isinstance(v, str) and v[0] == v[1] for v in (stride, padding, weight.shape[2:]))
    depthwise = groups == channels == pixels.shape[1] > 1 and weight.shape[1] == 1
    return depthwise and square and bias is None and tuple(dilation) == (1, 1) and torch.is_grad_enabled()


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pixels, weight, stride, padding):
        pixels = pixels.bfloat16()
        ctx.save_for_backward(pixels, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(pixels, weight.bfloat16(), None, stride, padding, 1, weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        pixels, weight = ctx.saved_tensors
        channels, kernel = weight.shape[0], weight.shape[2]
        wanted = list(ctx.needs_input_grad[:2])
        of_pixels = None
        if wanted[0] and ctx.stride[0] == 1 and (margin := kernel - 1 - ctx.padding[0]) >= 0:
            turned = weight.bfloat16().flip(2, 3)
            of_pixels = torch.conv2d(gradient, turned, None, 1, margin, 1, channels)
            wanted[0] = False
        gradient = gradient.float()
        if wanted[0] or kernel <= COLUMNS:  # a wide kernel's columns are cast as they are copied
            pixels = pixels.float()
        if wanted[0]:
            of_pixels = _in_float(gradient, pixels, weight, ctx.stride, ctx.padding, 0).bfloat16()
        of_weight = _of_weight(gradient, pixels, weight, ctx.stride, ctx.padding) if wanted[1] else None
        return of_pixels, of_weight, None, None


COLUMNS = 3  # of a kernel, that oneDNN's gradient is fast for


def _of_weight(gradient, pixels, weight, stride, padding) -> torch.Tensor:
    kernel = weight.shape[3]
    if kernel <= COLUMNS:
        return _in_float(gradient, pixels, weight, stride, padding, 1)
    width = stride[1] * (gradient.shape[3] - 1) + COLUMNS  # of the pixels that so many columns see
    result = torch.empty_like(weight)
    for first in sorted({min(column, kernel - COLUMNS) for column in range(0, kernel, COLUMNS)}):
        columns = slice(first, first + COLUMNS)
        seen = _columns(pixels, first - padding[1], width)
        result[..., columns] = _in_float(gradient, seen, weight[..., columns], stride, (padding[0], 0), 1)
    return result


def _columns(pixels: torch.Tensor, first: int, width: int) -> torch.Tensor:
    """``width`` columns from ``first`` on, in float32; those that lie outside are zero."""
    images, channels, height, there = pixels.shape
    result = torch.empty(images, height, width, channels).permute(0, 3, 1, 2)
    left, right = max(-first, 0), min(there - first, width)
    result[..., :left] = 0
    result[..., left:right] = pixels[..., first + left : first + right]
    result[..., right:] = 0
    return result


def _in_float(gradient, pixels, weight, stride, padding, which: int) -> torch.Tensor:
    """The gradient of the pixels (0) or of the weight (1)."""
    return torch.ops.aten.convolution_backward(
        gradient, pixels, weight, None, stride, padding, (1, 1), False, (0, 0), weight.shape[0],
        [which == 0, which == 1, False],
    )[which]  # fmt: skip
