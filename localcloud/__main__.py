"""``python -m localcloud up | down | status | env | serve``: AWS on this machine, started and stopped."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil

from localcloud.runtime import NoRuntime, sweep
from localcloud.settings import HEALTH, PROJECT, Settings

START_SECONDS = 60
STOP_SECONDS = 60


class CannotStart(Exception):
    """One line for the user."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m localcloud", description="AWS on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        verbs.add_parser(name, help=verb.__doc__.splitlines()[0], description=verb.__doc__)
    verb = parser.parse_args().verb
    try:
        return VERBS[verb](Settings.from_environment())
    except CannotStart as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1


def up(settings: Settings) -> int:
    """Start localcloud in the background, unless it runs already, and wait until it answers."""
    if health := _health(settings):
        if "LOCALCLOUD_RUNTIME" in os.environ and health["runtime"] != settings.runtime:
            raise CannotStart(
                f"it runs already, with RUNTIME={health['runtime']}; 'make down' first, then start it "
                f"with RUNTIME={settings.runtime}"
            )
        print(f"localcloud runs already at {settings.url}")
        return 0
    settings.home.mkdir(parents=True, exist_ok=True)
    with settings.log_file.open("ab") as log:
        start = log.tell()
        server = subprocess.Popen(
            [sys.executable, "-m", "localcloud", "serve"],
            cwd=PROJECT,
            env={**os.environ, **_as_environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not _health(settings):
        if server.poll() is not None:
            said = settings.log_file.read_bytes()[start:].decode(errors="replace").strip().splitlines()
            reason = said[-1].removeprefix("localcloud: ") if said else "it ended at once"
            raise CannotStart(f"{reason} (log: {settings.log_file})")
        if time.monotonic() > deadline:
            raise CannotStart(
                f"no answer at {settings.url} within {START_SECONDS} s; see {settings.log_file}"
            )
        time.sleep(0.03)
    print(f"localcloud answers at {settings.url}; 'eval \"$(make -s env)\"' points a shell at it")
    return 0


def down(settings: Settings) -> int:
    """Stop localcloud with its jobs, endpoints and functions; what they are is kept for the next start."""
    server = _server(settings)
    if server is not None:
        server.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _lives(server):
            if time.monotonic() > deadline:
                server.kill()
            time.sleep(0.02)
    sweep(settings.home)
    settings.pid_file.unlink(missing_ok=True)
    print("localcloud is stopped" if server else "localcloud was not running")
    return 0


def status(settings: Settings) -> int:
    """Show the address, and the newest jobs, pipeline executions, endpoints and functions, with status."""
    health = _health(settings)
    if not health:
        print(f"localcloud is not running; 'make up' starts it at {settings.url}")
        return 1
    from localcloud.status import show  # rich and boto3 take longer to import than the rest to run

    show(settings, health)
    return 0


def env(settings: Settings) -> int:
    """Print the export lines that point a shell, the AWS CLI and any boto3 program at localcloud."""
    for name, value in settings.client_environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def serve(settings: Settings) -> int:
    """Run localcloud in the foreground, until it is interrupted."""
    from localcloud import server  # moto takes half a second to import

    server.configure_logging()
    try:
        server.serve(settings)
    except (server.AlreadyRunning, NoRuntime) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(
            f"cannot listen at {settings.url}: {error.strerror}; set LOCALCLOUD_PORT"
        ) from error
    return 0


VERBS = {"up": up, "down": down, "status": status, "env": env, "serve": serve}


def _health(settings: Settings) -> dict | None:
    """What the server of this home says of itself; None if there is none.

    Raises CannotStart if the port answers, but not as this home's localcloud.
    """
    taken = CannotStart(f"{settings.url} is taken by something else; set LOCALCLOUD_PORT to a free port")
    try:
        with _DIRECT.open(settings.url + HEALTH, timeout=5) as answer:
            health = json.load(answer)
    except urllib.error.HTTPError as error:
        raise taken from error
    except (ConnectionError, urllib.error.URLError):
        return None
    except (ValueError, OSError) as error:
        raise taken from error
    if not isinstance(health, dict) or health.get("home") != str(settings.home):
        raise taken
    return health


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _server(settings: Settings) -> psutil.Process | None:
    """The process of the pid file, if it still is a localcloud."""
    try:
        server = psutil.Process(int(settings.pid_file.read_text()))
        return server if server.cmdline()[-2:] == ["localcloud", "serve"] else None
    except (OSError, ValueError, psutil.Error):
        return None


def _lives(process: psutil.Process) -> bool:
    """A zombie has ended, and may stay one where nobody reaps orphans, as in many containers."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _as_environment(settings: Settings) -> dict[str, str]:
    """The server runs in the project's folder, so relative paths are settled here."""
    return {"LOCALCLOUD_HOME": str(settings.home), "LOCALCLOUD_IMAGES": str(settings.images.resolve())}


if __name__ == "__main__":
    sys.exit(main())
