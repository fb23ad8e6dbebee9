"""True counts that arrive later, joined to answers by event id: on disk, however many there are."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import orjson

from containers.train.monitor.reading import Truth

ROWS = 10_000  # written at a time
MOST = 2**63 - 1  # SQLite holds no larger integer


class Feedback:
    """A table of counts by event id in one file. Later lines overrule earlier ones."""

    def __init__(self, path: Path):
        self.path = path
        self.unreadable = 0
        self._database = sqlite3.connect(path)
        self._database.execute("CREATE TABLE truth (event_id TEXT PRIMARY KEY, count INTEGER) WITHOUT ROWID")

    def add(self, lines: Iterable[bytes]) -> None:
        """Lines ``{"event_id": …, "count": …}``; what is none of these is counted as unreadable."""
        rows = []
        for line in lines:
            if line.isspace():
                continue
            try:
                document = orjson.loads(line)
                event_id, count = document["event_id"], document["count"]
                if not isinstance(event_id, str) or type(count) is not int or not 0 <= count <= MOST:
                    raise ValueError(line)
            except (ValueError, KeyError, TypeError):
                self.unreadable += 1
                continue
            rows.append((event_id, count))
            if len(rows) == ROWS:
                self._write(rows)
                rows = []
        self._write(rows)

    def __len__(self) -> int:
        return self._database.execute("SELECT count(*) FROM truth").fetchone()[0]

    def close(self) -> None:
        self._database.close()

    def _write(self, rows: list[tuple[str, int]]) -> None:
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO truth VALUES (?, ?)", rows)


def truth(path: Path) -> Truth:
    """What looks a true count up; any number of processes may."""
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)

    def look_up(event_id: str) -> int | None:
        row = database.execute("SELECT count FROM truth WHERE event_id = ?", (event_id,)).fetchone()
        return row and row[0]

    return look_up
