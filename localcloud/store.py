"""JSON documents on disk, one file each: what moto does not keep, and what must survive a restart."""

import json
import tempfile
import threading
from pathlib import Path
from urllib.parse import quote


class Store:
    """``kind/name`` -> document. Times are epoch seconds, as in SageMaker's JSON protocol.

    Safe for threads. A write replaces its file atomically, so a crash leaves the old document.
    """

    def __init__(self, root: Path):
        self._root = root
        self._lock = threading.RLock()
        self._documents: dict[str, dict[str, dict]] = {}
        for path in sorted(root.glob("*/*.json")):
            document = json.loads(path.read_text())
            self._documents.setdefault(path.parent.name, {})[document["_name"]] = document

    def put(self, kind: str, name: str, document: dict) -> dict:
        with self._lock:
            document = {**document, "_name": name}
            self._documents.setdefault(kind, {})[name] = document
            self._write(kind, name, document)
            return self.get(kind, name)

    def update(self, kind: str, name: str, **changes) -> dict:
        """Merge ``changes`` into a document that exists (``KeyError`` otherwise)."""
        with self._lock:
            return self.put(kind, name, {**self._documents[kind][name], **changes})

    def get(self, kind: str, name: str) -> dict | None:
        with self._lock:
            document = self._documents.get(kind, {}).get(name)
            return None if document is None else _public(document)

    def all(self, kind: str) -> list[dict]:
        with self._lock:
            return [_public(d) for d in self._documents.get(kind, {}).values()]

    def names(self, kind: str) -> list[str]:
        with self._lock:
            return list(self._documents.get(kind, {}))

    def delete(self, kind: str, name: str) -> None:
        with self._lock:
            self._documents.get(kind, {}).pop(name, None)
            self._path(kind, name).unlink(missing_ok=True)

    def _path(self, kind: str, name: str) -> Path:
        return self._root / kind / f"{quote(name, safe='')}.json"

    def _write(self, kind: str, name: str, document: dict) -> None:
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as part:
            json.dump(document, part)
        Path(part.name).replace(path)


def _public(document: dict) -> dict:
    """A deep copy without the store's own field, so that no caller shares state with the store."""
    return json.loads(json.dumps({k: v for k, v in document.items() if k != "_name"}))
