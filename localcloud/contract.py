"""SageMaker's container contract: what every job finds below ``/opt/ml``, whatever its kind.

A container's ``/opt/ml`` is the job's own folder, ``base``; it is told so by ``SAGEMAKER_BASE_DIR``.
"""

import contextlib
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

import psutil

from localcloud.objects import Objects
from localcloud.process import Image
from localcloud.settings import Settings

OPT_ML = PurePosixPath("/opt/ml")
HOST = "localhost"  # a name that resolves: distributed launchers connect to it
FIRST_CHARACTERS = 1024  # what SageMaker shows of a failure or exit message


class Contract(Protocol):
    """One job of one kind: its folder, its command, and what becomes of the results."""

    prefix: ClassVar[str]  # of the API's field names: TrainingJobName, TrainingStartTime …
    kind: ClassVar[str]  # in the store and in ARNs
    log_group: ClassVar[str]
    image_uri: str
    max_runtime: int  # seconds
    working_directory: Path

    def __init__(self, params: dict, arn: str, base: Path, objects: Objects): ...

    @staticmethod
    def check(params: dict) -> None:
        """Raise AwsError for a request that asks for something that localcloud cannot do."""

    def prepare(self) -> None:
        """Lay out the folder and download all inputs; raises NoSuchObject."""

    def command(self, image: Image) -> list[str]:
        """ENTRYPOINT and CMD; raises UnknownImage."""

    def environment(self, settings: Settings) -> dict[str, str]: ...

    def sync(self) -> None:
        """Upload what is to be uploaded while the job runs."""

    def collect(self, failed: bool, log: Path) -> dict:
        """Upload what the job leaves; returns the fields that this adds to its description."""

    def failure(self) -> str:
        """The reason that the container wrote down, or an empty text."""

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


def command(specification: dict, image: Image, role: str) -> list[str]:
    """ENTRYPOINT and CMD of an AlgorithmSpecification or AppSpecification; raises UnknownImage."""
    entrypoint = specification.get("ContainerEntrypoint") or image.command(role)
    return [*entrypoint, *(specification.get("ContainerArguments") or [])]


def below(base: Path, path: str) -> Path:
    """``/opt/ml/some/where`` as it lies below ``base``; ValueError for a path outside ``/opt/ml``."""
    inside = PurePosixPath(path).relative_to(OPT_ML)
    if ".." in inside.parts:
        raise ValueError(f"{path!r} leads out of {OPT_ML}")
    return base / inside


def hosts(instance_type: str) -> dict:
    """``resourceconfig.json`` of a cluster that is this machine."""
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": [HOST]}
    loopback = next(
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(address.address == "127.0.0.1" for address in addresses)
    )
    return {
        "current_host": HOST,
        "current_instance_type": instance_type,
        "current_group_name": group["instance_group_name"],
        "hosts": [HOST],
        "instance_groups": [group],
        "network_interface_name": loopback,
    }


def message(path: Path) -> str:
    """What a container wrote into its failure or message file; empty if there is none."""
    try:
        return path.read_text(errors="replace").strip()[:FIRST_CHARACTERS]
    except OSError:
        return ""
