"""The process runtime: a container is a process in its image's own virtual environment."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import tomllib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from localcloud.runtime import FUNCTION, GRACE, Spec, UnknownImage
from localcloud.settings import PROJECT, Settings

MARK = "LOCALCLOUD_CONTAINER"  # environment variable that every process of a container inherits
LOOPBACK = "127.0.0.1"
HOST = "localhost"  # a name that resolves: distributed launchers connect to it


@dataclass(frozen=True)
class Image:
    """One table of ``images.toml``: a virtual environment, variables, and entry points by role."""

    name: str
    venv: Path
    env: dict[str, str]
    entrypoints: dict[str, list[str]]


class ProcessRuntime:
    """See ``runtime.Runtime``. There is no network to be private, and one host is all there is."""

    name = "process"
    address = LOOPBACK
    instance_counts = (1,)

    def __init__(self, settings: Settings):
        self._images = settings.images
        self.client_environment = settings.client_environment
        self.network_interface = next(
            name
            for name, addresses in psutil.net_if_addrs().items()
            if any(address.address == LOOPBACK for address in addresses)
        )

    def find_image(self, uri: str, role: str | None) -> Image:
        """``123.dkr.ecr.us-east-1.amazonaws.com/bintally-train:tag`` -> the table ``bintally-train``."""
        tables = tomllib.loads(self._images.read_text())
        name = uri.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
        if name not in tables:
            raise UnknownImage(f"no image named {name!r} here; known: {', '.join(sorted(tables))}")
        table = dict(tables[name])
        venv = PROJECT / table.pop("venv")
        if not (venv / "bin" / "python").exists():
            raise UnknownImage(f"image {name} is not installed: {venv} is missing; run 'make install'")
        image = Image(name, venv, table.pop("env", {}), table)
        if role is not None and role not in image.entrypoints:
            raise UnknownImage(f"image {name} has no '{role}' entry point")
        return image

    def seen(self, folder: Path, at: str) -> str:
        return str(folder)

    def host_names(self, count: int) -> list[str]:
        return [HOST] * count

    @contextlib.contextmanager
    def network(self, name: str):
        yield name

    def port(self) -> int:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            return probe.getsockname()[1]

    def start(self, spec: Spec) -> "Container":
        """A session of its own, which sees the project's ``containers`` package and ``spec``'s variables,
        and of localcloud's own environment only what any process needs.
        """
        image: Image = spec.image
        command = [*(spec.entrypoint or image.entrypoints[spec.role]), *spec.arguments]
        inherited = {k: os.environ[k] for k in ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if k in os.environ}
        mark = f"{spec.log.resolve()}#{uuid.uuid4().hex}"
        environment = {
            **inherited,
            "PATH": f"{image.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "1",
            **image.env,
            **spec.environment,
            MARK: mark,
        }
        # Images have working directories of their own; a job's and a server's is where nothing of ours lies.
        code = spec.folder / "code"
        folder = code if spec.role != FUNCTION and code.is_dir() else spec.folder
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        executable = image.venv / "bin" / command[0]
        with spec.log.open("ab") as stream:
            return Container(
                mark,
                [str(executable) if executable.exists() else command[0], *command[1:]],
                env=environment,
                cwd=spec.working_directory or folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


class Container(subprocess.Popen):
    """A main process. ``mark`` is in the environment of whatever it starts, however detached."""

    address = LOOPBACK

    def __init__(self, mark: str, *arguments, **options):
        self._mark = mark
        super().__init__(*arguments, **options)
        # Knows when the process began, so that it is never taken for a later one with the same number.
        self._main = psutil.Process(self.pid)

    def poll(self) -> int | None:
        """Popen's own says None of a dead process while another thread is still waking up in ``wait``."""
        if super().poll() is None and not _runs(self.pid):
            self.wait()
        return self.returncode

    def stop(self, grace: float = GRACE) -> int:
        family = descendants(self._main)
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(grace)
        self._bury(family)
        return self.wait()

    def end(self) -> None:
        self._bury([])

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def memory(self) -> int:
        try:
            return psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return 0

    def _bury(self, family: Iterable[psutil.Process]) -> None:
        """Kill whatever outlived (or must not outlive) the main process.

        Orphans, also those in sessions of their own, are found by the mark in their environment;
        ``family`` adds descendants that were seen before and may have wiped theirs.
        """
        _kill([*family, *descendants(self._main)])
        if self.poll() is None:
            self.kill()
        _kill_marked(lambda mark: mark == self._mark)


def sweep(home: Path) -> int:
    """Kill every container that a localcloud which is gone left below ``home``; how many processes."""
    return _kill_marked(lambda mark: mark.startswith(f"{home}/"))


def descendants(main: psutil.Process) -> list[psutil.Process]:
    """Of a process; none once it has ended, whoever has its number by then."""
    try:
        return main.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its descendants, and of children that have ended."""
    try:
        main = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for process in (main, *descendants(main)):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # the third and fourth are children's
    return total


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
