"""The trainer: photographs in class folders in, a model artifact out.

Run by torchrun under SageMaker's contract (``launch.py``), or alone: ``python train.py --epochs 2``
with ``SAGEMAKER_BASE_DIR`` set. It reads top to bottom; the environment decides whether it is
distributed.
"""

import containers.train.torchvision_cpu  # noqa: F401, I001  (before timm)

import dataclasses
import math
import signal
import sys
import threading
import time

import torch
from timm.utils import ModelEmaV3
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from containers.common import manifest, paths
from containers.common.errors import BinTallyError
from containers.train import (
    checkpoint,
    data,
    depthwise,
    diagnostics,
    export,
    hyperparameters,
    network,
    report,
    scoring,
)
from containers.train.distributed import World, world
from containers.train.hyperparameters import Hyperparameters


class Stopped(BinTallyError):
    """SIGTERM arrived; what was learnt so far is in the checkpoint."""


class Diverged(BinTallyError):
    """The loss is not a number any more."""


def train(hp: Hyperparameters, peers: World, stop: threading.Event) -> None:
    """Train by ``hp`` and, on rank 0, leave the artifact in the model folder.

    Raises Stopped, Diverged, DataError or SettingsError, on every rank alike.
    """
    torch.manual_seed(hp.seed)
    photographs = {
        split: data.Photographs(paths.channel(split), hp.image_size, hp.cache_megabytes)
        for split in ("train", "validation")
    }
    records = manifest.read(paths.channel("manifest") / manifest.FILE)
    batches = data.TrainingBatches(len(photographs["train"]), hp.batch_size, peers.rank, peers.size, hp.seed)
    loader = data.loader(photographs["train"], batches, hp)

    labels = photographs["train"].labels.to(peers.device)
    shift = data.prior_shift(photographs["train"], records).to(peers.device)

    counter = network.Counter(network.create(hp)).to(peers.device)
    hold_frozen = network.freeze(counter.network, hp.frozen_stages)
    if hp.channels_last:
        counter = counter.to(memory_format=torch.channels_last)
    averaged = ModelEmaV3(counter.network, decay=hp.ema_decay, use_warmup=True)
    optimizer = torch.optim.AdamW(parameter_groups(counter, hp), lr=hp.learning_rate, fused=True)
    steps = len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(hp, steps))
    autocast = torch.autocast(peers.device.type, torch.bfloat16, enabled=hp.precision == "bf16")

    progress = {"epoch": 0, "step": 0, "best_accuracy": -1.0, "best_loss": math.inf, "best_epoch": 0}
    best = averaged.module.state_dict()
    state = checkpoint.load(paths.checkpoints(), dataclasses.asdict(hp))
    if state:
        counter.network.load_state_dict(state["network"])
        averaged.module.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        progress, best = state["progress"], state["best"]
        say(peers, f"resumed at epoch {progress['epoch'] + 1}, step {progress['step']}")
    watch = diagnostics.Watch(counter.network, hp, peers, steps, state and state["watch"])
    model = Logits(counter)
    if peers.size > 1:
        model = DistributedDataParallel(
            model, device_ids=[peers.device.index] if peers.device.type == "cuda" else None
        )

    def save() -> None:
        if peers.chief:
            checkpoint.save(
                paths.checkpoints(),
                {
                    "recipe": dataclasses.asdict(hp),
                    "progress": progress,
                    "watch": watch.state(),
                    "best": best,
                    "network": counter.network.state_dict(),
                    "averaged": averaged.module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                },
            )

    say(
        peers,
        f"{hp.architecture} at {hp.image_size} px: {len(photographs['train'])} photographs to train on, "
        f"{len(photographs['validation'])} to validate, {peers.size} process(es) on {peers.device.type}",
    )
    while progress["epoch"] < hp.epochs:
        epoch, began, total = progress["epoch"], time.perf_counter(), 0.0
        batches.start(epoch, progress["step"])
        model.train()
        hold_frozen()
        watch.lap("other")
        for images, chosen in loader:
            # Drawn by (seed, epoch, step, rank), so that a resumed epoch sees what it would have seen.
            draws = torch.Generator().manual_seed(
                ((hp.seed * 1009 + epoch) * 100_003 + progress["step"]) * 64 + peers.rank
            )
            images = data.augment(images.to(peers.device, non_blocking=True), hp, draws)
            watch.lap("data")
            with autocast, depthwise.fast(peers.device, hp.precision):
                logits = model(images).float()
            loss = functional.cross_entropy(
                logits + shift[chosen], labels[chosen], label_smoothing=hp.label_smoothing
            )
            watch.lap("forward")
            if peers.any(not torch.isfinite(loss)):
                watch.diverged(epoch + 1, progress["step"])
                raise Diverged(
                    f"the loss is not finite at epoch {epoch + 1}, step {progress['step']}: "
                    "lower learning_rate, or use precision=float32"
                )
            optimizer.zero_grad(set_to_none=True)
            watch.lap("other")  # the ranks have waited for each other
            loss.backward()
            watch.lap("backward")
            watch.sample(epoch + 1, progress["step"], loss)
            optimizer.step()
            schedule.step()
            averaged.update(counter.network, step=epoch * steps + progress["step"])
            total += loss.item()
            watch.lap("update")
            progress["step"] += 1
            if peers.any(stop.is_set()):
                save()
                raise Stopped(
                    f"stopped by SIGTERM at epoch {epoch + 1} of {hp.epochs}, step {progress['step']} of "
                    f"{steps}; a checkpoint was written, the same job with it goes on from there"
                )
            watch.step()
        seen = steps - batches.first
        speed = seen * hp.batch_size / (time.perf_counter() - began)
        peers.share(averaged.module)  # normalisation statistics are each rank's own until here
        scores = scoring.evaluate(averaged.module, photographs["validation"], hp, peers)
        watch.epoch(epoch + 1, total / max(seen, 1), scores, schedule.get_last_lr()[0], speed)
        progress |= {"epoch": epoch + 1, "step": 0}
        if (scores["accuracy"], -scores["loss"]) > (progress["best_accuracy"], -progress["best_loss"]):
            progress |= {
                "best_accuracy": scores["accuracy"],
                "best_loss": scores["loss"],
                "best_epoch": epoch + 1,
            }
            best = {name: tensor.clone() for name, tensor in averaged.module.state_dict().items()}
        say(
            peers,
            f"epoch={epoch + 1}/{hp.epochs} train_loss={total / max(seen, 1):.4f} "
            f"validation_loss={scores['loss']:.4f} validation_accuracy={scores['accuracy']:.4f} "
            f"photographs_per_second={speed:.0f}",
        )
        save()

    counter.network.load_state_dict(best)
    logits, labels = scoring.predict(counter.network, photographs["validation"], hp, peers)
    if peers.chief:
        artifact, served = export.write(
            paths.model(), counter, hp, photographs, records, logits, labels, progress["best_epoch"]
        )
        report.keep(paths.model(), watch.close(), photographs["validation"], records, served)
        report.write(paths.model(), photographs["validation"].files() if hp.report_pictures else None)
        say(
            peers,
            f"best_epoch={progress['best_epoch']} best_validation_accuracy={progress['best_accuracy']:.4f} "
            f"int8_validation_accuracy={artifact.metrics['validation']['accuracy']['value']:.4f} "
            f"model={artifact.name}",
        )


class Logits(torch.nn.Module):
    """DDP calls ``forward``; in training that is the logits, not the calibrated probabilities."""

    def __init__(self, counter: network.Counter):
        super().__init__()
        self.counter = counter

    def forward(self, photographs: torch.Tensor) -> torch.Tensor:
        return self.counter.logits(photographs)


def parameter_groups(counter: network.Counter, hp: Hyperparameters) -> list[dict]:
    """Weight decay on matrices and kernels, none on biases and normalisation; the head at its own rate."""
    head = {id(p) for p in counter.network.get_classifier().parameters()}
    groups: dict[tuple[float, float], list] = {}
    for p in counter.parameters():
        if p.requires_grad:
            rate = hp.learning_rate * (hp.head_learning_rate if id(p) in head else 1)
            groups.setdefault((rate, hp.weight_decay if p.ndim > 1 else 0.0), []).append(p)
    return [{"params": group, "lr": lr, "weight_decay": decay} for (lr, decay), group in groups.items()]


def warmup_cosine(hp: Hyperparameters, steps_per_epoch: int):
    """Linear warm-up, then a cosine to zero at the last step."""
    warmup, last = hp.warmup_epochs * steps_per_epoch, hp.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, last - warmup))))

    return factor


def say(peers: World, text: str) -> None:
    if peers.chief:
        print(text, flush=True)


def main() -> int:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        hp = hyperparameters.parse(sys.argv[1:])
        with world() as peers:
            train(hp, peers, stop)
    except BinTallyError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        paths.failure().parent.mkdir(parents=True, exist_ok=True)
        paths.failure().write_text(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
