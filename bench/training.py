"""Trainer throughput: float32 against bf16, one process against two, of the default network and of the one
that ships, which its recipe has wider and with its first stages frozen.

    .local/venv/train/bin/python -m bench.training

Each row is the second epoch of a whole trainer process under torchrun, with what the launcher sets; the first
one warms up. Ratios are within this run: to float32 with one process, of the same network and size.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from bench import machine
from containers.train import launch
from tests import ROOT, squares

PHOTOGRAPHS, EPOCHS, BATCH = 256, 2, 64
NETWORKS = (  # architecture, height and width in pixels, frozen stages
    ("resnet10t", 128, 128, 0),
    ("tf_efficientnet_lite0", 224, 224, 0),
    ("tf_efficientnet_lite0", 224, 320, 3),
)
SPEED = re.compile(r"photographs_per_second=(\d+)")


def measure(base: Path, processes: int, **hyperparameters) -> int:
    """Photographs a second."""
    for leftover in (base / "checkpoints").glob("*"):
        leftover.unlink()
    hyperparameters |= {"epochs": EPOCHS, "batch_size": BATCH}
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
        for architecture, height, width, frozen in NETWORKS:
            reference = None
            for precision, channels_last in (("float32", False), ("bf16", True)):
                for processes in (1, 2):
                    settings = {
                        "architecture": architecture, "image_size": height, "image_width": width,
                        "frozen_stages": frozen, "precision": precision, "channels_last": channels_last,
                    }  # fmt: skip
                    speed = measure(base, processes, **settings)
                    reference = reference or speed
                    rows.append(settings | {
                        "processes": processes, "photographs_per_second": speed,
                        "ratio": f"{speed / reference:.2f}",
                    })  # fmt: skip
                    print(rows[-1], flush=True)
    machine.write("training", rows, "torch", "timm")


if __name__ == "__main__":
    main()
