"""Rules that watch a training: measurements in; what is wrong, in numbers, or nothing, out.

Each rule is a pure function of everything measured so far. Thresholds are far from what healthy runs
of small convolutional networks and transformers show, so that a rule that speaks is worth reading.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median

from containers.train.measurements import Measurements

LEARNING_EPOCHS, LEARNT = 4, 0.01  # after so many epochs the loss has fallen by this share at least
PATIENCE, WORSE = 3, 0.05  # so many epochs in a row, each worse than the best by this share
EXPLODED, STEEP = 100, 10  # times the usual norm; and a norm below STEEP harms nobody
VANISHED = 1e-4  # healthy networks: 0.05 to 25
SILENT = 0.3  # healthy networks: below 0.1
ONE_COUNT = 0.98  # share of validation photographs that are given the same count
LONG_ENOUGH = 5.0  # seconds of training in an epoch before its times are judged
WAITING = 0.3
IDLE = 0.5
GROWTH, GROWTH_MEGABYTES, GROWTH_EPOCHS = 0.1, 100, 5
UNEVEN = 1.3


@dataclass(frozen=True)
class Rule:
    """watches and advice are for people; check returns what was seen, or None."""

    name: str
    watches: str
    advice: str
    check: Callable[[Measurements], str | None]


RULES: list[Rule] = []


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def rule(watches: str, advice: str):
    """Make a rule of a function; it is called after it."""

    def register(check: Callable[[Measurements], str | None]):
        RULES.append(Rule(check.__name__, watches, advice, check))
        return check

    return register


@rule(
    "the training loss is a number, and so are the gradients",
    "lower learning_rate, or use precision=float32",
)
def not_a_number(seen: Measurements) -> str | None:
    if seen.not_finite:
        return "the loss was not finite at epoch {}, step {}".format(*seen.not_finite)
    if seen.samples and not math.isfinite(seen.samples[-1].gradient):
        return f"the gradient's norm was not finite at step {seen.samples[-1].step}"
    return None


@rule(
    f"within {LEARNING_EPOCHS} epochs the training loss falls by {_percent(LEARNT)} or more, and it does not "
    "climb again",
    "another learning_rate, ten times higher and ten times lower; check that the labels are right",
)
def loss_not_decreasing(seen: Measurements) -> str | None:
    losses = [epoch.train_loss for epoch in seen.epochs]
    if len(losses) < LEARNING_EPOCHS:
        return None
    lowest = min(losses)
    if lowest > losses[0] * (1 - LEARNT):
        return f"the training loss went from {losses[0]:.4f} to {lowest:.4f} at best in {len(losses)} epochs"
    if all(loss > lowest * (1 + 2 * WORSE) for loss in losses[-PATIENCE:]):
        at = seen.epochs[losses.index(lowest)].number
        return f"the training loss was {lowest:.4f} at epoch {at} and is {losses[-1]:.4f} again"
    return None


@rule(
    "the validation loss does not rise while the training loss falls",
    "fewer epochs, stronger augmentation, more weight_decay or drop_rate, or more photographs; the network "
    "that is kept has the weights of its best epoch, those trained before it have those of their last",
)
def overfitting(seen: Measurements) -> str | None:
    if len(seen.epochs) <= PATIENCE:
        return None
    best = min(seen.epochs, key=lambda epoch: epoch.validation_loss)
    last = seen.epochs[-1]
    rising = all(e.validation_loss > best.validation_loss * (1 + WORSE) for e in seen.epochs[-PATIENCE:])
    if rising and last.train_loss < best.train_loss:
        return (
            f"since epoch {best.number} the validation loss rose from {best.validation_loss:.4f} to "
            f"{last.validation_loss:.4f} while the training loss fell from {best.train_loss:.4f} to "
            f"{last.train_loss:.4f}"
        )
    return None


@rule(
    f"no gradient is {EXPLODED} times as large as is usual in this training",
    "lower learning_rate, longer warmup_epochs; look for damaged photographs",
)
def exploding_gradients(seen: Measurements) -> str | None:
    *earlier, last = [sample.gradient for sample in seen.samples] or [0.0]
    if len(earlier) < 3:
        return None
    usual = median(earlier)
    if last > STEEP and last > EXPLODED * usual:
        return f"the gradient's norm was {last:.3g} at step {seen.samples[-1].step}; usual is {usual:.3g}"
    return None


@rule(
    "the gradient reaches the first layers",
    "an architecture with normalisation and shortcuts, or pretrained=true",
)
def vanishing_gradients(seen: Measurements) -> str | None:
    recent = [sample.depth_ratio for sample in seen.samples[-PATIENCE:]]
    if len(recent) == PATIENCE and max(recent) < VANISHED:
        return (
            f"the gradient in the first quarter of the layers is {max(recent):.1e} of that in the last, at "
            f"{PATIENCE} sampled steps in a row"
        )
    return None


@rule(
    f"fewer than {_percent(SILENT)} of all units (channels of convolutions, outputs of linear layers) are "
    "dead: without any gradient at sampled steps in a row",
    "lower learning_rate, longer warmup_epochs, or an architecture whose activation never is flat",
)
def dead_units(seen: Measurements) -> str | None:
    if seen.samples and seen.samples[-1].silent > SILENT:
        return f"{_percent(seen.samples[-1].silent)} of the units had no gradient in any recent sample"
    return None


@rule(
    "the network gives more than one count",
    "lower learning_rate; if the counts in training are very uneven, balance them",
)
def class_collapse(seen: Measurements) -> str | None:
    recent = seen.epochs[-PATIENCE:]
    shares = [max(epoch.counted) / max(1, sum(epoch.counted)) for epoch in recent]
    given = {epoch.counted.index(max(epoch.counted)) for epoch in recent}
    if len(recent) == PATIENCE and min(shares) >= ONE_COUNT and len(given) == 1:
        return (
            f"for {PATIENCE} epochs at least {_percent(min(shares))} of the validation photographs were "
            "given one and the same count"
        )
    return None


@rule(
    f"waiting for photographs takes less than {_percent(WAITING)} of training",
    "a larger cache_megabytes so that all photographs are decoded once, more workers, a smaller image_size",
)
def slow_input(seen: Measurements) -> str | None:
    if not (seen.epochs and seen.epochs[-1].training_seconds >= LONG_ENOUGH):
        return None
    epoch = seen.epochs[-1]
    share = epoch.seconds["data"] / epoch.training_seconds
    if share > WAITING:
        return (
            f"{_percent(share)} of epoch {epoch.number} ({epoch.seconds['data']:.1f} of "
            f"{epoch.training_seconds:.1f} s) went into loading and augmenting photographs"
        )
    return None


@rule(
    f"the processor (the GPU where there is one) is used by more than {_percent(IDLE)} in training",
    "a larger batch_size; on a CPU see what else runs there; on a GPU see where a step's time goes",
)
def idle_processor(seen: Measurements) -> str | None:
    recent = [epoch for epoch in seen.epochs[-2:] if epoch.training_seconds >= LONG_ENOUGH]
    if len(recent) < 2:
        return None
    if all(epoch.gpu_use is not None for epoch in recent):
        use, what = mean(epoch.gpu_use for epoch in recent), "the GPU"
    elif recent[-1].gpu_megabytes is None:
        use, what = mean(epoch.processor_use for epoch in recent), "the processor's threads"
    else:  # a GPU whose use nobody can tell
        return None
    return f"{what} computed in {_percent(use)} of the time of the last two epochs" if use < IDLE else None


@rule(
    f"memory does not grow in {GROWTH_EPOCHS} epochs in a row",
    "something keeps what an epoch made: look for tensors with a graph, or lists that only grow",
)
def memory_growth(seen: Measurements) -> str | None:
    for kind in ("megabytes", "gpu_megabytes"):
        used = [getattr(epoch, kind) for epoch in seen.epochs[-GROWTH_EPOCHS - 1 :]]
        if len(used) <= GROWTH_EPOCHS or None in used:
            continue
        steadily = all(later > earlier for earlier, later in pairwise(used))
        if steadily and used[-1] - used[0] > max(GROWTH_MEGABYTES, GROWTH * used[0]):
            where = "on the GPU" if kind == "gpu_megabytes" else "in memory"
            return f"{used[0]:.0f} MB {where} became {used[-1]:.0f} MB in {GROWTH_EPOCHS} epochs"
    return None


@rule(
    f"no process needs more than {UNEVEN} times as long as is usual for its own part of a step",
    "instances of one type, with nothing else running on them; more workers on the slow one",
)
def uneven_ranks(seen: Measurements) -> str | None:
    if not (seen.epochs and seen.epochs[-1].training_seconds >= LONG_ENOUGH):
        return None
    seconds = seen.epochs[-1].rank_seconds
    slowest, others = max(seconds), median(sorted(seconds)[:-1] or seconds)
    if len(seconds) > 1 and slowest > UNEVEN * others:
        return (
            f"rank {seconds.index(slowest)} took {slowest:.1f} s for its photographs and its forward passes "
            f"of epoch {seen.epochs[-1].number}, the others {others:.1f} s: all wait for it"
        )
    return None
