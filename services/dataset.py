"""Turns obtained photographs into a data set: checked, split by bin, in class folders, with a manifest."""

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

from containers.common import manifest, photograph, splitting
from containers.common.errors import DataError
from containers.common.files import write_whole
from containers.common.manifest import COUNTS, Row
from containers.common.parallel import in_processes
from services import console
from services.sources import Photographs

CHUNK = 64  # photographs that a checking process takes at a time


@dataclass(frozen=True)
class Dataset:
    """A finished data set on this machine: ``folder/{train,validation,test}/{1..5}/NAME.jpg``."""

    folder: Path
    manifest: Path
    rows: list[Row]
    set_aside: dict[str, str]  # reason by name

    @staticmethod
    def key(row: Row) -> str:
        """Where a photograph lies, below ``folder`` and below its address in S3 alike."""
        return f"{row.split}/{row.count}/{row.name}.jpg"

    @cached_property
    def fingerprint(self) -> str:
        return manifest.fingerprint(self.rows)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Photographs by side and count; keys are strings, as JSON has them."""
        tally = Counter((row.split, row.count) for row in self.rows)
        return {side: {str(count): tally[side, count] for count in COUNTS} for side in splitting.RATIOS}


@dataclass(frozen=True)
class Checked:
    """What is known of a photograph's file; ``error`` is empty when it decodes."""

    size: int  # bytes
    mtime_ns: int
    width: int = 0
    height: int = 0
    sha256: str = ""
    error: str = ""


def build(
    work: Path,
    photographs: Photographs,
    use_extra: bool,
    seed: int,
    workers: int,
    earlier: Sequence[Row] = (),
) -> Dataset:
    """Write ``dataset/``, ``manifest.csv`` and ``set_aside.csv`` below ``work``.

    earlier: of a data set whose photographs are to stay on their side.

    Bins are found over both lists, whether the extras are used or not, so that the main list comes
    out in the same split either way. Raises DataError when no photograph is usable.
    """
    wanted = photographs.main | (photographs.extra if use_extra else {})
    checked = _check(work / "checked.json", photographs, list(wanted), workers)
    set_aside = {name: checked[name].error for name in wanted if checked[name].error}
    usable = {name: count for name, count in photographs.main.items() if name not in set_aside}
    if not usable:
        _write_set_aside(work / "set_aside.csv", set_aside)
        raise DataError(f"not one usable photograph below {photographs.folder}: see {work / 'set_aside.csv'}")

    group_of = splitting.groups([*photographs.main, *photographs.extra], photographs.asins())
    sides = splitting.split(usable, group_of, seed, {row.name: row.split for row in earlier})
    if use_extra:
        extras = [name for name in photographs.extra if name not in set_aside]
        admitted, left_out = splitting.admitted(extras, sides, group_of)
        sides |= dict.fromkeys(admitted, "train")
        set_aside |= dict.fromkeys(left_out, "an extra whose bin is in validation or test")
    rows = sorted(
        Row(name, wanted[name], side, group_of[name], file.width, file.height, file.sha256, source)
        for name, side in sides.items()
        for file, source in [(checked[name], manifest.MAIN if name in photographs.main else manifest.EXTRA)]
    )
    dataset = Dataset(work / "dataset", work / "manifest.csv", rows, set_aside)
    _write_set_aside(work / "set_aside.csv", set_aside)
    _class_folders(dataset, photographs)
    manifest.write(dataset.manifest, rows)
    return dataset


def _check(cache: Path, photographs: Photographs, names: list[str], workers: int) -> dict[str, Checked]:
    """Decode every photograph whose file has changed since ``cache`` was written, in processes."""
    known = {}
    if cache.exists():
        known = {name: Checked(*values) for name, values in json.loads(cache.read_bytes()).items()}
    checked, stale = {}, []
    for name in names:
        try:
            stat = photographs.image(name).stat()
        except FileNotFoundError:
            checked[name] = Checked(0, 0, error="missing")
            continue
        entry = known.get(name)
        if entry and (entry.size, entry.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            checked[name] = entry
        else:
            stale.append(name)
    if stale:
        paths = [photographs.image(name) for name in stale]
        with console.progress("check", len(stale)) as advance:
            results = in_processes(check_photograph, paths, workers, CHUNK)
            for name, result in zip(stale, results, strict=True):
                checked[name] = result
                advance(1)
        # what this run did not ask for is kept: the extras, for the next run that uses them
        write_whole(cache, json.dumps({name: astuple(entry) for name, entry in (known | checked).items()}))
    return checked


def check_photograph(path: Path) -> Checked:
    """Decode a photograph fully, as serving would."""
    stat = path.stat()
    facts = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    content = path.read_bytes()
    try:
        width, height = photograph.decode(content).size
    except photograph.PhotographError as error:
        return Checked(**facts, error=str(error))
    return Checked(**facts, width=width, height=height, sha256=hashlib.sha256(content).hexdigest())


def _class_folders(dataset: Dataset, photographs: Photographs) -> None:
    """Make the folders hold exactly the rows' photographs, byte for byte; what is right stays."""
    wanted = {dataset.folder / dataset.key(row): row for row in dataset.rows}
    for side in splitting.RATIOS:
        for count in COUNTS:
            (dataset.folder / side / str(count)).mkdir(parents=True, exist_ok=True)
    present = {path for path in dataset.folder.rglob("*") if not path.is_dir()}
    for path in present - wanted.keys():
        path.unlink()
    for path, row in wanted.items():
        source = photographs.image(row.name)
        if path not in present or not _same_file(source, path):
            _link(source, path)


def _same_file(source: Path, path: Path) -> bool:
    """A hard link to ``source``, or a copy made of it as it is now."""
    one, other = source.stat(), path.stat()
    return os.path.samestat(one, other) or (
        (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    )


def _link(source: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(source.resolve())
    except OSError:  # another file system
        shutil.copy2(source, path)


def _write_set_aside(path: Path, set_aside: dict[str, str]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("name", "reason"))
        writer.writerows(sorted(set_aside.items()))
