"""How fast synthetic bins are rendered, in one process.

.local/venv/operator/bin/python -m bench.rendering
"""

import tempfile
import time
from pathlib import Path

from bench import machine
from containers.common import synthetic

PHOTOGRAPHS, RUNS = 300, 3
ALLOWED = 50  # photographs a second for each core, at least


def main() -> None:
    speeds = []
    for seed in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            synthetic.render_dataset(Path(folder), PHOTOGRAPHS, seed=seed, workers=1)
            speeds.append(PHOTOGRAPHS / (time.perf_counter() - began))
    print(speeds)
    row = {
        "photographs": PHOTOGRAPHS,
        "runs": RUNS,
        "slowest_photographs_per_second": f"{min(speeds):.0f}",
        "fastest_photographs_per_second": f"{max(speeds):.0f}",
        "allowed": ALLOWED,
    }
    machine.write("rendering", [row], "pillow", "numpy")


if __name__ == "__main__":
    main()
