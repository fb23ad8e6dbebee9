"""Photographs per second of the CPU instance types that serve today; 'make cost' makes dollars of it.

    .local/venv/operator/bin/python -m bench.cost

The types are those of ``infra/prices.csv``. Throughput is that of the default front in ``bench/fronts.csv``
at its highest concurrency, for each core of the machine named there, times the vCPUs of the type: an
estimate, as good as a vCPU is like that core.
"""

import csv
import re

from bench import machine
from containers.serve.servers import DEFAULT_FRONT


def table(path: str) -> list[dict[str, str]]:
    with (machine.ROOT / path).open(newline="") as stream:
        return list(csv.DictReader(stream))


def row(instance: dict[str, str], per_core: float) -> dict:
    """One instance type's throughput."""
    speed = per_core * int(instance["vcpus"])
    return {
        "instance_type": instance["instance_type"],
        "vcpus": instance["vcpus"],
        "photographs_per_second": f"{speed:.0f}",
    }


def main() -> None:
    measured = max(
        (r for r in table("bench/fronts.csv") if r["front"] == DEFAULT_FRONT),
        key=lambda r: int(r["concurrency"]),
    )
    cores = int(re.search(r"(\d+) cores", measured["machine"])[1])
    per_core = float(measured["photographs_per_second"]) / cores
    rows = [row(instance, per_core) for instance in table("infra/prices.csv")]
    for found in rows:
        print(found)
    machine.write("cost", rows, versions={"front": DEFAULT_FRONT})


if __name__ == "__main__":
    main()
