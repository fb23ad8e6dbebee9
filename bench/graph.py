"""How long the graphs of an artifact take for one photograph, on one thread.

    .local/venv/serve/bin/python -m bench.graph [MODEL_FOLDER]

The folder defaults to models/. A photograph that is decoded and resized already goes in, probabilities come
out; decoding is measured in bench/fronts.py, with all the rest of a request.
"""

import sys
import time
from pathlib import Path

import numpy as np

from bench import machine
from containers.common import card
from containers.common.graph import Graph

WARM, RUNS = 50, 500


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else machine.ROOT / "models"
    rows = []
    for file in (card.SERVED_GRAPH, card.FLOAT_GRAPH):
        if (folder / file).exists():
            rows.append(measured(Graph(folder, file, threads=1), file))
            print(rows[-1])
    machine.write("graph", rows, "onnxruntime")


def measured(graph: Graph, file: str) -> dict:
    height, width = graph.card.input_size
    photograph = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    milliseconds = []
    for _ in range(WARM + RUNS):
        began = time.perf_counter()
        graph(photograph)
        milliseconds.append(1000 * (time.perf_counter() - began))
    low, median, high = np.quantile(milliseconds[WARM:], (0.1, 0.5, 0.9))
    return {
        "model": graph.card.name, "graph": file, "pixels": f"{width}x{height}", "runs": RUNS,
        "ms_p10": f"{low:.2f}", "ms_median": f"{median:.2f}", "ms_p90": f"{high:.2f}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
