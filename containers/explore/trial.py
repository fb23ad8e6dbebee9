"""One trial: a network trained by AutoGluon and scored on validation.

A process of its own (``python -m containers.explore.trial FOLDER``), so that nothing that happens to it,
a crash or a killed process included, reaches the search. ``FOLDER/trial.json`` says what to do, and
``FOLDER/result.json`` is what came of it.
"""

import containers.train.torchvision_cpu  # noqa: F401, I001  (before timm and AutoGluon)

import json
import os
import sys
import time
import traceback
from pathlib import Path

import pandas
import torch

from containers.common import paths
from containers.common.files import write_whole
from containers.explore import backbone, photographs
from containers.explore.space import Trial
from containers.train.hyperparameters import Hyperparameters as TrainersOwn

WORKERS = min(8, len(os.sched_getaffinity(0)))  # decoding processes


def main(folder: Path) -> None:
    request = json.loads((folder / "trial.json").read_text())
    try:
        result = run(Trial(**request["trial"]), request["seed"], request["train_until"], folder)
    except Exception as error:  # whatever it is, it is this trial's alone
        traceback.print_exc()
        lines = str(error).strip().splitlines()
        result = {"reason": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"}
    write_whole(folder / "result.json", json.dumps(result))


def run(trial: Trial, seed: int, until: float, folder: Path) -> dict:
    """Train, ``until`` (as ``time.time`` counts) at the latest, then score.

    Returns: ``{"accuracy", "log_loss", "pretrained", "photographs_per_second", "finished", "reason"}``,
    with the network as it was at its last step: none of its epochs is chosen by validation.
    """
    torch.manual_seed(seed)
    missing = backbone.write(folder / "backbone", trial.architecture, trial.pretrained, trial.image_size)
    from autogluon.multimodal import MultiModalPredictor  # slow; an architecture is refused before it

    train = photographs.subset(photographs.listed(paths.channel("train")), trial.photographs, seed)
    train, validation = _frame(train), _frame(photographs.listed(paths.channel("validation")))
    predictor = MultiModalPredictor(
        label="count",
        problem_type="multiclass",
        eval_metric="accuracy",
        path=str(folder / "predictor"),
        verbosity=2,
        enable_progress_bar=False,
    )
    began = time.perf_counter()
    predictor.fit(
        train,
        tuning_data=validation,
        hyperparameters=settings(trial, folder / "backbone"),
        column_types={"photograph": "image_path"},
        time_limit=max(1.0, until - time.time()),
        seed=seed,
        standalone=False,
        clean_ckpts=True,
    )
    fitted = time.perf_counter() - began
    finished = time.time() < until  # AutoGluon does not tell whether it ran out of time
    scores = predictor.evaluate(validation, metrics=["accuracy", "log_loss"])
    return {
        "accuracy": float(scores["accuracy"]),
        "log_loss": float(scores["log_loss"]),
        "pretrained": trial.pretrained and not missing,
        "photographs_per_second": trial.epochs * trial.photographs / fitted if finished else None,
        "finished": finished,
        "reason": missing,
    }


def settings(trial: Trial, checkpoint: Path) -> dict:
    """AutoGluon's hyperparameters, with what is not searched as the trainer has it."""
    own = TrainersOwn()
    light = {"brightness": own.brightness, "contrast": own.brightness}
    shift = {"degrees": 0, "translate": (own.shift, own.shift)}
    resize = ["resize_to_square"]
    return {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": str(checkpoint),
        "model.timm_image.train_transforms": [
            *resize,
            *(["random_horizontal_flip"] if own.flip else []),
            f"affine({shift})",
            f"color_jitter({light})",
        ],
        "model.timm_image.val_transforms": resize,
        "optim.lr": trial.learning_rate,
        "optim.lr_choice": "single_stage",
        "optim.lr_schedule": "cosine_decay",
        "optim.warmup_steps": own.warmup_epochs / own.epochs,
        "optim.weight_decay": own.weight_decay,
        "optim.label_smoothing": own.label_smoothing,
        "optim.max_epochs": trial.epochs,
        "optim.check_val_every_n_epoch": trial.epochs + 1,  # scored once, at its end
        "env.batch_size": trial.batch_size,
        "env.per_gpu_batch_size": trial.batch_size,
        "env.precision": "bf16-mixed",  # AutoGluon takes float32 where there is no GPU
        "env.num_gpus": min(1, torch.cuda.device_count()),
        "env.num_workers": WORKERS,
        "env.num_workers_inference": WORKERS,
    }


def _frame(rows: list[photographs.Photograph]) -> pandas.DataFrame:
    return pandas.DataFrame(rows, columns=["photograph", "count"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
