"""A data set that a tiny network learns in seconds: grey photographs with 1 to 5 bright squares."""

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from containers.common import manifest
from tests import ROOT

TRAIN_PYTHON = ROOT / ".local" / "venv" / "train" / "bin" / "python"
TINY = ["--architecture", "resnet10t", "--image_size", "32", "--batch_size", "20", "--warmup_epochs", "0.5"]


def photograph(count: int, seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Squares on a grid, so that they never touch."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(40, 90, (size[1], size[0], 3), dtype=np.uint8)
    for cell in draw.permutation(9)[:count]:
        top, left = cell // 3 * (size[1] // 3) + 4, cell % 3 * (size[0] // 3) + 4
        pixels[top : top + size[1] // 5, left : left + size[0] // 5] = 220
    return Image.fromarray(pixels)


def write(data: Path, sizes: dict[str, int], seed: int = 0) -> Path:
    """Channels ``<split>/<count>/NAME.jpg`` with ``sizes[split]`` photographs, and their manifest.

    seed: of the first photograph; each further one has the next.
    """
    rows = []
    for split, size in sizes.items():
        for index in range(size):
            count, name = index % 5 + 1, f"{split}{index:05}"
            path = data / split / str(count) / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photograph(count, seed + len(rows)).save(path, quality=90)
            rows.append((name, count, split))
    write_manifest(data, rows)
    return data


def write_manifest(data: Path, rows: list[tuple[str, int, str]]) -> None:
    """(name, count, split) of photographs that lie below ``data``, each a bin of its own."""
    records = []
    for name, count, split in rows:
        path = data / split / str(count) / f"{name}.jpg"
        width, height = Image.open(path).size
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        records.append(manifest.Row(name, count, split, name, width, height, digest))
    (data / "manifest").mkdir(parents=True, exist_ok=True)
    manifest.write(data / "manifest" / manifest.FILE, records)


def base(folder: Path, train: int = 100, validation: int = 43) -> Path:
    """A job's base directory, laid out as SageMaker does. 43 is no multiple of any batch."""
    write(folder / "input" / "data", {"train": train, "validation": validation})
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What a trainer in ``folder`` sees: neither this shell's job variables nor its launcher's."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SM_", "SAGEMAKER_", "BINTALLY_"))}
    return {
        **inherited,
        "SAGEMAKER_BASE_DIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{TRAIN_PYTHON.parent}:{os.environ['PATH']}",
    }


def train(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run the trainer alone, without launcher or torchrun."""
    return subprocess.run(
        [TRAIN_PYTHON, ROOT / "containers" / "train" / "train.py", *TINY, *arguments],
        env=environment(folder),
        cwd=folder,
        check=check,
        capture_output=True,
        text=True,
    )
