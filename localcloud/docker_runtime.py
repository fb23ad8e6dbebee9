"""The docker runtime: a container is a container of the very image that goes to ECR."""

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container as EngineContainer
from docker.types import EndpointConfig

import docker
from localcloud.docker_options import COMMANDS, limits, split_uri, user, volumes
from localcloud.process import cpu_seconds
from localcloud.runtime import GRACE, NoRuntime, Spec, UnknownImage
from localcloud.settings import Settings

HOME_LABEL = "localcloud.home"  # whose container it is: that of the localcloud with this home
PORT = 8080  # SageMaker's own, for a serving container
MOST_INSTANCES = 8  # of one training job, on one machine
ENGINE_SECONDS = 120  # for one answer of the engine, pulling aside
NO_ADDRESS = "ended.invalid"  # the address of a container that has none any more


@dataclass(frozen=True)
class Image:
    """``id`` is what runs, also once another image has taken the name."""

    name: str
    id: str


class DockerRuntime:
    """See ``runtime.Runtime``. Needs an engine on this machine, whose bridge is an address of it."""

    name = "docker"
    instance_counts = range(1, MOST_INSTANCES + 1)
    network_interface = "eth0"

    def __init__(self, settings: Settings):
        self._engine = _engine()
        self._settings = settings
        self.address = _gateway(self._engine)
        settings.home.mkdir(parents=True, exist_ok=True)
        (settings.home / "docker").touch()  # tells ``runtime.sweep`` to look here as well

    @property
    def client_environment(self) -> dict[str, str]:
        # An IP address, not a name: with a name boto3 would look up bucket.NAME.
        url = f"http://{self.address}:{self._settings.port}"
        return {**self._settings.client_environment, "AWS_ENDPOINT_URL": url}

    def find_image(self, uri: str, role: str | None) -> Image:
        """The very image; else one of this engine with the repository's name and the URI's tag or
        digest; else what the registry behind localcloud's ECR has under these.
        """
        repository, reference = split_uri(uri)
        registry = f"{self._settings.registry}/{repository}"
        for candidate in (uri, repository + reference, registry + reference):
            with contextlib.suppress(ImageNotFound, APIError):
                return Image(uri, self._engine.images.get(candidate).id)
        try:
            self._engine.api.pull(registry + reference)
            return Image(uri, self._engine.images.get(registry + reference).id)
        except DockerException as error:
            raise UnknownImage(
                f"there is no image {repository}{reference} in this Docker engine or at "
                f"{self._settings.registry}; run 'make build'"
            ) from error

    def seen(self, folder: Path, at: str) -> str:
        return at

    def host_names(self, count: int) -> list[str]:
        return [f"algo-{number}" for number in range(1, count + 1)]

    @contextlib.contextmanager
    def network(self, name: str) -> Iterator[str]:
        try:
            network = self._engine.networks.create(_unique(name), labels=self._labels())
        except DockerException as error:
            raise OSError(_reason(error)) from error
        try:
            yield network.name
        finally:
            with contextlib.suppress(DockerException):  # the next sweep tries again
                network.remove()

    def port(self) -> int:
        return PORT

    def start(self, spec: Spec) -> "Container":
        image: Image = spec.image
        command = list(spec.arguments) or (None if spec.entrypoint else COMMANDS.get(spec.role))
        options = {
            "image": image.id,
            "name": _unique(spec.name),
            "entrypoint": spec.entrypoint,
            "command": command,
            "environment": spec.environment,
            "working_dir": spec.working_directory,
            "volumes": volumes(spec),
            "labels": self._labels(),
            "hostname": spec.host,
            "init": True,  # a first process that forwards SIGTERM and reaps orphans
            **user(spec.role, os.getuid(), os.getgid()),
            **limits(spec),
        }
        if spec.network:
            peers = EndpointConfig(self._engine.api._version, aliases=[spec.host])
            options |= {"network": spec.network, "networking_config": {spec.network: peers}}
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        container = None
        try:
            container = self._engine.containers.create(**options)
            container.start()
            container.reload()
        except DockerException as error:
            if container is not None:
                container.remove(force=True)
            raise OSError(_reason(error)) from error
        return Container(container, spec.log)

    def _labels(self) -> dict[str, str]:
        return {HOME_LABEL: str(self._settings.home)}


class Container:
    """See ``runtime.Container``. A thread carries its output into the log, and learns how it ended."""

    def __init__(self, container: EngineContainer, log: Path):
        """``container`` has just been started."""
        self._container = container
        self._log = log
        self._status: int | None = None
        self._ended = threading.Event()
        self.pid = container.attrs["State"]["Pid"]
        networks = container.attrs["NetworkSettings"]["Networks"].values()
        self.address = next((n["IPAddress"] for n in networks if n["IPAddress"]), NO_ADDRESS)
        threading.Thread(target=self._follow, name=f"container {container.name}", daemon=True).start()

    def poll(self) -> int | None:
        return self._status if self._ended.is_set() else None

    def wait(self) -> int:
        self._ended.wait()
        return self._status

    def stop(self, grace: float = GRACE) -> int:
        with contextlib.suppress(NotFound):
            self._container.stop(timeout=int(grace))
        status = self.wait()
        self.end()
        return status

    def end(self) -> None:
        with contextlib.suppress(NotFound):
            try:
                self._container.remove(force=True, v=True)
            except APIError as error:
                if error.status_code != 409:
                    raise
                self._container.wait(condition="removed")  # somebody else is at it just now

    def memory(self) -> int:
        try:
            main = psutil.Process(self.pid)
            return sum(process.memory_info().rss for process in [main, *main.children(recursive=True)])
        except (psutil.Error, ValueError):
            return 0

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def _follow(self) -> None:
        status = 137  # if it has been removed by force before anybody could ask
        try:
            with self._log.open("ab", buffering=0) as log:
                for chunk in self._container.logs(stream=True, follow=True):
                    log.write(chunk)
                status = self._container.wait(timeout=None)["StatusCode"]
                self._container.reload()
                if self._container.attrs["State"]["OOMKilled"]:
                    limit = self._container.attrs["HostConfig"]["Memory"] / 2**30
                    log.write(f"localcloud: killed for using more than its {limit:.3g} GiB\n".encode())
        except (DockerException, OSError):
            pass
        finally:
            self._status = status
            self._ended.set()


def sweep(home: Path) -> int:
    """Remove every container and network that a localcloud which is gone left; how many containers."""
    try:
        engine = _engine()
    except NoRuntime:
        return 0  # whose containers do not run either
    mine = {"label": f"{HOME_LABEL}={home}"}
    containers = engine.containers.list(all=True, filters=mine, ignore_removed=True)
    for container in containers:
        with contextlib.suppress(NotFound):
            container.remove(force=True, v=True)
    for network in engine.networks.list(filters=mine):
        with contextlib.suppress(NotFound):
            network.remove()
    return len(containers)


def _engine() -> docker.DockerClient:
    try:
        engine = docker.from_env(timeout=ENGINE_SECONDS, max_pool_size=64)
        engine.ping()
    except DockerException as error:
        raise NoRuntime(f"no Docker engine answers: start it, or use RUNTIME=process ({error})") from error
    return engine


def _gateway(engine: docker.DockerClient) -> str:
    """The bridge's address, which is this machine as every container of the engine reaches it."""
    bridge = engine.networks.get("bridge").attrs["Options"].get("com.docker.network.bridge.name", "docker0")
    for address in psutil.net_if_addrs().get(bridge, ()):
        if address.family == socket.AF_INET:
            return address.address
    raise NoRuntime(
        "RUNTIME=docker needs a Docker engine whose bridge is on this machine (Linux): its containers "
        "could not reach localcloud; use RUNTIME=process"
    )


def _unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def _reason(error: DockerException) -> str:
    """The engine's own words, on one line."""
    return " ".join((getattr(error, "explanation", None) or str(error)).split())
