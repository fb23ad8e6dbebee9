"""Obtains photographs: from the public bucket, from a folder with its layout, or rendered here.

Each source ends as a folder in the bucket's layout (``bin-images/NAME.jpg``, ``metadata/NAME.json``)
and the two lists that say what to take from it.
"""

import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from containers.common import synthetic
from containers.common.errors import DataError, ServiceError
from containers.common.manifest import COUNTS
from services import console
from services.aws import CONNECTIONS, in_threads
from services.settings import Settings

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ATTEMPTS = 5  # for a body that breaks off; boto3 repeats only the request itself


@dataclass(frozen=True)
class Photographs:
    """What a source has obtained. Counts by name; the two have no name in common."""

    folder: Path  # in the bucket's layout
    main: dict[str, int]
    extra: dict[str, int] = field(default_factory=dict)

    def image(self, name: str) -> Path:
        return self.folder / "bin-images" / f"{name}.jpg"

    def asins(self) -> dict[str, frozenset[str]]:
        """Products by name, for every listed photograph that has metadata."""
        products = {}
        for name in (*self.main, *self.extra):
            path = self.folder / "metadata" / f"{name}.json"
            try:
                products[name] = frozenset(json.loads(path.read_bytes())["BIN_FCSKU_DATA"])
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} is not bin metadata ({error}): correct or remove it") from error
        return products


def directory(
    folder: Path, file_list: Path | None, extra_list: Path | None, limit: int | None
) -> Photographs:
    """A folder that is read where it lies; its own lists are used where none are given."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: --source takes abid, synthetic, or a folder")
    file_list = file_list or folder / "file_list.json"
    own_extras = folder / "extra_list.json"
    extra_list = extra_list or (own_extras if own_extras.exists() else None)
    return Photographs(folder, *read_lists(file_list, extra_list, limit))


def rendered(folder: Path, photographs: int, seed: int, workers: int) -> Photographs:
    """Synthetic bins, for tests and first runs; those that an earlier run has rendered are kept."""
    with console.progress("render", photographs) as advance:
        synthetic.render_dataset(folder, photographs, seed, workers, advance)
    return Photographs(folder, *read_lists(folder / "file_list.json", None, None))


def abid(
    settings: Settings,
    folder: Path,
    file_list: Path | None,
    extra_list: Path | None,
    limit: int | None,
    use_extra: bool,
) -> Photographs:
    """Downloads from the public bucket what ``folder`` does not hold yet; nothing is signed.

    A photograph that the bucket lacks simply stays absent. Raises ServiceError when the bucket
    cannot be read.
    """
    if file_list is None:
        raise DataError(
            "--source abid needs --file-list F: JSON that lists the photographs by count,"
            ' {"1": ["data/metadata/00004.json", …], …, "5": […]}'
        )
    main, extra = read_lists(file_list, extra_list, limit)
    images = [*main, *extra] if use_extra else [*main]
    keys = [f"bin-images/{name}.jpg" for name in images]
    # Extras' metadata too, used or not: the bins, and so the split, must not depend on --use-extra.
    keys += [f"metadata/{name}.json" for name in (*main, *extra)]
    _download(_public_bucket(settings), settings.abid_bucket, keys, folder)
    return Photographs(folder, main, extra)


def read_lists(
    file_list: Path, extra_list: Path | None, limit: int | None
) -> tuple[dict[str, int], dict[str, int]]:
    """Counts by name of the main list and of the extras; ``limit`` keeps the first N of every count.

    Raises DataError for a file that is no such list, and for a photograph that is listed twice.
    """
    main = _read_list(file_list, limit)
    extra = _read_list(extra_list, limit) if extra_list else {}
    both = sorted(main.keys() & extra.keys())
    if both:
        raise DataError(f"photographs in both {file_list} and {extra_list}: {_some(both)}")
    return main, extra


def _read_list(path: Path, limit: int | None) -> dict[str, int]:
    try:
        listed = json.loads(path.read_bytes())
        entries = [
            (Path(entry).name.removesuffix(".json"), int(count))
            for count, names in listed.items()
            for entry in names[:limit]
        ]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: name the list of photographs with --file-list") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f'{path} is not of the form {{"1": ["data/metadata/NAME.json", …], …}}') from error
    unknown = sorted({count for _, count in entries} - set(COUNTS))
    if unknown:
        raise DataError(f"{path} lists count {unknown[0]}; counts are {COUNTS[0]} to {COUNTS[-1]}")
    unsafe = [name for name, _ in entries if not SAFE_NAME.fullmatch(name)]
    if unsafe:
        raise DataError(f"{path} lists names that no photograph can have: {_some(unsafe)}")
    counts: dict[str, int] = {}
    twice = [
        f"{name} (counts {counts[name]} and {count})"
        for name, count in entries
        if counts.setdefault(name, count) != count
    ]
    if twice or len(counts) < len(entries):
        listings = Counter(name for name, _ in entries)
        twice = twice or sorted(name for name, times in listings.items() if times > 1)
        raise DataError(f"{path} lists photographs twice: {_some(twice)}")
    return counts


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + rest


def _public_bucket(settings: Settings):
    config = Config(
        signature_version=UNSIGNED,
        retries={"mode": "standard", "max_attempts": 6},
        max_pool_connections=CONNECTIONS,
        # The public bucket is on AWS even while AWS_ENDPOINT_URL points everything else at localcloud.
        ignore_configured_endpoint_urls=True,
    )
    endpoint = settings.abid_endpoint_url or None
    return boto3.client("s3", region_name=settings.abid_region, endpoint_url=endpoint, config=config)


def _download(s3, bucket: str, keys: list[str], folder: Path) -> None:
    """Fetch ``keys`` that neither lie in ``folder`` nor were metadata found absent by an earlier run.

    Metadata that the bucket lacks is remembered in ``absent.txt``, so that the next run does not ask
    for thousands of them again; photographs are asked for again.
    """
    for kind in ("bin-images", "metadata"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    absent_file = folder / "absent.txt"
    absent = set(absent_file.read_text().split()) if absent_file.exists() else set()
    here = {
        f"{kind}/{entry.name}" for kind in ("bin-images", "metadata") for entry in os.scandir(folder / kind)
    }
    wanted = [key for key in keys if key not in here and key not in absent]
    if not wanted:
        return

    def fetch(key: str) -> None:
        if not _fetch(s3, bucket, key, folder / key) and key.startswith("metadata/"):
            absent.add(key)

    try:
        with console.progress("download", len(wanted)) as advance:
            in_threads(fetch, wanted, advance)
    except ClientError as error:
        raise ServiceError(f"cannot read s3://{bucket}: {error}") from error
    finally:
        absent_file.write_text("".join(f"{key}\n" for key in sorted(absent)))


def _fetch(s3, bucket: str, key: str, path: Path) -> bool:
    """False when the bucket has no such object. The file appears whole or not at all."""
    for attempt in range(ATTEMPTS):
        try:
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            break
        except s3.exceptions.NoSuchKey:
            return False
        except BotoCoreError as error:
            if attempt == ATTEMPTS - 1:
                raise ServiceError(f"s3://{bucket}/{key}: {error}; the same command goes on") from error
            time.sleep(2**attempt / 4)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(body)
    part.replace(path)
    return True
