"""The fronts of the serving image under the same requests: latency, throughput and memory of each.

    .local/venv/operator/bin/python -m bench.fronts MODEL_FOLDER [ROUNDS]

MODEL_FOLDER holds an unpacked artifact. Requests are real photographs at full size, over connections
that stay open, from threads of this process: it shares the machine's cores with the containers.
All fronts run at once and are asked in turn, round by round, so that the machine's drift falls on all
alike. ``handler`` is the handler alone, asked by as many threads inside the same image: what a front
takes beyond it is the front's own.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import machine
from containers.common import card as cards
from tests import ABID
from tests.engine import docker
from tests.images.containers import HARDENED, SERVING_IMAGES, Served

CONCURRENCY = (1, 4, 16)
REQUESTS = 240  # of a front, in one round at one concurrency
HANDLER = "handler"
ALONE = """
import json, pathlib, sys, time
from concurrent.futures import ThreadPoolExecutor
from containers.serve import handler
model = handler.load()
photographs = [path.read_bytes() for path in sorted(pathlib.Path("/photographs").glob("*.jpg"))]
def ask(index):
    began = time.perf_counter()
    [answer] = model.answer([(photographs[index % len(photographs)], "image/jpeg", "")])
    assert answer.status == 200
    return time.perf_counter() - began
print("ready: handler", flush=True)
for line in sys.stdin:
    threads, requests = map(int, line.split())
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        seconds = list(pool.map(ask, range(requests)))
        print(json.dumps([time.perf_counter() - began, seconds]), flush=True)
"""


VERSIONS = """
import json
from importlib.metadata import version
names = ("onnxruntime", "pillow", "flask", "waitress", "multi-model-server", "torchserve")
print(json.dumps({name: version(name) for name in names}))
"""


class Alone:
    """The handler without any front, driven over its standard input."""

    def __init__(self, model: Path):
        self.id = f"bintally-bench-{os.getpid()}"
        options = (
            *("run", "--rm", "-i", "--name", self.id, *HARDENED, "-v", f"{model}:/opt/ml/model:ro"),
            *("-v", f"{ABID / 'originals'}:/photographs:ro", "--entrypoint", "python"),
        )
        self._process = subprocess.Popen(
            ["docker", *options, "bintally-serve", "-c", ALONE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready: handler\n"

    def run(self, threads: int) -> tuple[float, list[float]]:
        """(seconds in all, seconds of each request)."""
        self._process.stdin.write(f"{threads} {REQUESTS}\n")
        self._process.stdin.flush()
        return tuple(json.loads(self._process.stdout.readline()))

    def remove(self) -> None:
        self._process.stdin.close()
        self._process.wait()


class Front:
    """A serving container, asked for all photographs in turn over open connections."""

    def __init__(self, front: str, model: Path, photographs: list[bytes]):
        self._served = Served(front, model, *HARDENED).until_ready()
        self.id = self._served.id
        self._photographs = photographs
        self._local = threading.local()

    def run(self, threads: int) -> tuple[float, list[float]]:
        """(seconds in all, seconds of each request)."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._ask, range(2 * threads)))  # connections, and a warm server
            began = time.perf_counter()
            seconds = list(pool.map(self._ask, range(REQUESTS)))
            return time.perf_counter() - began, seconds

    def _ask(self, index: int) -> float:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._served.connect()
        body = self._photographs[index % len(self._photographs)]
        began = time.perf_counter()
        self._local.connection.request("POST", "/invocations", body, {"Content-Type": "image/jpeg"})
        answer = self._local.connection.getresponse()
        answer.read()
        assert answer.status == 200
        return time.perf_counter() - began

    def remove(self) -> None:
        self._served.remove()


def memory(container: str) -> float:
    """Megabytes that a container uses, page cache aside."""
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container).stdout.split()[0]
    number, unit = re.fullmatch(r"([0-9.]+)([KMG]iB)", used).groups()
    return float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit] / 1e6


def measure(subjects: dict[str, Alone | Front], rounds: int) -> list[dict]:
    """A row for each subject and concurrency, over all rounds."""
    at_rest = {name: memory(subject.id) for name, subject in subjects.items()}
    latencies, seconds, under_load = defaultdict(list), defaultdict(float), {}
    for number in range(rounds):
        for threads in CONCURRENCY:
            for name, subject in subjects.items():
                with ThreadPoolExecutor(1) as beside:
                    sample = beside.submit(memory, subject.id) if number == 0 else None
                    took, each = subject.run(threads)
                    if sample:
                        under_load[name, threads] = sample.result()
                latencies[name, threads] += each
                seconds[name, threads] += took
                print(f"round {number + 1}: {name}, {threads} at once: {len(each) / took:.0f}/s", flush=True)
    rows = []
    for threads in CONCURRENCY:
        alone = quantiles(latencies[HANDLER, threads])
        for name in subjects:
            p50, p99 = quantiles(latencies[name, threads])
            rows.append({
                "front": name, "concurrency": threads, "requests": len(latencies[name, threads]),
                "p50_ms": f"{p50:.2f}", "p99_ms": f"{p99:.2f}",
                "overhead_p50_ms": f"{p50 - alone[0]:.2f}", "overhead_p99_ms": f"{p99 - alone[1]:.2f}",
                "photographs_per_second": f"{rounds * REQUESTS / seconds[name, threads]:.1f}",
                "ratio_to_handler": f"{seconds[HANDLER, threads] / seconds[name, threads]:.2f}",
                "memory_at_rest_mb": f"{at_rest[name]:.0f}",
                "memory_under_load_mb": f"{under_load[name, threads]:.0f}",
            })  # fmt: skip
    return rows


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """(p50, p99) in milliseconds."""
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=100)[98] * 1000


def main() -> None:
    model, rounds = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 4
    photographs = [path.read_bytes() for path in sorted((ABID / "originals").glob("*.jpg"))]
    subjects: dict[str, Alone | Front] = {}
    try:
        subjects[HANDLER] = Alone(model)
        for front in SERVING_IMAGES:
            subjects[front] = Front(front, model, photographs)
        rows = measure(subjects, rounds)
    finally:
        for subject in subjects.values():
            subject.remove()
    versions = json.loads(
        docker("run", "--rm", "--entrypoint", "python", "bintally-torchserve", "-c", VERSIONS).stdout
    )
    name = cards.read(model).name
    machine.write("fronts", [{"model": name, **row} for row in rows], versions=versions)


if __name__ == "__main__":
    main()
