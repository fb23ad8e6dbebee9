"""Trains the shipped model again from the photographs, and compares: python -m services.reproduce"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from containers.common import card as cards
from containers.common import metrics
from containers.common.errors import ModelError
from services import artifacts, console, data, evaluate, release, train
from services.aws import Aws
from services.settings import Settings


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.reproduce", description=__doc__.split(":")[0])
    p.add_argument("--source", required=True, help="abid, synthetic, or a folder with the bucket's layout")
    p.add_argument("--file-list", type=Path, help="where it is another than the source's own")
    p.add_argument("--extra-list", type=Path, help="where it is another than the source's own")
    p.add_argument("--sides-of", help="the manifest that its data set was made with")
    p.add_argument("--without-extras", action="store_true", help="it was trained on the main list alone")
    p.add_argument("--photographs", type=int, help="how many to render (synthetic)")
    p.add_argument("--model", type=Path, default=artifacts.SHIPPED, help="the folder (default: models)")
    p.add_argument("--processes", type=int, help="training processes (default, on a CPU: as it had)")
    p.add_argument("--checkpoints", help="s3://… that the training resumes from and keeps checkpoints in")
    p.add_argument("--trained", help="s3://…/model.tar.gz of the same recipe: what is trained already")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns the evaluation; raises ModelError where its accuracy is outside the stated interval, or where
    there is nothing to reproduce."""
    flags = parser().parse_args(arguments)
    common = ["--aws"] if flags.aws else []
    shipped = cards.read(flags.model)
    if "test" not in shipped.metrics:
        raise ModelError(f"{shipped.name} states no test accuracy: 'make release' writes it")
    if flags.source == "synthetic" and not flags.photographs:
        raise ModelError(
            "name the photographs that it was trained on: make reproduce SOURCE=folder, or of rendered bins "
            'ARGS="--photographs N"'
        )
    stated = shipped.metrics["test"]["accuracy"]
    options = [] if flags.without_extras else ["--use-extra"]
    for option in ("photographs", "file_list", "extra_list", "sides_of"):
        if value := getattr(flags, option):
            options += [f"--{option.replace('_', '-')}", str(value)]
    dataset = data.main(["--source", flags.source, *options, *common])
    if dataset["fingerprint"] != shipped.data["fingerprint"]:
        raise ModelError(
            f"{shipped.name} was trained on other photographs (or another split of them): fingerprint "
            f"{shipped.data['fingerprint'][:8]}, here {dataset['fingerprint'][:8]}"
        )
    if flags.trained:
        _check(flags.trained, shipped)
    uri = flags.trained or _train(flags, dataset["s3_uri"], common)
    evaluation = evaluate.main(["--model", uri, "--data", dataset["s3_uri"], *common])
    found = evaluation["metrics"]["accuracy"]["value"]
    said = metrics.shown(stated, percent=True)
    words = f"accuracy {console.percent(found, 1)}; {shipped.name} states {said}"
    if not stated["low"] <= found <= stated["high"]:
        raise ModelError(f"not reproduced: {words}")
    console.out.print(f"reproduced: {words}")
    return evaluation


def _train(flags: argparse.Namespace, data_uri: str, common: list[str]) -> str:
    """The artifact's S3 address."""
    options = ["--recipe", str(flags.model / release.RECIPE), "--data", data_uri]
    if processes := flags.processes or _processes(flags.model):
        options += ["--processes", str(processes)]
    if flags.checkpoints:
        options += ["--checkpoints", flags.checkpoints]
    return train.main([*options, *common])["ModelArtifacts"]["S3ModelArtifacts"]


def _check(uri: str, shipped: cards.Card) -> None:
    """Raises ModelError for an artifact of another recipe or data set."""
    with tempfile.TemporaryDirectory(prefix="reproduce-") as scratch:
        artifacts.fetch(Aws(Settings.load()), uri, Path(scratch))
        trained = cards.read(Path(scratch))
    if trained.recipe != shipped.recipe or trained.data["fingerprint"] != shipped.data["fingerprint"]:
        raise ModelError(f"{uri} is of another recipe or data set than {shipped.name}: leave --trained out")


def _processes(model: Path) -> int | None:
    """As many as it was trained in, where both that was and this will be on a CPU."""
    if train.is_gpu(Settings.load().train_instance):
        return None
    training = json.loads((model / cards.TRAINING).read_text())
    return training["processes"] if training["device"] == "cpu" else None


if __name__ == "__main__":
    raise SystemExit(console.run(main))
