"""Trainer throughput: two architectures, two sizes, float32 against bf16, one process against two.

    .local/venv/train/bin/python -m bench.training

Each row is the second epoch of a whole trainer process under torchrun; the first one warms up. Ratios
are within this run: to float32 with one process, of the same network and size.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from bench import machine
from containers.train import launch
from tests import ROOT, squares

PHOTOGRAPHS, EPOCHS, BATCH = 192, 2, 64
SPEED = re.compile(r"photographs_per_second=(\d+)")


def measure(
    base: Path, architecture: str, size: int, precision: str, channels_last: bool, processes: int
) -> int:
    """Photographs a second."""
    for leftover in (base / "checkpoints").glob("*"):
        leftover.unlink()
    hyperparameters = {
        "architecture": architecture,
        "image_size": size,
        "precision": precision,
        "channels_last": channels_last,
        "epochs": EPOCHS,
        "batch_size": BATCH,
    }
    run = subprocess.run(
        [
            squares.TRAIN_PYTHON.with_name("torchrun"),
            *("--nproc_per_node", str(processes), "--master_port", "29512"),
            ROOT / "containers" / "train" / "train.py",
            *(text for name, value in hyperparameters.items() for text in (f"--{name}", str(value))),
        ],
        env=launch.resources() | squares.environment(base),
        check=True,
        capture_output=True,
        text=True,
    )
    return int(SPEED.findall(run.stdout)[-1])


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base = squares.base(Path(folder), train=PHOTOGRAPHS, validation=20)
        for architecture in ("resnet10t", "tf_efficientnet_lite0"):
            for size in (128, 224):
                reference = None
                for precision, channels_last in (("float32", False), ("bf16", True)):
                    for processes in (1, 2):
                        speed = measure(base, architecture, size, precision, channels_last, processes)
                        reference = reference or speed
                        rows.append({
                            "architecture": architecture, "image_size": size, "precision": precision,
                            "channels_last": channels_last, "processes": processes,
                            "photographs_per_second": speed, "ratio": f"{speed / reference:.2f}",
                        })  # fmt: skip
                        print(rows[-1], flush=True)
    machine.write("training", rows, "torch", "timm")


if __name__ == "__main__":
    main()
