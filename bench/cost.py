"""Photographs per second and per dollar of the CPU instance types that serve today.

    .local/venv/operator/bin/python -m bench.cost

Fill in ``usd_per_hour`` in ``bench/prices.csv`` first, from your region's price list; without a price the
per-dollar columns stay empty. Throughput is that of the default front in ``bench/fronts.csv`` at its highest
concurrency, for each core of the machine named there, times the vCPUs of the type: an estimate, as good as
a vCPU is like that core.
"""

import csv
import re

from bench import machine
from containers.serve.servers import DEFAULT_FRONT


def table(name: str) -> list[dict[str, str]]:
    with (machine.ROOT / "bench" / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def row(instance: dict[str, str], per_core: float) -> dict:
    """One instance type's throughput, and what a dollar buys at its price."""
    speed = per_core * int(instance["vcpus"])
    price = float(instance["usd_per_hour"] or 0)
    return {
        **instance,
        "photographs_per_second": f"{speed:.0f}",
        "photographs_per_dollar": f"{speed * 3600 / price:.0f}" if price else "",
        "usd_per_million": f"{price / (speed * 3600) * 1e6:.2f}" if price else "",
    }


def main() -> None:
    measured = max(
        (r for r in table("fronts") if r["front"] == DEFAULT_FRONT), key=lambda r: int(r["concurrency"])
    )
    cores = int(re.search(r"(\d+) cores", measured["machine"])[1])
    per_core = float(measured["photographs_per_second"]) / cores
    rows = [row(instance, per_core) for instance in table("prices")]
    for found in rows:
        print(found)
    machine.write("cost", rows, versions={"front": DEFAULT_FRONT})


if __name__ == "__main__":
    main()
