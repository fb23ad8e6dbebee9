"""Files that are written whole or not at all: a process may be killed at any time."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace ``path``, below a folder that is created where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)
