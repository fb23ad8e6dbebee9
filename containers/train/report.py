"""``report.html`` of an artifact: how its training went, and how it counts the validation photographs.

    python -m containers.train.report --model FOLDER [--photographs FOLDER]

makes it again from the artifact alone; with the photographs it shows the worst mistakes, without them
it names them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from containers.common import card as cards
from containers.common import manifest
from containers.common.errors import BinTallyError, DataError, ModelError
from containers.train import mistakes, report_sections
from containers.train.data import Photographs
from containers.train.page import Fact, render

DIGITS = 4  # of the probabilities that are kept


def keep(
    folder: Path,
    diagnostics: dict,
    validation: Photographs,
    records: Sequence[manifest.Row],
    probabilities: np.ndarray,
) -> None:
    """Write ``training.json``: the diagnostics, and what the served graph says of each validation photograph.

    probabilities: float ``[n, classes]`` in the order of ``validation``.
    """
    bins = {row.name: row.group for row in records}
    classes = cards.read(folder).classes
    rows = [
        [name, bins[name], classes[label], *(round(float(p), DIGITS) for p in row)]
        for name, label, row in zip(validation.names, validation.labels.tolist(), probabilities, strict=True)
    ]
    predictions = {"columns": ["name", "bin", "count", *(f"p{n}" for n in classes)], "rows": rows}
    document = diagnostics | {"validation": predictions}
    (folder / cards.TRAINING).write_text(json.dumps(document, separators=(",", ":")) + "\n")


def write(folder: Path, photographs: Mapping[str, Path] | None = None, page: Path | None = None) -> Path:
    """Write ``report.html``, or ``page``, from ``training.json`` and the card; returns its path.

    photographs: files by name, of the worst mistakes at least. Raises ModelError where the artifact is
    not whole, PhotographError where a photograph is damaged.
    """
    card = cards.read(folder)
    try:
        training = json.loads((folder / cards.TRAINING).read_text())
        predictions = report_sections.Predictions.read(training["validation"], card.classes)
    except FileNotFoundError:
        raise ModelError(
            f"{folder / cards.TRAINING} is missing: the artifact cannot be reported on"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / cards.TRAINING} is damaged: {error!r}") from None
    wrong = mistakes.worst(predictions.names, predictions.true, predictions.probabilities, card.classes)
    pictures = mistakes.pictures(folder, wrong, photographs) if photographs else ""
    fired = [rule for rule in training["rules"] if rule["fired"]]
    scores = card.metrics["validation"]
    *before, last = card.metrics["kept_epochs"]
    facts = [
        Fact("exact counts, validation", *_interval(scores["accuracy"], 100, "{:.1f} %")),
        Fact("RMSE", *_interval(scores["rmse"], 1, "{:.3f}")),
        Fact("rules that spoke", f"{len(fired)} of {len(training['rules'])}", _names(fired)),
        Fact("epoch kept", f"{last} of {len(training['epochs'])}", _earlier(before)),
    ]
    text = render(
        f"Training of {card.name}",
        report_sections.sections(card, training, predictions, wrong, pictures),
        lead=f"{card.recipe['architecture']} at {card.input_size[0]} × {card.input_size[1]} px, trained on "
        f"{card.data['train']:,} photographs and validated on {card.data['validation']:,}; "
        f"{training['processes']} × {training['device']}, finished {card.created[:16].replace('T', ' ')} UTC",
        facts=facts,
    )
    path = page or folder / cards.REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _interval(score: Mapping, factor: float, form: str) -> tuple[str, str]:
    value, low, high = (form.format(score[key] * factor) for key in ("value", "low", "high"))
    return value, f"{low} to {high}"


def _names(rules: Sequence[Mapping]) -> str:
    return ", ".join(report_sections.words(rule["name"]) for rule in rules)


def _earlier(epochs: Sequence[int]) -> str:
    return f"of networks before it: {', '.join(map(str, epochs))}" if epochs else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m containers.train.report", description=__doc__.split(":")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an unpacked artifact")
    parser.add_argument("--to", type=Path, help="the page (default: report.html of the artifact)")
    parser.add_argument(
        "--photographs", type=Path, help="folder, at any depth, of the validation photographs"
    )
    flags = parser.parse_args(arguments)
    try:
        print(write(flags.model, find(flags.photographs) if flags.photographs else None, flags.to))
    except (BinTallyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def find(folder: Path) -> dict[str, Path]:
    """Photographs by name at any depth; raises DataError where there is none."""
    suffixes = (".jpg", ".jpeg", ".png")
    found = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes}
    if not found:
        raise DataError(f"no photographs below {folder}: expected NAME.jpg at any depth")
    return found


if __name__ == "__main__":
    sys.exit(main())
