"""Deletes everything that BinTally has on AWS, data and models too: python -m services.teardown --yes"""

import argparse
import json
from collections.abc import Sequence

from rich.table import Table

from containers.common.errors import ServiceError, SettingsError
from services import console, inventory
from services.aws import Aws
from services.settings import Settings

SHOWN = 4  # names of one kind, before "and more"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.teardown", description=__doc__.split(":")[0])
    p.add_argument("--stack", help="name of the stack")
    p.add_argument("--yes", action="store_true", help="really delete; nothing brings it back")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Raises SettingsError without ``--yes``, after showing what would go."""
    flags = parser().parse_args(arguments)
    settings = Settings.load(flags)
    aws = Aws(settings)
    console.target(aws, flags.aws)
    found = inventory.survey(aws)
    if not found:
        print("nothing of BinTally is there")
        return
    console.out.print(table(found))
    if not flags.yes:
        raise SettingsError("nothing was deleted: add ARGS=--yes to delete all of this, data and models too")
    for kind in inventory.KINDS:
        if names := kind.find(aws):  # again: what is stopped leaves objects and logs
            kind.delete(aws, names)
    forget_images(aws)
    if left := inventory.survey(Aws(settings)):
        raise ServiceError(f"still there: {', '.join(left)}; the same command goes on from here")
    print("deleted. Records of jobs and metrics cost nothing; logs of jobs stay, in /aws/sagemaker/")


def table(found: dict[str, list[str]]) -> Table:
    shown = Table("what", "how many", "names", title="what is there")
    shown.columns[1].justify = "right"
    shown.columns[2].overflow = "fold"  # an S3 address says nothing without its end
    for kind, names in found.items():
        more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        shown.add_row(kind, f"{len(names):,}", ", ".join(names[:SHOWN]) + more)
    return shown


def forget_images(aws: Aws) -> None:
    """What was pushed to repositories that are gone must not be used again."""
    file = aws.settings.images
    if file.exists():
        known = json.loads(file.read_text())
        known.pop(f"{aws.account}/{aws.region}", None)
        file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    raise SystemExit(console.run(main))
