"""What is searched, and for how long: every hyperparameter of an exploration. Unknown names are errors."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import get_type_hints

from containers.common.duration import Seconds
from containers.common.errors import SettingsError
from containers.train.hyperparameters import Hyperparameters as TrainersOwn

BUDGET = Seconds(20 * 60)
PRETRAINED = ("yes", "no", "both")


@dataclass(frozen=True)
class Hyperparameters:
    """The defaults are the profile ``light``: what two cores can search in twenty minutes."""

    profile: str = "light"  # light, or wide for a GPU: the defaults of all but the budget
    budget: Seconds = BUDGET  # for everything, from the job's first second to its last
    architectures: tuple[str, ...] = (  # timm's names, in the order in which they are tried
        "tf_efficientnet_lite0",
        "resnet18",
        "mobilenetv3_small_100",
        "tf_efficientnet_lite1",
        "convnext_atto",
        "mobilenetv3_large_100",
    )
    image_sizes: tuple[int, ...] = (128,)  # pixels
    batch_sizes: tuple[int, ...] = (32, 64)
    learning_rates: tuple[float, ...] = (3e-4, 3e-3)  # lowest and highest
    pretrained: str = "yes"  # start from ImageNet weights: yes (where they can be had), no, or both in turn
    trials: int = 12  # at most, in the first round, beside the trainer's default
    subset: int = 800  # photographs of the first round; 0 is all
    subset_epochs: int = 2
    first_share: float = 0.4  # of the budget, after which no trial of the first round starts
    survivors: int = 1  # run again on all photographs, beside the trainer's default
    epochs: int = 5  # of the second round, at most: as many as the rest of the budget allows
    recipe_epochs: int = TrainersOwn.epochs  # written into the recipe: a search trains shorter than that
    seed: int = 0

    def __post_init__(self):
        low_high = self.learning_rates
        problems = [
            ("profile", self.profile in PROFILES, f"one of {', '.join(PROFILES)}"),
            ("architectures", bool(self.architectures), "at least one name"),
            ("image_sizes", all(size >= 32 for size in self.image_sizes), "at least 32 each"),
            ("batch_sizes", all(size >= 2 for size in self.batch_sizes), "at least 2 each"),
            (
                "learning_rates",
                len(low_high) == 2 and 0 < low_high[0] <= low_high[1],
                "the lowest and the highest, above 0",
            ),
            ("pretrained", self.pretrained in PRETRAINED, f"one of {', '.join(PRETRAINED)}"),
            ("trials", self.trials >= 1, "at least 1"),
            ("subset", self.subset >= 0, "a number of photographs, or 0 for all"),
            ("subset_epochs", self.subset_epochs >= 1, "at least 1"),
            ("first_share", 0 < self.first_share < 1, "between 0 and 1"),
            ("survivors", self.survivors >= 1, "at least 1"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("recipe_epochs", self.recipe_epochs >= 1, "at least 1"),
        ]
        for name, holds, rule in problems:
            if not holds:
                raise SettingsError(f"hyperparameter {name}={getattr(self, name)}: must be {rule}")


PROFILES: dict[str, dict] = {
    "light": {},
    "wide": {
        "architectures": (
            "resnet18",
            "tf_efficientnet_lite0",
            "convnext_atto",
            "mobilenetv3_large_100",
            "resnet34",
            "efficientnet_b0",
            "vgg11_bn",
            "convnext_nano",
            "tf_efficientnet_lite2",
            "resnet50",
            "mobilenetv3_small_100",
            "efficientnet_b2",
            "vgg16_bn",
            "convnext_tiny",
        ),
        "image_sizes": (128, 224, 288),
        "batch_sizes": (32, 64, 128),
        "learning_rates": (1e-4, 3e-3),
        "pretrained": "both",
        "trials": 56,
        "subset": 0,
        "subset_epochs": 4,
        "first_share": 0.6,
        "survivors": 4,
        "epochs": 16,
    },
}


def parse(values: Mapping[str, str]) -> Hyperparameters:
    """As SageMaker hands them over: names and strings; lists are comma-separated.

    Where ``trials`` is not among them, there is one for each architecture at least. Raises SettingsError
    for an unknown name or a value that cannot be read.
    """
    hints = get_type_hints(Hyperparameters)
    read = {}
    for name, text in values.items():
        if name not in hints:
            known = ", ".join(field.name for field in fields(Hyperparameters))
            raise SettingsError(f"unknown hyperparameter {name}; known: {known}")
        try:
            read[name] = READERS[hints[name]](text)
        except ValueError as error:
            raise SettingsError(f"hyperparameter {name}={text}: {error}") from None
    profile = PROFILES.get(read.get("profile", "light"), {})  # an unknown one is refused below
    hp = Hyperparameters(**{**profile, **read})
    return hp if "trials" in read else replace(hp, trials=max(hp.trials, len(hp.architectures)))


def _list(kind: type):
    def read(text: str) -> tuple:
        return tuple(kind(item.strip()) for item in text.split(",") if item.strip())

    return read


READERS = {
    str: str,
    int: int,
    float: float,
    Seconds: Seconds.parse,
    tuple[str, ...]: _list(str),
    tuple[int, ...]: _list(int),
    tuple[float, ...]: _list(float),
}
