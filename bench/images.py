"""The container images: their sizes, and seconds from ``docker run`` to the first answer.

    .local/venv/operator/bin/python -m bench.images MODEL_FOLDER [RUNS]

MODEL_FOLDER holds an unpacked artifact. Sizes are over the base image, in megabytes. A start of the
serving image is over when a real photograph has been answered through its port; one of the function,
when it has answered about the same photograph by asking an endpoint that was warm. Starts of all
kinds take turns.
"""

import base64
import statistics
import sys
import time
from pathlib import Path

from bench import machine
from tests import ABID
from tests.engine import docker, has
from tests.images.containers import HARDENED, SERVING_IMAGES, Endpoint, Function, Served
from tests.images.test_contents import BASE, BUDGETS, megabytes_over_base

ALLOWED_SECONDS = {"flask": 2.0, "mms": 5.0, "function": 1.0}
ABSENT = "not built"


def sizes() -> list[dict]:
    rows = []
    for kind, budget in {**BUDGETS, "torchserve": ""}.items():
        image = f"bintally-{kind}"
        megabytes = f"{megabytes_over_base(image):.0f}" if has(image) else ABSENT
        rows.append({"image": image, "megabytes_over_base": megabytes, "allowed": budget, "base": BASE})
    return rows


def start_serving(front: str, model: Path, photograph: bytes) -> float:
    began = time.perf_counter()
    served = Served(front, model, *HARDENED)
    try:
        while served.ask("/invocations", photograph, "image/jpeg")[0] != 200:
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        served.remove()


def start_function(endpoint: Endpoint, event: dict) -> float:
    began = time.perf_counter()
    function = Function(endpoint, *HARDENED)
    try:
        _, answer = function.ask(event)
        assert "count" in answer, answer
        return time.perf_counter() - began
    finally:
        function.remove()


def starts(model: Path, runs: int) -> list[dict]:
    photograph = min((ABID / "originals").glob("*.jpg")).read_bytes()
    event = {"image": base64.b64encode(photograph).decode(), "expected": 3}
    warm = Served("flask", model, *HARDENED).until_ready()
    endpoint = Endpoint(warm)
    seconds: dict[str, list[float]] = {name: [] for name in (*SERVING_IMAGES, "function")}
    try:
        for number in range(runs + 1):
            for name, measured in seconds.items():
                if name == "function":
                    took = start_function(endpoint, event)
                else:
                    took = start_serving(name, model, photograph)
                print(f"{name}: {took:.2f} s", flush=True)
                if number:  # the first start reads the image from the disk
                    measured.append(took)
    finally:
        warm.remove()
        endpoint.close()
    return [
        {
            "what": name,
            "runs": runs,
            "median_seconds": f"{statistics.median(measured):.2f}",
            "slowest_seconds": f"{max(measured):.2f}",
            "allowed": ALLOWED_SECONDS.get(name, ""),
        }
        for name, measured in seconds.items()
    ]


def main() -> None:
    model, runs = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    engine = {"Docker engine": docker("version", "--format", "{{.Server.Version}}").stdout.strip()}
    machine.write("images", sizes(), versions=engine)
    machine.write("cold_start", starts(model, runs), versions=engine)


if __name__ == "__main__":
    main()
