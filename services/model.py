"""Fetches a trained model and unpacks it, to be looked at or served by hand: python -m services.model"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from containers.common import card
from services import artifacts, console
from services.aws import Aws
from services.settings import Settings


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.model", description=__doc__.split(":")[0])
    p.add_argument("--model", help=artifacts.HELP)
    p.add_argument("--to", type=Path, help="the folder, which is replaced (default: model below .local)")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> Path:
    """Returns the folder. It appears whole or stays as it was; raises ModelError for no artifact of ours."""
    flags = parser().parse_args(arguments)
    settings = Settings.load()
    aws = Aws(settings)
    console.target(aws, flags.aws)
    uri = artifacts.resolve(aws, flags.model)
    folder: Path = flags.to or settings.local / "model"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="model-") as scratch:
        fresh = Path(scratch) / "model"
        fresh.mkdir()
        artifacts.fetch(aws, uri, fresh)
        found = card.read(fresh)
        fresh.chmod(0o755)  # whoever serves it may read it
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    report(found, folder)
    return folder


def report(found: card.Card, folder: Path) -> None:
    table = Table(title=found.name)
    table.add_column("file")
    table.add_column("megabytes", justify="right")
    for path in sorted(folder.iterdir()):
        table.add_row(path.name, f"{path.stat().st_size / 1e6:.2f}")
    console.out.print(table)
    print(f"unpacked to {folder}")


if __name__ == "__main__":
    raise SystemExit(console.run(main))
