"""Whether a photograph at full size and its 224-pixel copy get the same count, over real pairs.

    .local/venv/serve/bin/python -m bench.agreement MODEL_FOLDER [PHOTOGRAPHS_FOLDER]

MODEL_FOLDER holds an unpacked artifact; PHOTOGRAPHS_FOLDER holds originals/ and bin-images/.
"""

import statistics
import sys
from pathlib import Path

import numpy as np

from bench import machine
from containers.common import card
from containers.common.graph import Graph
from tests import ABID


def main() -> None:
    folder = Path(sys.argv[1])
    photographs = Path(sys.argv[2]) if len(sys.argv) > 2 else ABID
    pairs = [
        (path, photographs / "bin-images" / path.name)
        for path in sorted((photographs / "originals").glob("*.jpg"))
    ]
    rows = []
    for file in (card.SERVED_GRAPH, card.FLOAT_GRAPH):
        graph = Graph(folder, file)
        full, small = (
            np.concatenate([graph(graph.prepare(pair[side].read_bytes())[None]) for pair in pairs])
            for side in (0, 1)
        )
        same = full.argmax(1) == small.argmax(1)
        rows.append({
            "model": graph.card.name, "graph": file, "pairs": len(pairs), "same_count": f"{same.mean():.4f}",
            "median_difference": f"{statistics.median(abs(full - small).max(1)):.4f}",
            "largest_difference": f"{abs(full - small).max():.4f}",
        })  # fmt: skip
        print(rows[-1])
    machine.write("agreement", rows, "onnxruntime", "pillow")


if __name__ == "__main__":
    main()
