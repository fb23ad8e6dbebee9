"""Packs and unpacks ``model.tar.gz``: plain files at the archive's root, and nothing else."""

import shutil
import tarfile
import zlib
from pathlib import Path

from containers.common.errors import ModelError


def pack(folder: Path, target: Path) -> None:
    """Write the files of ``folder`` to an archive, without what is this machine's: owners, modes, times."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        member.mode = 0o644
        return member

    with tarfile.open(target, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                tar.add(path, path.name, filter=anonymous)


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
            while tar.fileobj.read(2**20):  # tarfile stops before gzip's checksum, which ends the stream
                pass
    except FileNotFoundError:
        raise ModelError(f"{archive} is missing") from None
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ModelError(f"{archive} is damaged: {error}") from None
