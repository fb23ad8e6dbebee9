"""The servers that can stand before the handler: the command of each, and the variables it reads."""

import contextlib
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from containers.common.errors import SettingsError
from containers.serve import requests, state

MODEL_SERVERS = {
    "mms": (Path("/opt/front/mms"), "mms", "com.amazonaws.ml.mms.ModelServer"),
    "torchserve": (Path("/opt/front/torchserve"), "ts", "org.pytorch.serve.ModelServer"),
}
FRONTS = ("flask", *MODEL_SERVERS)
DEFAULT_FRONT = "flask"  # bench/fronts.csv: two fifths of the memory, and no slower
# A small server: nothing to gain from a second compiler or a parallel collector, and starting is quicker.
JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"]


@dataclass(frozen=True)
class Settings:
    """host, port: what the server binds. workers: requests answered at once. folder: state and scratch."""

    front: str
    host: str
    port: int
    workers: int
    folder: Path

    @classmethod
    def from_environment(cls, folder: Path) -> "Settings":
        front = os.environ.get("BINTALLY_FRONT", DEFAULT_FRONT)
        if front not in FRONTS:
            raise SettingsError(f"BINTALLY_FRONT={front}; it is one of {', '.join(FRONTS)}")
        return cls(
            front,
            os.environ.get("BINTALLY_HOST", "0.0.0.0"),  # in a container, every address is its own
            int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or 8080),
            workers(),
            folder,
        )


def workers() -> int:
    """Requests worked on at once: one per core that this container may use."""
    if number := os.environ.get("BINTALLY_WORKERS"):
        return int(number)
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(quota() or cores)))


def quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many cores' time this container may use, by either version of control groups; None: no limit."""
    with contextlib.suppress(OSError, ValueError):
        most, period = (cgroup / "cpu.max").read_text().split()
        return int(most) / int(period)  # "max" is no number
    with contextlib.suppress(OSError, ValueError):
        most = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        return most / int((cgroup / "cpu/cpu.cfs_period_us").read_text()) if most > 0 else None
    return None


def environment(settings: Settings) -> dict[str, str]:
    """What the server sees. The three ports are of the loopback address, for nobody outside."""
    return {
        **os.environ,
        state.VARIABLE: str(settings.folder),
        "SAGEMAKER_BIND_TO_PORT": str(settings.port),
        "BINTALLY_HOST": settings.host,
        "BINTALLY_WORKERS": str(settings.workers),
        "BINTALLY_MAX_REQUEST": str(2 * requests.MAX_BODY),
        **{
            f"BINTALLY_{use}_PORT": str(port)
            for use, port in zip(("MANAGEMENT", "METRICS", "GRPC"), _free_ports(3), strict=True)
        },
    }


def command(settings: Settings) -> list[str]:
    """A model server's Java is started without its Python launcher, one process less to signal."""
    if settings.front == "flask":
        return [sys.executable, "-m", "containers.serve.front"]
    home, package, main = MODEL_SERVERS[settings.front]
    packages = next(Path(path) for path in sys.path if (Path(path) / package / "frontend").is_dir())
    return [
        "java",
        *JVM,
        f"-Dmodel_server_home={packages}",
        f"-Djava.io.tmpdir={settings.folder}",
        f"-Dbintally.ready={state.ready_file(settings.folder)}",
        f"-Dlog4j.configurationFile={home / 'log4j2.xml'}",
        "-cp",
        f"{packages / package / 'frontend'}/*:{home}/*",
        main,
        *("--python", sys.executable),
        *("-f", str(home / "config.properties")),
        *("-s", str(home / "models")),
        *(["-ncs"] if settings.front == "torchserve" else []),  # no snapshots of its configuration
        *("-m", "bintally=bintally"),
    ]


def _free_ports(count: int) -> list[int]:
    """From below 32768, which is the last port that multi-model-server takes for one."""
    with contextlib.ExitStack() as stack:
        ports = []
        for port in range(20000, 32768):
            listener = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise SettingsError("no port is free from 20000 to 32767")
