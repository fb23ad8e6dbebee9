"""The trainer: photographs in class folders in, a model artifact out.

Run by torchrun under SageMaker's contract (``launch.py``), or alone: ``python train.py --epochs 2`` with
``SAGEMAKER_BASE_DIR`` and ``PYTHONPATH`` set. It reads top to bottom; the environment may distribute it.
"""

import containers.train.torchvision_cpu  # noqa: F401, I001  (before timm)

import math
import signal
import sys
import time
import traceback

import torch
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from containers.common import job, manifest, metrics, paths, recipe
from containers.common.errors import BinTallyError
from containers.train import (
    augmentation,
    checkpoint,
    data,
    depthwise,
    diagnostics,
    export,
    folding,
    hyperparameters,
    learner,
    lessons,
    material,
    network,
    report,
    scoring,
)
from containers.train.distributed import World, world
from containers.train.hyperparameters import Hyperparameters
from containers.train.teachers import Teachers


class Stopped(BinTallyError):
    """SIGTERM arrived; what was learnt so far is in the checkpoint."""


class Diverged(BinTallyError):
    """The loss is not a number any more."""


def train(hp: Hyperparameters, peers: World, stop: job.Stop) -> None:
    """Train by ``hp`` and, on rank 0, leave the artifact in the model folder.

    Raises Stopped, Diverged, DataError, ModelError or SettingsError.
    """
    torch.manual_seed(hp.seed)
    photographs = {
        split: data.Photographs(paths.channel(split), hp.input_size, hp.cache_megabytes)
        for split in ("train", "validation")
    }
    records = manifest.read(paths.channel("manifest") / manifest.FILE)
    manifest.check(records, photographs["train"].names + photographs["validation"].names)
    counter = network.Counter(network.create(hp)).to(peers.device)
    hold_frozen = network.freeze(counter.network, hp.frozen_stages)
    if hp.channels_last:
        counter = counter.to(memory_format=torch.channels_last)
    folded = folding.frozen(counter.network, hp)
    start = prepared = learner.copied(counter.network)

    epochs = lessons.epochs(hp)  # progress counts in them
    unbeaten = {"best_loss": math.inf, "best_epoch": 0}
    untouched = {"step": 0, "losses": 0.0, "seconds": 0.0}  # of the epoch; losses: the sum over its steps
    progress, kept_epochs = {"epoch": 0, **untouched, **unbeaten}, []
    teachers = Teachers(counter.network, hp)
    identity = checkpoint.identity(hp, records)
    state = checkpoint.load(paths.checkpoints(), identity)
    if state:
        progress, kept_epochs, prepared = state["progress"], state["kept_epochs"], state["prepared"]
        teachers.load_state_dict(state["teachers"])
    course = lessons.course(hp, progress["epoch"])
    lesson = material.of(course, photographs, records, hp, peers)
    steps = len(lesson.batches)
    this = learner.Learner(counter, hp, steps, course.epochs)
    if state:
        this.load_state_dict(state["this"])
        say(peers, f"resumed at epoch {progress['epoch'] + 1}, step {progress['step']}")
    watch = diagnostics.Watch(counter.network, hp, peers, steps, state and state["watch"])
    model = network.Logits(counter)
    if peers.size > 1:
        model = DistributedDataParallel(
            model,
            device_ids=[peers.device.index] if peers.device.type == "cuda" else None,
            forward_sync_buffers=False,  # or a rank would wait there for a slower one, unseen by the watch
        )

    def save() -> None:
        if peers.chief:
            checkpoint.save(
                paths.checkpoints(),
                {
                    "identity": identity,
                    "progress": progress,
                    "kept_epochs": kept_epochs,
                    "prepared": prepared,
                    "teachers": teachers.state_dict(),
                    "this": this.state_dict(),
                    "watch": watch.state(),
                },
            )

    say(
        peers,
        f"{hp.architecture} at {hp.input_size[0]} × {hp.input_size[1]} px: "
        f"{len(photographs['train'])} photographs to train on, {len(photographs['validation'])} to validate, "
        f"{peers.size} process(es) on {peers.device.type}",
    )
    while progress["epoch"] < epochs:
        epoch, began = progress["epoch"], time.perf_counter() - progress["seconds"]
        lesson.batches.start(epoch, progress["step"])
        model.train()
        hold_frozen()
        watch.lap("other")
        for images, chosen in lesson.loader:
            # Drawn by (seed, epoch, step, rank), so that a resumed epoch sees what it would have seen.
            draws = torch.Generator().manual_seed(
                ((hp.seed * 1009 + epoch) * 100_003 + progress["step"]) * 64 + peers.rank
            )
            images = augmentation.augment(images.to(peers.device, non_blocking=True), hp, draws)
            watch.lap("data")
            with scoring.autocast(hp, peers), depthwise.fast(peers.device, hp.precision):
                with teachers.attending(), folding.replaced(folded):
                    logits = model(images).float()
                loss = functional.cross_entropy(logits + lesson.shift[chosen], lesson.labelled[chosen])
                if course.teachers:  # of the bin, wherever the photograph is from
                    taught = functional.cross_entropy(logits, teachers.opinion(course.teachers))
                    loss = torch.lerp(loss, taught, hp.distillation)
            watch.lap("forward")
            if peers.any(not torch.isfinite(loss)):
                watch.diverged(epoch + 1, progress["step"])
                raise Diverged(
                    f"the loss is not finite at epoch {epoch + 1}, step {progress['step']}: "
                    "lower learning_rate, or use precision=float32"
                )
            this.zero_grad()
            watch.lap("other")  # the ranks have waited for each other
            loss.backward()
            watch.lap("backward")
            watch.sample(epoch + 1, progress["step"], loss)
            this.step((epoch - course.first) * steps + progress["step"])
            progress["losses"] += loss.item()
            watch.lap("update")
            progress["step"] += 1
            if peers.any(stop.asked):
                progress["seconds"] = time.perf_counter() - began
                save()
                raise Stopped(
                    f"stopped by SIGTERM at epoch {epoch + 1} of {epochs}, step "
                    f"{progress['step']} of {steps}; a checkpoint was written, the same job with it goes "
                    "on from there"
                )
            watch.step()
        speed = steps * hp.batch_size / (time.perf_counter() - began)
        train_loss = progress["losses"] / steps
        peers.share(this.averaged.module)  # normalisation statistics are each rank's own until here
        scores = scoring.evaluate(this.averaged.module, lesson.validation, hp, peers)
        watch.epoch(epoch + 1, train_loss, scores, this.learning_rate, speed)
        progress |= {"epoch": epoch + 1, **untouched}
        # Near ties alone move accuracy by a point; how sure a network is gets mended by its temperature.
        if scores["calibrated_loss"] < progress["best_loss"]:
            progress |= {"best_loss": scores["calibrated_loss"], "best_epoch": epoch + 1}
            this.keep()
        split = "rendered" if course.rendered else "validation"
        say(
            peers,
            f"epoch={epoch + 1}/{epochs} train_loss={train_loss:.4f} "
            f"{split}_loss={scores['loss']:.4f} {split}_accuracy={scores['accuracy']:.4f} "
            f"photographs_per_second={speed:.0f}",
        )
        if progress["epoch"] == epochs:
            kept_epochs.append(progress["best_epoch"])
        elif progress["epoch"] == course.end:  # the next network's turn
            kept_epochs.append(progress["epoch"])
            if course.rendered:
                prepared = learner.copied(this.averaged.module)
            else:
                teachers.add(this.averaged.module)
            progress |= unbeaten
            course = lessons.course(hp, progress["epoch"])
            counter.network.load_state_dict(prepared if course.prepared else start)
            lesson = material.of(course, photographs, records, hp, peers)
            this = learner.Learner(counter, hp, steps, course.epochs)
            watch.restart()
        save()

    counter.network.load_state_dict(export.stored(this.best))  # what is scored below is what is kept
    logits, truth = scoring.predict(counter.network, photographs["validation"], hp, peers)
    if peers.chief:
        accuracy = metrics.accuracy(logits.argmax(1).numpy(), truth.numpy())
        artifact, served = export.write(paths.model(), counter, hp, photographs, records, logits, kept_epochs)
        report.keep(paths.model(), watch.close(), photographs["validation"], records, served)
        report.write(paths.model(), photographs["validation"].files() if hp.report_pictures else None)
        say(
            peers,
            f"best_epoch={kept_epochs[-1]} best_validation_accuracy={accuracy:.4f} "
            f"int8_validation_accuracy={artifact.metrics['validation']['accuracy']['value']:.4f} "
            f"model={artifact.name}",
        )


def say(peers: World, text: str) -> None:
    if peers.chief:
        print(text, flush=True)


def main() -> int:
    stop = job.Stop()
    signal.signal(signal.SIGTERM, stop.ask)
    try:
        # A later argument wins: those that the job was given outdo the recipe of its channel.
        hp = hyperparameters.parse([*recipe.arguments(paths.channel("recipe")), *sys.argv[1:]])
        with world() as peers:
            train(hp, peers, stop)
    except BinTallyError as error:
        said = in_one_line(error)
        return job.failed(type(error)(said), f"{type(error).__name__}: {said}")
    except Exception as error:  # of several ranks each may leave a reason: any will do
        traceback.print_exc()
        reason = unforeseen(error)
        return job.failed(Exception(reason), reason) if reason else 1
    return 0


def in_one_line(error: Exception) -> str:
    """What it says first, before torch's advice to programmers; of a loader's worker's stack the end."""
    kind, lines = type(error), str(error).strip().splitlines() or ["no more is known"]
    said = lines[-1] if "Traceback" in str(error) else lines[0]
    return said.removeprefix(f"{kind.__module__}.").removeprefix(f"{kind.__qualname__}: ")


def unforeseen(error: Exception) -> str | None:
    """The reason of an error that is not ours; None where the connection to another rank broke: that one
    leaves the reason, or was killed, which the launcher explains."""
    said = str(error).lower()
    if isinstance(error, torch.distributed.DistBackendError) or "/gloo/" in said:
        return None
    signs = ("out of memory", "alloc_failed", "can't allocate memory", "signal: killed")  # of GPUs and CPUs
    scarce = isinstance(error, MemoryError) or any(sign in said for sign in signs)
    reason = f"{type(error).__name__}: {in_one_line(error)}"
    return f"{reason}; memory ran out: use a smaller batch_size or image_size" if scarce else reason


if __name__ == "__main__":
    sys.exit(main())
