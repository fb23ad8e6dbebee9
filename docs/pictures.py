"""Draws the README's two pictures from what the last 'make demo' left in .local.

.local/venv/operator/bin/python docs/pictures.py
"""

import io
import json
import re
import sys
from pathlib import Path

from PIL import Image
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from services import console, predict  # noqa: E402  (after the path)

COLUMNS, ROWS, CELL = 6, 2, (240, 170)


def demo(summary: dict, target: Path) -> None:
    """The table of verdicts as a terminal shows it."""
    terminal = Console(record=True, width=76, file=io.StringIO())
    predictions = summary["predictions"]
    truth = ["right" if p["record_is_right"] else f"wrong: {p['true']}" for p in predictions]
    terminal.print(predict.table([(p["photograph"], p) for p in predictions], truth))
    low, high = summary["accuracy_ci"]
    terminal.print(
        f"accuracy on {summary['test_photographs']} test photographs: "
        f"{console.percent(summary['accuracy'], 1)} ({low * 100:.1f}–{high * 100:.1f}), "
        f"majority class {console.percent(summary['majority_baseline'], 1)}"
    )
    svg = terminal.export_svg(title="make demo")
    # No fonts are fetched from anywhere: a monospaced one of the reader's does.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    target.write_text(svg.replace("font-family: Fira Code", "font-family: monospace"))


def sheet(photographs: list[Path], target: Path) -> None:
    """Rendered bins side by side, at their own aspect."""
    picture = Image.new("RGB", (COLUMNS * CELL[0], ROWS * CELL[1]), "white")
    for index, path in enumerate(photographs[: COLUMNS * ROWS]):
        image = Image.open(path)
        image.thumbnail((CELL[0] - 6, CELL[1] - 6))
        left, top = index % COLUMNS * CELL[0], index // COLUMNS * CELL[1]
        picture.paste(image, (left + (CELL[0] - image.width) // 2, top + (CELL[1] - image.height) // 2))
    picture.save(target, quality=80)


def main() -> None:
    docs = ROOT / "docs"
    summary = json.loads((ROOT / ".local/demo/summary.json").read_text())
    assert summary["source"] == "synthetic", "real photographs are not ours to publish"
    demo(summary, docs / "demo.svg")
    sheet(sorted((ROOT / ".local/data/synthetic-0/raw/bin-images").glob("*.jpg")), docs / "synthetic.jpg")


if __name__ == "__main__":
    main()
