"""SageMaker's container contract: what every job finds below ``/opt/ml``, whatever its kind.

A container's ``/opt/ml`` is a folder of the job's own, ``base``. Where the container sees it somewhere
else, it is told so by ``SAGEMAKER_BASE_DIR``.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

from localcloud.objects import Objects
from localcloud.runtime import OPT_ML, Runtime

FIRST_CHARACTERS = 1024  # what SageMaker shows of a failure or exit message


@dataclass(frozen=True)
class Host:
    """One instance of a job: what it is called, its ``/opt/ml`` here, and where its container sees that."""

    name: str
    base: Path
    seen: str


class Contract(Protocol):
    """One job of one kind: its hosts' folders, its command, and what becomes of the results."""

    prefix: ClassVar[str]  # of the API's field names: TrainingJobName, TrainingStartTime …
    kind: ClassVar[str]  # in the store and in ARNs
    log_group: ClassVar[str]
    role: ClassVar[str]  # what its image is run as
    image_uri: str
    instance_type: str
    max_runtime: int  # seconds
    hosts: list[Host]
    entrypoint: list[str] | None  # None: the image's own
    arguments: list[str]

    def __init__(self, params: dict, arn: str, folder: Path, objects: Objects, runtime: Runtime):
        """``folder``: below it each host has its own."""

    @staticmethod
    def check(params: dict, runtime: Runtime) -> None:
        """Raise AwsError for a request that asks for something that localcloud cannot do."""

    def prepare(self) -> None:
        """Lay out the folders and download all inputs; raises NoSuchObject."""

    def environment(self, host: Host) -> dict[str, str]: ...

    def sync(self) -> None:
        """Upload what is to be uploaded while the job runs."""

    def collect(self, failed: bool, logs: list[Path]) -> dict:
        """Upload what the job leaves; returns the fields that this adds to its description."""

    def failure(self, host: Host) -> str:
        """The reason that the host's container wrote down, or an empty text."""

    @staticmethod
    def entering(document: dict, status: str, message: str, now: float) -> dict:
        """The fields of the description that change with a phase, or at the end."""


class Uploads:
    """Folders that are kept in step with S3: a file is uploaded again only when it has changed."""

    def __init__(self, objects: Objects):
        self._objects = objects
        self._seen: dict[Path, tuple[int, int]] = {}

    def sync(self, folder: Path, uri: str) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with contextlib.suppress(FileNotFoundError):  # the job may replace or remove it just now
                status = path.stat()
                state = (status.st_mtime_ns, status.st_size)
                if self._seen.get(path) != state:
                    self._objects.upload(path, f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}")
                    self._seen[path] = state


def cluster(count: int, folder: Path, runtime: Runtime) -> list[Host]:
    """The hosts of a job, the first of which is the chief."""
    names = runtime.host_names(count)
    return [Host(name, folder / name, runtime.seen(folder / name, OPT_ML)) for name in names]


def below(base: Path, path: str) -> Path:
    """``/opt/ml/some/where`` as it lies below ``base``; ValueError for a path outside ``/opt/ml``."""
    inside = PurePosixPath(path).relative_to(OPT_ML)
    if ".." in inside.parts:
        raise ValueError(f"{path!r} leads out of {OPT_ML}")
    return base / inside


def resources(host: Host, hosts: list[Host], instance_type: str, interface: str) -> dict:
    """``resourceconfig.json`` of one host."""
    names = [other.name for other in hosts]
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": names}
    return {
        "current_host": host.name,
        "current_instance_type": instance_type,
        "current_group_name": group["instance_group_name"],
        "hosts": names,
        "instance_groups": [group],
        "network_interface_name": interface,
    }


def message(path: Path) -> str:
    """What a container wrote into its failure or message file; empty if there is none."""
    try:
        return path.read_text(errors="replace").strip()[:FIRST_CHARACTERS]
    except OSError:
        return ""
