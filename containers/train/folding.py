"""Normalisation by kept statistics, folded into the convolution before it.

Frozen stages and teachers only apply statistics that they once gathered, which is one multiplication and
one addition for each channel: the convolution before can do both (Jacob et al. 2018, "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 3.2), and one pass over all of
its result is saved. The modules and their state stay as they are; only what they compute is replaced.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from containers.train import network
from containers.train.hyperparameters import Hyperparameters

Replacements = dict[nn.Module, Callable]


def frozen(whole: nn.Module, hp: Hyperparameters) -> Replacements:
    """Those of the frozen stages."""
    if not hp.frozen_stages:
        return {}
    stages = [module for _, module in network.first_stages(whole, hp.frozen_stages)]
    pixels = torch.randn(2, 3, *hp.input_size, device=next(whole.parameters()).device)
    return replacements(whole, stages, pixels)


@torch.no_grad()
def replacements(whole: nn.Module, among: Iterable[nn.Module], example: torch.Tensor) -> Replacements:
    """What convolutions and normalisations among those modules may compute instead, while they and their
    parameters stay as they are. Nothing, where that would change what the network makes of the example.

    example: a batch that the network takes.
    """
    modes = {module: module.training for module in whole.modules()}
    whole.eval()
    try:
        with torch.autocast(example.device.type, enabled=False):
            found: Replacements = {}
            for convolution, normalisation in _pairs(whole, set(among), example):
                found[convolution] = fuse_conv_bn_eval(convolution, normalisation).forward
                found[normalisation] = getattr(normalisation, "act", nn.Identity()).forward
            expected = whole(example)
            with replaced(found):
                same = torch.allclose(whole(example), expected, atol=1e-4, rtol=1e-3)
        return found if same else {}
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def replaced(by: Replacements) -> Iterator[None]:
    """While a network computes so."""
    for module, forward in by.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in by:
            del module.forward


def _pairs(
    whole: nn.Module, among: set[nn.Module], example: torch.Tensor
) -> list[tuple[nn.Module, nn.Module]]:
    """Each normalisation with the convolution whose result it takes."""
    made: dict[int, tuple[torch.Tensor, nn.Module]] = {}  # with the tensor, so that its id stays its own
    pairs = []

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = output, module
        elif id(inputs[0]) in made:
            pairs.append((made.pop(id(inputs[0]))[1], module))

    with ExitStack() as hooks:
        for module in among:
            if isinstance(module, nn.Conv2d) or type(module) in (nn.BatchNorm2d, BatchNormAct2d):
                hooks.callback(module.register_forward_hook(note).remove)
        whole(example)
    return pairs
