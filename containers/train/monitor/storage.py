"""The S3 side of the monitor: which objects hold a span's records, and their bytes."""

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from containers.common.aws import client
from containers.common.errors import ServiceError
from containers.train.monitor.reading import Span

THREADS = 8  # requests at a time of one process; a client keeps ten connections
BLOCK = 1 << 20  # bytes of a streamed object in memory at a time


@dataclass(frozen=True)
class Place:
    """A bucket, and what keys begin with."""

    bucket: str
    prefix: str  # ends with /

    @classmethod
    def parse(cls, uri: str) -> "Place":
        """Raises ServiceError for what is no ``s3://bucket/prefix``."""
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.netloc:
            raise ServiceError(f"{uri!r} is no S3 address: write s3://bucket/prefix")
        return cls(parts.netloc, parts.path.strip("/") + "/")


class Found(NamedTuple):
    """An object with captured records."""

    key: str
    size: int  # bytes
    variant: str


def captured(place: Place, span: Span) -> list[Found]:
    """The objects below ``<variant>/YYYY/MM/DD/HH/`` whose hour touches the span."""
    first = datetime.fromtimestamp(span.since, UTC)
    days = (datetime.fromtimestamp(span.until - 1, UTC).date() - first.date()).days + 1
    folders = [
        (variant, f"{place.prefix}{variant}/{first.date() + timedelta(day):%Y/%m/%d/}")
        for variant in _variants(place)
        for day in range(days)
    ]
    hours = (span.since - span.since % 3600, span.until)

    def within(folder: tuple[str, str]) -> list[Found]:
        variant, prefix = folder
        return [
            Found(key, size, variant)
            for key, size in objects(place.bucket, prefix)
            if size and key.endswith(".jsonl") and hours[0] <= _hour(key) < hours[1]
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        return [found for some in pool.map(within, folders) for found in some]


def objects(bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    """(key, bytes) of everything below a prefix."""
    for page in client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from ((item["Key"], item["Size"]) for item in page.get("Contents", ()))


def lines(bucket: str, key: str) -> Iterable[bytes]:
    """An object's lines with their ends, of which one is in memory at a time."""
    return io.BufferedReader(client("s3").get_object(Bucket=bucket, Key=key)["Body"], BLOCK)


def part(bucket: str, key: str, offset: int, length: int) -> bytes:
    """``length`` bytes of an object."""
    span = f"bytes={offset}-{offset + length - 1}"
    return client("s3").get_object(Bucket=bucket, Key=key, Range=span)["Body"].read()


def _variants(place: Place) -> list[str]:
    pages = client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=place.bucket, Prefix=place.prefix, Delimiter="/")
    return [
        folder["Prefix"].removeprefix(place.prefix).rstrip("/")
        for page in found
        for folder in page.get("CommonPrefixes", ())
    ]


def _hour(key: str) -> int:
    """The hour in a key, in seconds since 1970; -1 where there is none."""
    try:
        year, month, day, hour = map(int, key.split("/")[-5:-1])
        return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())
    except ValueError:
        return -1
