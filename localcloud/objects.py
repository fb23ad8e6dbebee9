"""What localcloud itself reads from and writes to S3: directly, without HTTP."""

import shutil
from pathlib import Path

from moto.s3.exceptions import S3ClientError

from localcloud import mirror


class NoSuchObject(Exception):
    """A bucket, key or prefix that holds nothing, or a URI that is not S3's."""


def split(uri: str) -> tuple[str, str]:
    """``s3://bucket/some/key`` -> ``("bucket", "some/key")``; NoSuchObject for anything else."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise NoSuchObject(f"{uri!r} is not an S3 URI: write s3://BUCKET/KEY")
    return bucket, key


class Objects:
    """Objects of the account's buckets; every write is on disk when the method returns."""

    def __init__(self, disk: mirror.Mirror):
        self._mirror = disk

    def get(self, bucket: str, key: str) -> bytes:
        """The body; NoSuchObject."""
        with self._mirror.lock:
            return self._find(bucket, key).value

    def put(self, bucket: str, key: str, body: bytes, content_type: str = "binary/octet-stream") -> None:
        with self._mirror.lock:
            try:
                written = mirror.backend().put_object(bucket, key, body)
            except S3ClientError as error:
                raise NoSuchObject(f"cannot write s3://{bucket}/{key}: {error}") from error
            written.metadata["Content-Type"] = content_type
            self._mirror.flush()

    def list(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys that begin with ``prefix``, in order; NoSuchObject if there is no such bucket."""
        with self._mirror.lock:
            found = mirror.backend().buckets.get(bucket)
            if found is None:
                raise NoSuchObject(f"there is no bucket {bucket!r}")
            return sorted(
                key for key, value in found.keys.items() if key.startswith(prefix) and hasattr(value, "size")
            )

    def exists(self, uri: str) -> bool:
        """Whether any key begins as ``uri`` does; NoSuchObject if there is no such bucket."""
        return bool(self.list(*split(uri)))

    def download(self, uri: str, folder: Path) -> int:
        """Write what ``uri`` names below ``folder``, and return the number of files.

        A folder-like prefix keeps the tree below it; any other prefix (or a single key) gives
        files named from its last ``/`` on. NoSuchObject if nothing is there.
        """
        bucket, prefix = split(uri)
        keys = self.list(bucket, prefix)
        inside = f"{prefix.rstrip('/')}/" if prefix else ""
        if any(key.startswith(inside) for key in keys):
            keys = [key for key in keys if key.startswith(inside)]
        else:
            inside = prefix[: prefix.rfind("/") + 1]
        files = [key for key in keys if not key.endswith("/")]  # consoles mark folders so
        if not files:
            raise NoSuchObject(f"there is nothing at {uri}")
        folder.mkdir(parents=True, exist_ok=True)
        for key in files:
            path = folder / key[len(inside) :].lstrip("/")  # for a file system, // is one separator
            if ".." in path.parts:
                raise NoSuchObject(f"the key {key!r} leads out of its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._copy(bucket, key, path)
        return len(files)

    def upload(self, source: Path, uri: str) -> None:
        """A file becomes the object ``uri``; a folder's files become the objects below ``uri``."""
        bucket, key = split(uri)
        if source.is_file():
            self.put(bucket, key, source.read_bytes())
            return
        prefix = f"{key.rstrip('/')}/" if key else ""
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            self.put(bucket, prefix + path.relative_to(source).as_posix(), path.read_bytes())

    def _find(self, bucket: str, key: str):
        found = mirror.backend().get_object(bucket, key) if bucket in mirror.backend().buckets else None
        if found is None:
            raise NoSuchObject(f"there is no object s3://{bucket}/{key}")
        return found

    def _copy(self, bucket: str, key: str, path: Path) -> None:
        """A copy, never a link: what runs may change its files in place, and S3 must not change."""
        with self._mirror.lock:
            shutil.copyfile(self._find(bucket, key)._value_buffer.path, path)
