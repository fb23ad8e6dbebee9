"""Every hyperparameter of the trainer, its default and its meaning. Unknown names are errors."""

import argparse
import math
from dataclasses import MISSING, dataclass, fields
from typing import get_type_hints

from containers.common.errors import SettingsError

SEEDS = 2**31  # what is drawn from a seed, an epoch, a step and a rank fits into torch's 64 bits


@dataclass(frozen=True)
class Hyperparameters:
    """As SageMaker hands them over: ``--name value``, all strings."""

    architecture: str = "resnet10t"  # any timm name
    pretrained: bool = False  # start from ImageNet weights
    frozen_stages: int = 0  # first stages of the network, by timm's feature_info, that stay as they start
    image_size: int = 128  # pixels, height and width
    image_width: int = 0  # pixels, where it is another than the height; 0: it is not
    epochs: int = 16
    rendered_epochs: int = 0  # before, of bins that are drawn, as many as photographs, new ones in each epoch
    teachers: int = 0  # networks trained before, each in another order, that the one that is kept learns from
    teacher_epochs: int = 0  # of each that learns from labels alone; 0: as many as epochs
    generations: int = 1  # of teachers: each later one is of two, taught, like the last network, by others
    distillation: float = 0.9  # share of the loss that is about what teachers say, not about labels
    batch_size: int = 64  # over all processes together
    learning_rate: float = 2e-3  # AdamW's peak, after warm-up
    head_learning_rate: float = 1.0  # of the classifier, as a multiple of that
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    decay: float = 1.0  # epochs in which the learning rate falls to zero, as a multiple of those trained
    label_smoothing: float = 0.1
    mirror: bool = False  # count the mirror image, too, and average: twice the work of an answer
    drop_rate: float = 0.0  # dropout before the classifier
    ema_decay: float = 0.995  # of the averaged weights, which are the ones evaluated and kept
    flip: bool = True  # mirror left and right
    shift: float = 0.06  # largest shift, as a share of the image's side
    scale: float = 0.0  # largest change of height, and of width, as a share
    rotation: float = 0.0  # largest turn, in degrees
    colour: float = 0.0  # largest change of red, of green and of blue, as a share
    brightness: float = 0.2  # largest change of brightness and of contrast, as a share
    precision: str = "bf16"  # bf16 (autocast) or float32
    channels_last: bool = True
    seed: int = 0
    workers: int = 2  # decoding processes, where the photographs do not fit in cache_megabytes
    cache_megabytes: int = 2048  # decoded photographs kept in memory by each process
    false_alarm_rate: float = 0.05  # that the verdict 'mismatch' is fitted for
    missed_error_rate: float = 0.05  # that the verdict 'match' is fitted for
    torchscript: bool = False  # export model.ts as well
    report_pictures: bool = True  # photographs in report.html, which otherwise names them
    profile_steps: int = 0  # training steps, after a warm-up, that torch.profiler records

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of what the network sees, in pixels."""
        return self.image_size, self.image_width or self.image_size

    def __post_init__(self):
        problems = [
            ("image_size", self.image_size >= 32, "at least 32"),
            ("image_width", self.image_width == 0 or self.image_width >= 32, "0, or at least 32"),
            ("frozen_stages", self.frozen_stages >= 0, "at least 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("rendered_epochs", self.rendered_epochs >= 0, "at least 0"),
            ("teachers", self.teachers >= 0, "at least 0"),
            ("teacher_epochs", self.teacher_epochs >= 0, "at least 0"),
            ("generations", self.generations >= 1, "at least 1"),
            ("generations", self.teachers > 0 or self.generations == 1, "1 without teachers"),
            ("distillation", 0 <= self.distillation <= 1, "from 0 to 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("head_learning_rate", self.head_learning_rate > 0, "above 0"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("warmup_epochs", self.warmup_epochs >= 0, "at least 0"),
            ("decay", self.decay >= 1, "at least 1"),
            ("drop_rate", 0 <= self.drop_rate < 1, "from 0 to below 1"),
            ("shift", 0 <= self.shift < 1, "from 0 to below 1"),
            ("scale", 0 <= self.scale < 1, "from 0 to below 1"),
            ("rotation", 0 <= self.rotation <= 180, "from 0 to 180"),
            ("colour", 0 <= self.colour <= 1, "from 0 to 1"),
            ("brightness", 0 <= self.brightness <= 1, "from 0 to 1"),
            ("precision", self.precision in ("bf16", "float32"), "bf16 or float32"),
            ("ema_decay", 0 <= self.ema_decay < 1, "from 0 to below 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("false_alarm_rate", 0 < self.false_alarm_rate < 1, "between 0 and 1"),
            ("missed_error_rate", 0 < self.missed_error_rate < 1, "between 0 and 1"),
            ("seed", 0 <= self.seed < SEEDS, f"from 0 to below {SEEDS}"),
            ("workers", self.workers >= 0, "at least 0"),
            ("cache_megabytes", self.cache_megabytes >= 0, "at least 0"),
            ("profile_steps", self.profile_steps >= 0, "at least 0"),
        ]
        problems += [
            (name, math.isfinite(value), "a finite number")
            for name, value in vars(self).items()
            if isinstance(value, float)
        ]
        for name, holds, rule in problems:
            if not holds:
                raise SettingsError(f"hyperparameter {name}={getattr(self, name)}: must be {rule}")


def parse(arguments: list[str]) -> Hyperparameters:
    """Raises SettingsError for an unknown name or a value that cannot be read."""
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    hints = get_type_hints(Hyperparameters)
    for field in fields(Hyperparameters):
        assert field.default is not MISSING
        kind = _boolean if hints[field.name] is bool else hints[field.name]
        parser.add_argument(
            f"--{field.name}", f"--{field.name.replace('_', '-')}", type=kind, default=field.default
        )
    try:
        values, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise SettingsError(f"hyperparameter {error}") from None
    if unknown:
        known = ", ".join(f.name for f in fields(Hyperparameters))
        raise SettingsError(f"unknown hyperparameter {unknown[0].lstrip('-')}; known: {known}")
    return Hyperparameters(**vars(values))


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(text)
