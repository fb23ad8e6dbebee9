"""Experiments with the recipe on real photographs, chosen on validation; each run adds a row to recipes.csv.

    .local/venv/train/bin/python -m bench.recipes .local/data/abid-… twins "a term on twins" twins=0.5 seed=1

The folder is what ``make data ARGS=--use-extra`` leaves, with metadata/ beside the photographs in SOURCE.
Options are the trainer's hyperparameters, but for ``REFUSED``, and those of ``Options``: what was tried and
is not in the trainer, since it did not help. One process on one thread, so that several can run side by side.
Rows of the trainer itself, of means of networks and of a GPU were added by hand, as their column ``what``
says; ``affine`` is now ``scale`` and ``rotation``.
"""

import csv
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench import machine
from containers.common import manifest, metrics
from containers.train import augmentation, data, depthwise, network, scoring
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters
from containers.train.learner import Learner
from tests import ABID

TABLE = Path(__file__).with_suffix(".csv")
BASE = Hyperparameters(
    architecture="tf_efficientnet_lite0", pretrained=True, frozen_stages=3, image_size=160, epochs=3,
    batch_size=24, learning_rate=6e-4, head_learning_rate=3.0, warmup_epochs=0.5, drop_rate=0.2,
    ema_decay=0.998,
)  # fmt: skip
# The trainer's alone: an experiment would ignore them, and its row would claim what was not tried.
REFUSED = {
    "teachers", "teacher_epochs", "generations", "rendered_epochs", "distillation", "mirror", "precision",
    "channels_last", "workers", "torchscript", "report_pictures", "profile_steps", "false_alarm_rate",
    "missed_error_rate",
}  # fmt: skip
DIFFERENCES = 9  # of two counts: -4..4
ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))  # of a column's name, and what it holds


@dataclass(frozen=True)
class Options:
    """Ideas beyond the trainer; zero or false turns one off."""

    extras: bool = True  # train on extra_list.json, too
    source_shift: bool = True  # data.prior_shift
    twins: float = 0.0  # weight of the loss of a head that tells by how much two photographs of a bin differ
    metadata: float = 0.0  # weight of the loss of a head that tells volume, weight and kinds of items
    mixup: float = 0.0  # Zhang et al. 2018: alpha of Beta(alpha, alpha)
    cutmix: float = 0.0  # Yun et al. 2019, by vertical strips
    ordinal: float = 0.0  # width in counts of soft labels around the true one


def experiment(folder: Path, hp: Hyperparameters, options: Options) -> dict:
    """Train once and score the last weights on validation, by themselves and with the mirror image."""
    torch.set_num_threads(1)
    torch.manual_seed(hp.seed)
    peers = World(0, 1, torch.device("cpu"))
    records = {row.name: row for row in manifest.read(folder / manifest.FILE)}
    training, validation = (
        data.Photographs(folder / "dataset" / side, hp.input_size, hp.cache_megabytes)
        for side in ("train", "validation")
    )
    used = [
        index
        for index, name in enumerate(training.names)
        if options.extras or records[name].source == manifest.MAIN
    ]
    shift = data.prior_shift(training, list(records.values()))
    counter = network.Counter(network.create(hp)).to(memory_format=torch.channels_last)
    hold = network.freeze(counter.network, hp.frozen_stages)
    heads = Heads(counter.network.num_features)
    # The heads follow the optimizer as part of the network; nothing of them is exported.
    counter.network.add_module("experiment", heads)
    steps = len(used) // hp.batch_size
    learner = Learner(counter, hp, steps, hp.epochs)
    bins = in_bins(used, training, records)
    facts = item_facts(training) if options.metadata else None
    draws, order = torch.Generator().manual_seed(hp.seed), np.random.default_rng(hp.seed)
    for epoch in range(hp.epochs):
        counter.train()
        hold()
        # Photographs of one bin come one after the other, so that most twins meet in a batch.
        queue = [index for place in order.permutation(len(bins)) for index in bins[place]]
        for step in range(steps):
            chosen = queue[step * hp.batch_size : (step + 1) * hp.batch_size]
            pixels = augmentation.augment(training.__getitems__(chosen)[0], hp, draws)
            labels = training.labels[chosen]
            target = soft(labels, hp.label_smoothing, options.ordinal)
            moved = shift[chosen] if options.source_shift else torch.zeros(len(chosen), len(network.CLASSES))
            pixels, (target, moved) = mixed(pixels, (target, moved), options, order)
            with torch.autocast("cpu", torch.bfloat16), depthwise.fast(peers.device, hp.precision):
                features = counter.network.forward_features(normalised(counter, pixels))
                pooled = counter.network.forward_head(features, pre_logits=True).float()
            logits = counter.network.get_classifier()(pooled)
            loss = -(target * (logits + moved).log_softmax(1)).sum(1).mean()
            if options.twins:
                groups = [records[training.names[index]].group for index in chosen]
                loss = loss + options.twins * heads.twin_loss(pooled, labels, groups)
            if options.metadata:
                loss = loss + options.metadata * heads.fact_loss(pooled, facts[chosen])
            learner.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(counter.parameters(), 5.0)
            learner.step(epoch * steps + step)
    names = [records[name].group for name in validation.names]
    scores = {}
    for kind, mirror in (("", False), ("mirror_", True)):
        logits, labels = scoring.predict(
            learner.averaged.module, validation, replace(hp, mirror=mirror), peers
        )
        probabilities = torch.softmax(logits / scoring.fit_temperature(logits, labels), 1).numpy()
        found = metrics.score(probabilities, np.asarray(network.CLASSES)[labels], network.CLASSES, names)
        for name in ("accuracy", "log_loss", "rmse"):
            scores |= {f"{kind}{name}{end}": found[name][key] for end, key in ENDS}
    return {name: f"{value:.4f}" for name, value in scores.items()}


class Heads(nn.Module):
    """What twins and metadata are learnt by."""

    def __init__(self, features: int):
        super().__init__()
        self.facts = nn.Linear(features, 3)
        self.difference = nn.Sequential(nn.Linear(2 * features, 128), nn.ReLU(), nn.Linear(128, DIFFERENCES))

    def twin_loss(self, pooled: torch.Tensor, labels: torch.Tensor, groups: list[str]) -> torch.Tensor:
        """Cross-entropy of the difference in count of neighbours in the batch that are of one bin."""
        pairs = [i for i in range(len(groups) - 1) if groups[i] == groups[i + 1]]
        if not pairs:
            return pooled.sum() * 0
        one, other = torch.tensor(pairs), torch.tensor(pairs) + 1
        change = pooled[one] - pooled[other]
        guess = self.difference(torch.cat([change, change.abs()], 1))
        middle = DIFFERENCES // 2
        truth = labels[one] - labels[other] + middle
        return functional.cross_entropy(guess, truth, label_smoothing=0.1, reduction="sum") / len(groups)

    def fact_loss(self, pooled: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        known = ~facts[:, 0].isnan()
        return functional.smooth_l1_loss(self.facts(pooled[known]), facts[known]) if known.any() else 0.0


def normalised(counter: network.Counter, pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(0, 3, 1, 2) * counter.scale + counter.offset


def in_bins(used: list[int], training: data.Photographs, records: dict[str, manifest.Row]) -> list[list[int]]:
    bins: dict[str, list[int]] = {}
    for index in sorted(used, key=lambda i: (len(training.names[i]), training.names[i])):
        bins.setdefault(records[training.names[index]].group, []).append(index)
    return list(bins.values())


def item_facts(training: data.Photographs) -> torch.Tensor:
    """Log volume, log weight and kinds of the items of each photograph, standardised; NaN where unknown."""
    rows = torch.full((len(training), 3), math.nan)
    for index, name in enumerate(training.names):
        try:
            items = json.loads((ABID / "metadata" / f"{name}.json").read_bytes())["BIN_FCSKU_DATA"].values()
            sizes = [
                i["quantity"] * math.prod(i[side]["value"] for side in ("length", "width", "height"))
                for i in items
            ]
            weights = [i["quantity"] * i["weight"]["value"] for i in items]
            rows[index] = torch.tensor([math.log(sum(sizes)), math.log(sum(weights)), float(len(items))])
        except (OSError, KeyError, TypeError, ValueError):
            continue
    known = rows[~rows[:, 0].isnan()]
    return (rows - known.mean(0)) / known.std(0)


def soft(labels: torch.Tensor, smoothing: float, width: float) -> torch.Tensor:
    """Labels as distributions ``[n, classes]``: smoothed, or a bell of some width around the true count."""
    if width:
        distance = torch.arange(len(network.CLASSES))[None] - labels[:, None]
        return (-(distance.float() ** 2) / (2 * width**2)).softmax(1)
    classes = len(network.CLASSES)
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def mixed(pixels: torch.Tensor, rest: tuple, options: Options, order: np.random.Generator) -> tuple:
    """Mixup or cutmix of a batch with itself; ``rest`` are rows that are mixed in the same shares."""
    if not (options.mixup or options.cutmix):
        return pixels, rest
    partner = torch.from_numpy(order.permutation(len(pixels)))
    share = float(order.beta(options.mixup or options.cutmix, options.mixup or options.cutmix))
    if options.mixup:
        pixels = share * pixels + (1 - share) * pixels[partner]
    else:
        width = pixels.shape[2]
        strip = int(width * (1 - share))
        left = int(order.integers(0, width - strip + 1))
        pixels = pixels.clone()
        pixels[:, :, left : left + strip] = pixels[partner][:, :, left : left + strip]
        share = 1 - strip / width
    return pixels, tuple(share * row + (1 - share) * row[partner] for row in rest)


def main() -> None:
    folder, name, what, *pairs = sys.argv[1:]
    given = dict(pair.split("=", 1) for pair in pairs)
    hp, options = (_read(kind, given) for kind in (BASE, Options()))
    if given:
        raise SystemExit(f"unknown option {next(iter(given))}")
    began = time.monotonic()
    scores = experiment(Path(folder), hp, options)
    changed = {
        k: v for k, v in (asdict(hp) | asdict(options)).items() if (asdict(BASE) | asdict(Options()))[k] != v
    }
    row = {
        "name": name, "what": what, "changed": " ".join(f"{k}={v}" for k, v in changed.items()),
        "seed": hp.seed, **scores, "minutes": f"{(time.monotonic() - began) / 60:.1f}",
        **machine.describe("torch", "timm"),
    }  # fmt: skip
    fresh = not TABLE.exists()
    with TABLE.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=row, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    print(row)


def _read(defaults, given: dict[str, str]):
    """The options of ``defaults``' kind, taken out of ``given``."""
    hints = get_type_hints(type(defaults))
    known = [f.name for f in fields(defaults) if f.name in given and f.name not in REFUSED]
    cast = {name: (lambda t: t.lower() == "true") if hints[name] is bool else hints[name] for name in known}
    return replace(defaults, **{name: cast[name](given.pop(name)) for name in known})


if __name__ == "__main__":
    main()
