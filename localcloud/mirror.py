"""S3's objects on disk: every write to moto's in-process backend is written through.

A body is a file of its own that is never changed once written; ``index.sqlite`` says which key
has which bodies (one per version). A key's row is replaced only when its bodies are complete,
so a crash leaves the old object or the new one. moto then reads bodies from these files instead
of holding them in memory, which also makes a restart a matter of reading the index.
"""

import json
import shutil
import sqlite3
import threading
import uuid
from datetime import datetime
from functools import wraps
from pathlib import Path
from types import SimpleNamespace

from moto.s3.models import FakeDeleteMarker, FakeKey, S3Backend, s3_backends

from localcloud.settings import ACCOUNT, REGION

SCHEMA = "CREATE TABLE IF NOT EXISTS objects (bucket, key, versions, PRIMARY KEY (bucket, key)) WITHOUT ROWID"
FIELDS = (
    "version_id", "etag", "storage", "encryption", "kms_key_id", "bucket_key_enabled", "is_versioned",
    "checksum_value", "checksum_type", "checksum_parts",
)  # fmt: skip

_this_thread = threading.local()


def backend() -> S3Backend:
    """The account's S3, for direct access."""
    return s3_backends[ACCOUNT]["aws"]


class Body:
    """Stands in for moto's spooled temporary file; opens the mirrored file only to read it."""

    def __init__(self, path: Path):
        self.path = path
        self._position = 0

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, size: int = -1) -> bytes:
        """Raises ValueError once the object has been deleted, as moto knows it of a file that is closed."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                data = file.read(size)
        except FileNotFoundError as error:
            raise ValueError("the object has been deleted") from error
        self._position += len(data)
        return data

    def close(self) -> None:
        """moto is done with the object; the file goes when the index no longer names it."""


class Mirror:
    """Safe for threads. ``root`` holds ``index.sqlite`` and ``bodies/``.

    ``lock`` is held for a whole request: moto shows an object before it is complete, and throws an
    overwritten one away while another thread may still be reading it.
    """

    def __init__(self, root: Path):
        self._bodies = root / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self._index = sqlite3.connect(root / "index.sqlite", check_same_thread=False, isolation_level=None)
        self._index.execute("PRAGMA journal_mode=WAL")
        self._index.execute("PRAGMA synchronous=NORMAL")
        self._index.execute(SCHEMA)

    def flush(self) -> None:
        """Write what this thread has changed since its last flush.

        Called when a request has been answered by moto and before the client is told.
        """
        touched, _this_thread.touched = getattr(_this_thread, "touched", set()), set()
        with self.lock:
            for bucket, key in sorted(touched):
                self._save(bucket, key)

    def restore(self) -> None:
        """Load every object into the backend, without reading a body."""
        s3, named = backend(), set()
        for bucket, key, versions in self._index.execute("SELECT bucket, key, versions FROM objects"):
            if bucket not in s3.buckets:
                s3.create_bucket(bucket, REGION)
            loaded = []
            for version in json.loads(versions):
                if version["body"] is None:
                    # What it once hid may have been deleted since: then its name is all that is left.
                    hidden = loaded[-1] if loaded else SimpleNamespace(name=key)
                    loaded.append(_delete_marker(hidden, version))
                else:
                    loaded.append(_key(s3, bucket, key, version, self._path(version["body"])))
                    named.add(version["body"])
            s3.buckets[bucket].keys.setlist(key, loaded)
        for path in self._bodies.glob("*/*"):
            if path.name not in named:  # written, but localcloud died before the index named it
                path.unlink()

    def _save(self, bucket: str, key: str) -> None:
        before = self._index.execute(
            "SELECT versions FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
        ).fetchone()
        found = backend().buckets.get(bucket)
        versions = [self._describe(version) for version in found.keys.getlist(key, [])] if found else []
        if versions:
            row = (bucket, key, json.dumps(versions))
            self._index.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", row)
        else:
            self._index.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
        old = {version["body"] for version in json.loads(before[0])} if before else set()
        for body in old - {version["body"] for version in versions} - {None}:
            self._path(body).unlink(missing_ok=True)

    def _describe(self, version: FakeKey | FakeDeleteMarker) -> dict:
        common = {"version_id": version.version_id, "modified": version.last_modified.isoformat()}
        if isinstance(version, FakeDeleteMarker):
            return {**common, "body": None}
        return {
            **common,
            "etag": version.etag.strip('"'),
            "storage": version.storage_class,
            "encryption": version.encryption,
            "kms_key_id": version.kms_key_id,
            "bucket_key_enabled": version.bucket_key_enabled,
            "is_versioned": version._is_versioned,
            "checksum_value": version.checksum_value,
            "checksum_type": version.checksum_type,
            "checksum_parts": version.checksum_parts,
            "checksum_algorithm": version.checksum_algorithm,
            "metadata": dict(version.metadata),
            "tags": backend().tagger.get_tag_dict_for_resource(version.arn),
            "size": version.size,
            "body": self._body(version),
        }

    def _body(self, key: FakeKey) -> str:
        """Move the body from moto's memory to a file of the mirror, unless it is there already."""
        if not isinstance(key._value_buffer, Body):
            name = uuid.uuid4().hex
            path = self._path(name)
            path.parent.mkdir(exist_ok=True)
            with key.lock:
                key._value_buffer.seek(0)
                with path.open("wb") as file:
                    shutil.copyfileobj(key._value_buffer, file, 1 << 20)
                key._value_buffer.close()
                key._value_buffer = Body(path)
            if key.multipart:  # it holds every part once more
                key.multipart.dispose()
                key.multipart = None
        return key._value_buffer.path.name

    def _path(self, body: str) -> Path:
        return self._bodies / body[:2] / body


def _key(s3: S3Backend, bucket: str, name: str, version: dict, body: Path) -> FakeKey:
    fields = {field: version[field] for field in FIELDS}
    key = FakeKey(name, b"", s3.account_id, s3.region_name, bucket_name=bucket, max_buffer_size=1, **fields)
    key._value_buffer.close()
    key._value_buffer = Body(body)
    key.contentsize = version["size"]
    key.last_modified = datetime.fromisoformat(version["modified"])
    key.checksum_algorithm = version["checksum_algorithm"]
    key.metadata.update(version["metadata"])
    if version["tags"]:
        s3.tagger.tag_resource(key.arn, s3.tagger.convert_dict_to_tags_input(version["tags"]))
    return key


def _delete_marker(hidden: FakeKey | FakeDeleteMarker | SimpleNamespace, version: dict) -> FakeDeleteMarker:
    marker = FakeDeleteMarker(hidden)
    marker._version_id = version["version_id"]
    marker.last_modified = datetime.fromisoformat(version["modified"])
    return marker


def watch() -> None:
    """Have moto's backend note which objects each thread changes. Called once, at start."""
    for name in ("put_object", "delete_object", "delete_object_tagging"):
        _note(name, lambda bucket_name, key_name, *_, **__: (bucket_name, key_name))
    _note("put_object_tagging", lambda key, *_, **__: (key.bucket_name, key.name))


def _note(name: str, changed) -> None:
    original = getattr(S3Backend, name)

    @wraps(original)
    def method(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if not hasattr(_this_thread, "touched"):
            _this_thread.touched = set()
        _this_thread.touched.add(changed(*args, **kwargs))
        return result

    setattr(S3Backend, name, method)
