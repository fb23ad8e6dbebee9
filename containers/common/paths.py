"""SageMaker's container paths, resolved over ``SAGEMAKER_BASE_DIR`` (default ``/opt/ml``)."""

import os
from pathlib import Path


def base() -> Path:
    """The root of the contract: ``/opt/ml`` in a container, a job's own folder outside one."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def channel(name: str) -> Path:
    """Input data of one training channel."""
    return base() / "input" / "data" / name


def model() -> Path:
    """What is packed into ``model.tar.gz`` after training, and unpacked before serving."""
    return Path(os.environ.get("SM_MODEL_DIR") or base() / "model")


def output() -> Path:
    """``output/``; ``output/data`` is packed into ``output.tar.gz``."""
    return base() / "output"


def checkpoints() -> Path:
    """Synchronised with ``CheckpointConfig.S3Uri`` where the job has one."""
    return base() / "checkpoints"


def processing(*parts: str) -> Path:
    """A folder below a processing job's ``/opt/ml/processing``."""
    return base().joinpath("processing", *parts)


def failure() -> Path:
    """The file whose first kilobyte becomes the job's ``FailureReason``.

    ``BINTALLY_FAILURE_FILE`` names another file while sagemaker-training is the parent: it
    writes its own, wordier text to ``output/failure`` after ours, and ``launch`` puts ours back.
    """
    return Path(os.environ.get("BINTALLY_FAILURE_FILE") or output() / "failure")
