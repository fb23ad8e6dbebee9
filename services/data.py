"""Obtains photographs, checks them, splits them by bin and uploads them: python -m services.data --help"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from botocore.exceptions import ClientError
from rich.table import Table

from containers.common import manifest
from containers.common.errors import DataError
from containers.common.manifest import COUNTS
from services import console, dataset, sources
from services.aws import Aws, in_threads
from services.dataset import Dataset
from services.settings import Settings


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.data", description=__doc__.split(":")[0])
    p.add_argument(
        "--source",
        required=True,
        help="abid (the public bucket), synthetic, or a folder with the bucket's layout",
    )
    p.add_argument("--file-list", type=Path, help='JSON, {"1": ["data/metadata/NAME.json", …], …}')
    p.add_argument("--extra-list", type=Path, help="more photographs in the same form, for training only")
    p.add_argument("--use-extra", action="store_true", help="train on the extras too")
    p.add_argument(
        "--sides-of",
        metavar="MANIFEST",
        help="photographs of this manifest.csv, or data set (s3://…), stay in training, validation or test",
    )
    p.add_argument("--limit", type=_positive, help="take the first N photographs of every count")
    p.add_argument("--photographs", type=_positive, default=2000, help="how many to render (default 2000)")
    p.add_argument("--seed", type=int, default=0, help="of the split and of synthetic bins (default 0)")
    p.add_argument(
        "--workers", type=_positive, default=os.cpu_count(), help="processes that check and render"
    )
    p.add_argument("--work", type=Path, help="folder for all files (default: one a source, in .local/data)")
    p.add_argument("--bucket", help="instead of the stack's, or where there is none SageMaker's default")
    p.add_argument("--no-upload", action="store_true", help="stop when the class folders are ready")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns what ``dataset.json`` says."""
    start = time.monotonic()
    flags = parser().parse_args(arguments)
    settings = Settings.load(flags)
    aws = Aws(settings)
    if flags.no_upload:
        print("target: this machine only, nothing is uploaded")
    else:
        console.target(aws, flags.aws)

    work = flags.work or settings.local / "data" / source_key(flags.source, flags.seed)
    work.mkdir(parents=True, exist_ok=True)
    earlier = earlier_rows(aws, flags.sides_of) if flags.sides_of else []
    summary_file = work / "dataset.json"
    summary_file.unlink(missing_ok=True)  # it vouches for everything below ``work``
    photographs = obtain(flags, settings, work / "raw")
    if flags.use_extra and not photographs.extra:
        raise DataError("--use-extra, but there are no extras: name their list with --extra-list")
    built = dataset.build(work, photographs, flags.use_extra, flags.seed, flags.workers, earlier)
    summary = {
        "fingerprint": built.fingerprint,
        "counts": built.counts,
        "set_aside": len(built.set_aside),
        "s3_uri": None if flags.no_upload else upload(aws, built),
        "account": None if flags.no_upload else aws.account,
        "seed": flags.seed,
        "source": flags.source,
    }
    summary_file.write_text(json.dumps(summary, indent=2) + "\n")
    report(built, summary, work, time.monotonic() - start)
    return summary


def obtain(flags: argparse.Namespace, settings: Settings, raw: Path) -> sources.Photographs:
    lists = flags.file_list, flags.extra_list, flags.limit
    if flags.source == "synthetic":
        return sources.rendered(raw, flags.photographs, flags.seed, flags.workers)
    if flags.source == "abid":
        return sources.abid(settings, raw, *lists, flags.use_extra)
    return sources.directory(Path(flags.source), *lists)


def earlier_rows(aws: Aws, place: str) -> list[manifest.Row]:
    """Of a manifest in a file, or of an uploaded data set at its S3 address; raises DataError."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / manifest.FILE
        try:
            if not place.startswith("s3://"):
                return manifest.read(Path(place))
            aws.download(f"{place.rstrip('/')}/{manifest.FILE}", file)
            return manifest.read(file)
        except (OSError, ClientError) as error:
            raise DataError(f"--sides-of {place}: {error}") from None


def source_key(source: str, seed: int) -> str:
    """The name of a source's work folder."""
    if source == "synthetic":
        return f"synthetic-{seed}"
    if source == "abid":
        return source
    folder = Path(source).resolve()
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"


def upload(aws: Aws, built: Dataset) -> str:
    """Put the data set under its fingerprint and return that address; what is there stays.

    The manifest goes last: where it is, everything is.
    """
    bucket = aws.default_bucket()
    prefix = f"{aws.settings.prefix}/data/{built.fingerprint[:16]}/"
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    there = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}
    files = {f"{prefix}{built.key(row)}": built.folder / built.key(row) for row in built.rows}
    wanted = [key for key, path in files.items() if there.get(key) != path.stat().st_size]

    def put(key: str) -> None:
        with files[key].open("rb") as body:
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="image/jpeg")

    if wanted:
        with console.progress("upload", len(wanted)) as advance:
            in_threads(put, wanted, advance)
    listed = built.manifest.read_bytes()
    s3.put_object(Bucket=bucket, Key=f"{prefix}manifest.csv", Body=listed, ContentType="text/csv")
    return f"s3://{bucket}/{prefix.rstrip('/')}"


def report(built: Dataset, summary: dict, work: Path, seconds: float) -> None:
    table = Table(title="photographs by recorded count")
    for heading in ("split", *map(str, COUNTS), "all"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for side, counts in built.counts.items():
        table.add_row(side, *(f"{n:,}" for n in counts.values()), f"{sum(counts.values()):,}")
    console.out.print(table)
    print(f"fingerprint  {summary['fingerprint']}")
    print(f"folder       {built.folder}")
    print(f"manifest     {built.manifest}")
    print(f"uploaded to  {summary['s3_uri'] or 'nowhere (--no-upload)'}")
    listed = f", listed in {work / 'set_aside.csv'}" if built.set_aside else ""
    print(f"set aside    {len(built.set_aside)}{listed}")
    print(f"seconds      {seconds:.1f}")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    raise SystemExit(console.run(main))
