"""Entry point of the training image: sagemaker-training's ``train``, with the three things it lacks.

It launches torchrun but leaves it orphaned on SIGTERM, which is how SageMaker stops a job: here the
signal goes to torchrun, which ends its workers properly. It writes a wordy failure file of its
own over ours: here the trainer's one line is put back. And of a trainer that was killed it says "ExitCode 1":
here what that means in most cases is said before it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from containers.common import paths

TRAINER = Path(__file__).with_name("train.py")
WITHOUT_A_REASON = (
    "the training ended without a reason of its own; where its log says SIGKILL, memory ran out: use a "
    "smaller batch_size, image_size or cache_megabytes, or an instance type with more memory; "
    "with --checkpoints the same job goes on from its last epoch"
)


def resources() -> dict[str, str]:
    """Environment variables about processors and memory that the trainer is fastest with."""
    return {
        # As it is without; but torchrun, which knows of no trainer that takes its share, does not warn.
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        # What a step computes is as large as what the step before did. Given back to the kernel in between,
        # it comes anew in 100,000 pages of zeros for each step of efficientnet-lite0 at 224 x 320 px.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
    }


def main() -> int:
    code = paths.base() / "code"
    code.mkdir(parents=True, exist_ok=True)
    if not any(code.iterdir()):  # a user's own script, where there is one, is left in place
        shutil.copy(TRAINER, code / TRAINER.name)
    with tempfile.TemporaryDirectory(prefix="bintally-") as scratch:
        reason = Path(scratch) / "failure"
        environment = {
            "SAGEMAKER_PROGRAM": TRAINER.name,
            "SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main",
            "BINTALLY_FAILURE_FILE": str(reason),
            **resources(),
            **os.environ,
        }
        toolkit = subprocess.Popen(["train"], env=environment)
        signal.signal(signal.SIGTERM, lambda *_: stop(toolkit.pid))
        status = toolkit.wait()
        failure = paths.failure()
        failure.parent.mkdir(parents=True, exist_ok=True)
        if reason.exists():  # the toolkit calls some of torchrun's ends by a signal a success
            status = status or 1
            shutil.copy(reason, failure)
        elif status:
            wordy = failure.read_text() if failure.exists() else ""
            failure.write_text(f"{WITHOUT_A_REASON}\n{wordy}")
    return status if status >= 0 else 128 - status


def stop(toolkit: int) -> None:
    """SIGTERM to torchrun, or to the lone trainer; to the toolkit itself while it has not started either."""
    children = psutil.Process(toolkit).children()
    launched = [p for p in children if any(part.endswith(("torchrun", TRAINER.name)) for part in p.cmdline())]
    for process in launched or [psutil.Process(toolkit)]:
        process.terminate()


if __name__ == "__main__":
    sys.exit(main())
