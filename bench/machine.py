"""What a figure was measured on: the last columns of every table in this folder."""

import csv
import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def describe(*packages: str, versions: dict[str, str] | None = None) -> dict[str, str]:
    """Date, commit, processor, cores, and the versions of the packages that matter to the figure.

    versions: of what runs elsewhere, by name; ``packages`` are looked up in this environment.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    found = dict(versions or {})
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": date.today().isoformat(),
        "commit": commit,
        "machine": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "versions": "; ".join(
            [f"Python {platform.python_version()}", *(f"{name} {number}" for name, number in found.items())]
        ),
    }


def write(name: str, rows: list[dict], *packages: str, versions: dict[str, str] | None = None) -> Path:
    """Replace ``bench/<name>.csv`` by these rows, each with the machine behind it; see ``describe``."""
    about = describe(*packages, versions=versions)
    path = ROOT / "bench" / f"{name}.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=[*rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    print(f"written to {path}")
    return path
