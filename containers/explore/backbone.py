"""A network without its classifier, in the folder that AutoGluon takes for a timm checkpoint.

A folder, never a name: AutoGluon loads ImageNet weights for every name, also where a trial is to start
without any, and keeps to the image size that the name was trained at.
"""

import containers.train.torchvision_cpu  # noqa: F401, I001  (before timm)

import json
from pathlib import Path

import timm
import torch
from torch import nn

from containers.common.errors import SettingsError
from containers.train import packaged


def write(folder: Path, architecture: str, pretrained: bool, image_size: int) -> str:
    """Write ``pytorch_model.bin`` and ``config.json`` for a network that takes ``image_size`` pixels.

    Returns: why it starts without the ImageNet weights that were asked for, or an empty text.
    Raises SettingsError for a name that timm does not know.
    """
    if not timm.is_model(architecture):
        raise SettingsError(f"architecture {architecture!r} is unknown to timm {timm.__version__}")
    network, missing = _create(architecture, pretrained, image_size)
    config = network.default_cfg
    with torch.no_grad():
        features = network.eval()(torch.zeros(1, 3, image_size, image_size)).shape[1]
    document = {
        "architecture": architecture,
        "num_features": features,
        "input_size": [3, image_size, image_size],
        "mean": list(config["mean"]),
        "std": list(config["std"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(document))
    return missing


def _create(architecture: str, pretrained: bool, image_size: int) -> tuple[nn.Module, str]:
    options = {"num_classes": 0}
    if timm.get_pretrained_cfg(architecture).fixed_input_size:
        raise SettingsError(f"{architecture} takes one image size only, which cannot be searched")
    if pretrained and packaged.has(architecture):
        network = timm.create_model(architecture, **options)
        packaged.load(network, architecture)
        return network, ""
    if pretrained:
        try:
            return timm.create_model(architecture, pretrained=True, **options), ""
        except Exception as error:  # the hub's client raises many types
            missing = f"no pretrained weights: {_line(error)}"
            return timm.create_model(architecture, **options), missing
    return timm.create_model(architecture, **options), ""


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
