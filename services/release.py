"""Makes the model trained last the one that ships, in models/: python -m services.release"""

import argparse
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from containers.common import card as cards
from containers.common.errors import ModelError
from services import artifacts, console, model
from services.aws import Aws
from services.settings import Settings

RECIPE = "recipe.json"
FILES = (cards.SERVED_GRAPH, cards.WEIGHTS, cards.FILE, cards.TRAINING, cards.REPORT, RECIPE)
EVALUATION = ("evaluation.json", "evaluation.html")
GRAPH_BYTES, FOLDER_BYTES = 6_000_000, 20_000_000
PICTURE = "data:image/jpeg"  # how a report holds a photograph


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.release", description=__doc__.split(":")[0])
    p.add_argument("--model", help="s3://…/model.tar.gz (default: of the last completed training job)")
    p.add_argument("--to", type=Path, default=artifacts.SHIPPED, help="the folder (default: models)")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> Path:
    """Returns the folder. Nothing in it is changed unless all of the artifact is fit to ship."""
    flags = parser().parse_args(arguments)
    aws = Aws(Settings.load())
    console.target(aws, flags.aws)
    uri = flags.model or artifacts.newest_trained(aws)
    if uri is None:
        raise ModelError("no training job has completed: run 'make train' and 'make evaluate' first")
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        fresh = Path(scratch)
        artifacts.fetch(aws, uri, fresh)
        card = cards.read(fresh)
        folder = evaluation_of(card, aws.settings.local)
        scores = json.loads((folder / EVALUATION[0]).read_text())
        dataclasses.replace(card, metrics={**card.metrics, "test": scores["metrics"]}).write(fresh)
        provenance = {"model": card.name, "fingerprint": card.data["fingerprint"], "job": uri.split("/")[-3]}
        (fresh / RECIPE).write_text(
            json.dumps({"hyperparameters": card.recipe, "provenance": provenance}, indent=2) + "\n"
        )
        check(fresh)
        flags.to.mkdir(exist_ok=True)
        for source, name in [(fresh, name) for name in FILES] + [(folder, name) for name in EVALUATION]:
            shutil.copyfile(source / name, flags.to / name)
    model.report(cards.read(flags.to), flags.to)
    return flags.to


def evaluation_of(card: cards.Card, local: Path) -> Path:
    """The folder of a model's last evaluation on the data set that it was trained on; raises ModelError
    where there is none."""
    documents = (local / "evaluations").glob(f"*/{EVALUATION[0]}")
    for document in sorted(documents, key=lambda path: path.stat().st_mtime, reverse=True):
        found = json.loads(document.read_text())
        if (found["model"], found["data"]["fingerprint"]) == (card.name, card.data["fingerprint"]):
            return document.parent
    raise ModelError(
        f"{card.name} has not been evaluated here, on the photographs that it was trained with: "
        "run 'make evaluate' first"
    )


def check(folder: Path) -> None:
    """Raises ModelError for an artifact that lacks a file, is too large, or holds a photograph."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"the artifact has no {missing[0]}: train it again")
    for what, size, limit in (
        (cards.SERVED_GRAPH, (folder / cards.SERVED_GRAPH).stat().st_size, GRAPH_BYTES),
        ("the artifact", sum((folder / name).stat().st_size for name in FILES), FOLDER_BYTES),
    ):
        if size > limit:
            raise ModelError(f"{what} has {size:,} bytes; what ships may have {limit:,}")
    if PICTURE in (folder / cards.REPORT).read_text():
        raise ModelError(
            f"{cards.REPORT} holds photographs: train with report_pictures=false; with "
            "the --checkpoints of the training that there was, this only writes its artifact anew"
        )


if __name__ == "__main__":
    raise SystemExit(console.run(main))
