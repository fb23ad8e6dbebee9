"""Depthwise convolutions under bf16 on a CPU, differentiated by the kernels that are fast there.

oneDNN computes a depthwise convolution in bf16 as fast as any, but has no fast kernel for its gradients:
for a network made of them (EfficientNet, MobileNet) they take two thirds of a training step, and bf16 is no
faster than float32. Here the gradient of the input at stride 1 is itself computed as a convolution in bf16,
with the kernel turned by 180 degrees; the other gradients are computed in float32.
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
        in_float = torch.ops.aten.convolution_backward(
            gradient.float(), pixels.float(), weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0),
            channels, [*wanted, False],
        )  # fmt: skip
        if wanted[0]:
            of_pixels = in_float[0].bfloat16()
        return of_pixels, in_float[1], None, None
