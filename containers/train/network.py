"""The network by its timm name, and the module that is exported around it."""

import containers.train.torchvision_cpu  # noqa: F401, I001  (before timm)

from collections.abc import Callable

import timm
import torch
from torch import nn

from containers.common import manifest
from containers.common.errors import SettingsError
from containers.train import packaged
from containers.train.hyperparameters import Hyperparameters

CLASSES = list(manifest.COUNTS)


def create(hp: Hyperparameters) -> nn.Module:
    """A timm network with one output per count.

    Pretrained weights come from timm's hub, except those that an installed package carries. Raises
    SettingsError for a name that timm does not know, weights that nobody has, and an architecture that does
    not classify photographs of that size.
    """
    try:
        known = timm.is_model(hp.architecture) and timm.get_pretrained_cfg(hp.architecture)
    except RuntimeError:  # of a tag after the name, as in resnet18.a1_in1k
        known = None
    if not known:
        raise SettingsError(f"architecture {hp.architecture!r} is unknown to timm {timm.__version__}")
    carried = hp.pretrained and packaged.has(hp.architecture)
    network = _of_timm(hp, pretrained=hp.pretrained and not carried)
    if carried:
        packaged.load(network, hp.architecture)
    # Some of timm's initialisations scale a classifier by its number of classes; with five, the first
    # logits are so large that the first epoch goes into making them small again.
    for classifier in classifiers(network):
        if isinstance(classifier, nn.Linear):
            nn.init.normal_(classifier.weight, std=0.01)
            nn.init.zeros_(classifier.bias)
    return network


def classifiers(network: nn.Module) -> list[nn.Module]:
    """What makes the logits: in most networks one module; two, whose logits timm averages, in those that were
    made to be distilled."""
    found = network.get_classifier()
    return list(found) if isinstance(found, tuple) else [found]


def _of_timm(hp: Hyperparameters, pretrained: bool) -> nn.Module:
    """Made by timm, and tried; raises SettingsError."""
    config = timm.get_pretrained_cfg(hp.architecture)
    options = {"num_classes": len(CLASSES), "drop_rate": hp.drop_rate}
    if config.fixed_input_size:  # transformers that must know it
        options["img_size"] = hp.input_size
    try:
        network = timm.create_model(hp.architecture, pretrained=pretrained, **options)
        _try(network, hp.input_size)
    except Exception as error:  # each architecture raises its own, and so does the hub's client
        said = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        if pretrained:
            _of_timm(hp, pretrained=False)  # which raises where weights are not what is amiss
            raise SettingsError(
                f"no pretrained weights for {hp.architecture}: {said}; use pretrained=false, or one whose "
                f"weights are installed with the image: {', '.join(packaged.PACKAGES)}"
            ) from None
        size, own = (" × ".join(map(str, sides)) for sides in (hp.input_size, config.input_size[1:]))
        raise SettingsError(
            f"{hp.architecture} cannot count photographs of {size} px: {said}; use its own size, {own} px, "
            "or another architecture"
        ) from None
    return network


@torch.no_grad()
def _try(network: nn.Module, size: tuple[int, int]) -> None:
    """Not every architecture takes every (height, width), and a few make no logits."""
    shape = tuple(network.eval()(torch.zeros(2, 3, *size)).shape)
    network.train()
    if shape != (2, len(CLASSES)):
        raise ValueError(f"of two photographs it makes {list(shape)} numbers")


def freeze(network: nn.Module, stages: int) -> Callable[[], None]:
    """Keep the first stages, by timm's ``feature_info``, as they are: no gradient reaches their parameters.

    Returns: what must be called after every ``network.train()``, so that their normalisation keeps the
    statistics that it came with. Raises SettingsError where the network has not so many stages.
    """
    if not stages:
        return lambda: None
    frozen = [module for _, module in first_stages(network, stages) if module._parameters or module._buffers]
    for module in frozen:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)

    def hold() -> None:
        for module in frozen:
            module.eval()

    return hold


def first_stages(network: nn.Module, stages: int) -> list[tuple[str, nn.Module]]:
    """Modules by name, in the order in which timm defines them and a photograph passes them, up to the end
    of that stage. Raises SettingsError where the network has not so many stages."""
    last = last_of(network, stages)
    modules = list(network.named_modules())
    end = max(i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(f"{last}."))
    return modules[: end + 1]


def last_of(network: nn.Module, stages: int) -> str:
    """The name of the module whose output is that of the first so many stages (at least one)."""
    ends = [stage["module"] for stage in getattr(network, "feature_info", [])]
    if stages > len(ends):
        raise SettingsError(f"frozen_stages={stages}: this network has {len(ends)} stages")
    return ends[stages - 1]


class Counter(nn.Module):
    """What is exported: photographs as they are decoded in, calibrated probabilities out.

    mirror: count each photograph and its mirror image, and average the logits: a bin holds as much in a
    mirror. Twice the work, outside training.
    """

    def __init__(self, network: nn.Module, temperature: float = 1.0, mirror: bool = False):
        super().__init__()
        config = network.default_cfg
        self.network = network
        self.mirror = mirror
        # uint8 -> (x / 255 - mean) / std, as one multiply and one add.
        scale = 1 / (255 * torch.tensor(config["std"]))
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "offset",
            (-torch.tensor(config["mean"]) / torch.tensor(config["std"])).view(1, 3, 1, 1),
            persistent=False,
        )
        self.register_buffer("temperature", torch.tensor(temperature), persistent=False)

    def logits(self, photographs: torch.Tensor) -> torch.Tensor:
        """uint8 or float ``[n, height, width, 3]`` in 0..255 -> float ``[n, classes]``."""
        pixels = photographs.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.offset
        if self.training or not self.mirror:
            return self.network(pixels)
        both = self.network(torch.cat([pixels, pixels.flip(3)]))
        return both.unflatten(0, (2, pixels.shape[0])).mean(0)

    def forward(self, photographs: torch.Tensor) -> torch.Tensor:
        """uint8 ``[n, height, width, 3]`` -> probabilities ``[n, classes]``."""
        return torch.softmax(self.logits(photographs).float() / self.temperature, dim=1)


class Logits(nn.Module):
    """DDP calls ``forward``; in training that is the logits, not the calibrated probabilities."""

    def __init__(self, counter: Counter):
        super().__init__()
        self.counter = counter

    def forward(self, photographs: torch.Tensor) -> torch.Tensor:
        return self.counter.logits(photographs)
