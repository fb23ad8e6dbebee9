"""Unpacks ``model.tar.gz``: plain files at the archive's root, and nothing else."""

import shutil
import tarfile
from pathlib import Path

from containers.common.errors import ModelError


def unpack(archive: Path, folder: Path) -> None:
    """Extract an artifact into ``folder``; raises ModelError for what is not one.

    tarfile's own ``filter="data"`` would do, but is missing from the earlier releases of Python 3.11.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if not member.isfile() or Path(member.name).name != member.name:
                    raise ModelError(f"{archive.name} holds {member.name!r}: an artifact is plain files only")
                with tar.extractfile(member) as source, (folder / member.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except FileNotFoundError:
        raise ModelError(f"{archive} is missing") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(f"{archive} is damaged: {error}") from None
