"""The process runtime: a container is a process in its image's own virtual environment."""

import contextlib
import os
import signal
import subprocess
import time
import tomllib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from localcloud.settings import PROJECT

GRACE = 120  # seconds between SIGTERM and SIGKILL, as SageMaker gives a container
MARK = "LOCALCLOUD_CONTAINER"  # environment variable that every process of a container inherits


class UnknownImage(Exception):
    """An image URI that names none of the images this machine can run."""


@dataclass(frozen=True)
class Image:
    """One table of ``images.toml``: a virtual environment, variables, and entry points by role."""

    name: str
    venv: Path
    env: dict[str, str]
    entrypoints: dict[str, list[str]]

    def command(self, role: str) -> list[str]:
        """ENTRYPOINT for ``train``, ``serve`` or ``function``; raises UnknownImage."""
        if role not in self.entrypoints:
            raise UnknownImage(f"image {self.name} has no '{role}' entry point")
        return self.entrypoints[role]


def find_image(uri: str, images: Path) -> Image:
    """``123.dkr.ecr.us-east-1.amazonaws.com/bintally-train:tag`` -> the table ``bintally-train``."""
    tables = tomllib.loads(images.read_text())
    name = uri.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
    if name not in tables:
        raise UnknownImage(f"no image named {name!r} here; known: {', '.join(sorted(tables))}")
    table = dict(tables[name])
    venv = PROJECT / table.pop("venv")
    if not (venv / "bin" / "python").exists():
        raise UnknownImage(f"image {name} is not installed: {venv} is missing; run 'make install'")
    return Image(name, venv, table.pop("env", {}), table)


class Container(subprocess.Popen):
    """A main process. ``mark`` is in the environment of whatever it starts, however detached."""

    mark: str

    def poll(self) -> int | None:
        """As ever, but up to date: Popen's own says nothing while another thread is in ``wait``."""
        if self.returncode is None and not _runs(self.pid):
            self.wait()
        return super().poll()


def spawn(image: Image, command: list[str], env: dict[str, str], cwd: Path, log: Path) -> Container:
    """Start ``command`` as the container's main process, in a session of its own.

    Both output streams are appended to ``log``. The process sees the project's ``containers``
    package and ``env``, and of localcloud's own environment only what any process needs.
    """
    inherited = {k: os.environ[k] for k in ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if k in os.environ}
    mark = f"{log.resolve()}#{uuid.uuid4().hex}"
    environment = {
        **inherited,
        "PATH": f"{image.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        **image.env,
        **env,
        MARK: mark,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    executable = image.venv / "bin" / command[0]
    with log.open("ab") as stream:
        process = Container(
            [str(executable) if executable.exists() else command[0], *command[1:]],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.mark = mark
    return process


def stop(process: Container, grace: float = GRACE) -> int:
    """SIGTERM the main process, as ``docker stop`` does; after ``grace`` seconds kill what is left.

    Returns the exit status.
    """
    family = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    bury(process, family)
    return process.wait()


def bury(process: Container, family: Iterable[psutil.Process] = ()) -> None:
    """Kill whatever of a container outlived (or must not outlive) its main process.

    Orphans, also those in sessions of their own, are found by the mark in their environment;
    ``family`` adds descendants that were seen before and may have wiped theirs.
    """
    _kill([*family, *descendants(process.pid)])
    if process.poll() is None:
        process.kill()
    _kill_marked(lambda mark: mark == process.mark)


def sweep(home: Path) -> int:
    """Kill every container that a localcloud which is gone left below ``home``; how many processes."""
    return _kill_marked(lambda mark: mark.startswith(f"{home}/"))


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill_marked(matches: Callable[[str], bool]) -> int:
    """Until none is found any more: one may be forking while another is killed."""
    killed = set()
    while found := [process for process in psutil.process_iter() if matches(_mark(process))]:
        _kill(found)
        killed.update(process.pid for process in found)
        time.sleep(0.005)  # until they are zombies at least, which have no environment
    return len(killed)


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):  # gone, a zombie, or another user's
        return ""


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
