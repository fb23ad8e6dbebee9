"""The seam between AWS's API and what runs below it: a runtime starts containers and finds them again.

``process`` and ``docker_runtime`` are the two there are; everything above knows only this page.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from localcloud.instances import Limits
from localcloud.settings import Settings

GRACE = 120  # seconds between SIGTERM and SIGKILL, as SageMaker gives a container
OPT_ML = "/opt/ml"
TASK_ROOT = "/var/task"  # Lambda's
TRAIN, SERVE, PROCESS, FUNCTION = "train", "serve", "process", "function"  # what an image is run as


class UnknownImage(Exception):
    """An image URI that names none of the images this machine can run."""


class NoRuntime(Exception):
    """The runtime that was asked for cannot work here. One line for the user."""


class Image(Protocol):
    """What ``find_image`` has resolved a URI to; only the runtime that made it can read it."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Spec:
    """One container to be started."""

    name: str  # for people; unique names are the runtime's affair
    image: Image
    role: str
    environment: dict[str, str]
    folder: Path  # becomes /opt/ml, or for a function the folder that it works in
    log: Path  # both output streams are appended to it
    entrypoint: Sequence[str] | None = None  # None: the image's own
    arguments: Sequence[str] = ()
    working_directory: str | None = None
    limits: Limits = field(default_factory=Limits)
    host: str | None = None  # its own name, by which its peers on ``network`` find it
    network: str | None = None


class Container(Protocol):
    """A container that has been started."""

    pid: int  # of its main process, on this machine

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""

    def wait(self) -> int:
        """The exit status, once the container has ended and its log is complete."""

    def stop(self, grace: float = GRACE) -> int:
        """SIGTERM to the main process; after ``grace`` seconds kill what is left. The exit status."""

    def end(self) -> None:
        """Kill and remove whatever is left of it, at once; harmless when nothing is."""

    @property
    def address(self) -> str:
        """Where this machine reaches the ports on which it listens."""

    def memory(self) -> int:
        """Resident bytes of all its processes; 0 once it has ended."""

    def cpu_seconds(self) -> float:
        """What all its processes have used of the CPU since they began; 0 once it has ended."""


class Runtime(Protocol):
    """Raises OSError where a container cannot be started."""

    name: str
    address: str  # of this machine, as containers know it; servers for them listen there
    instance_counts: Collection[int]  # of one training job
    network_interface: str  # by which containers reach each other

    @property
    def client_environment(self) -> dict[str, str]:
        """What points boto3 in a container at localcloud."""

    def find_image(self, uri: str, role: str | None) -> Image:
        """``role``: the entry point that the image must have, if any; raises UnknownImage."""

    def seen(self, folder: Path, at: str) -> str:
        """Where a container sees ``folder``, which belongs at the absolute path ``at``."""

    def host_names(self, count: int) -> list[str]:
        """What SageMaker would call the hosts of a cluster; names that resolve in its containers."""

    def network(self, name: str) -> AbstractContextManager[str]:
        """A private network for as long as the context lasts."""

    def port(self) -> int:
        """A port on which the next container can listen."""

    def start(self, spec: Spec) -> Container: ...


def choose(settings: Settings) -> Runtime:
    """The runtime that the settings ask for; raises NoRuntime."""
    if settings.runtime == "process":
        from localcloud.process import ProcessRuntime

        return ProcessRuntime(settings)
    if settings.runtime == "docker":
        from localcloud.docker_runtime import DockerRuntime  # the SDK takes a while to import

        return DockerRuntime(settings)
    raise NoRuntime(f"there is no runtime {settings.runtime!r}: use RUNTIME=process or RUNTIME=docker")


def sweep(home: Path) -> int:
    """End what a localcloud that is gone left, in whichever runtime it ran; returns how many."""
    from localcloud import process

    left = process.sweep(home)
    if (home / "docker").exists():  # only then is it worth asking an engine
        from localcloud import docker_runtime

        left += docker_runtime.sweep(home)
    return left
