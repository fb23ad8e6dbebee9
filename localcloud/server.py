"""localcloud's one address: which part answers a request, and the life of all parts together."""

import fcntl
import io
import json
import logging
import os
import signal
import sys
import threading
from contextlib import nullcontext

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from localcloud import (
    alarms,
    autoscaling,
    ecr,
    journal,
    logs,
    mirror,
    registry_front,
    runtime,
    sagemaker,
    transport,
)
from localcloud.cloudwatch import CloudWatch
from localcloud.endpoints import Endpoints
from localcloud.functions import Functions
from localcloud.invoke import Invocations
from localcloud.jobs import Jobs
from localcloud.objects import Objects
from localcloud.pipelines import Pipelines
from localcloud.registry import Registry
from localcloud.settings import HEALTH, Settings
from localcloud.store import Store

log = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """Another process serves from the same home."""


class Front:
    """The WSGI application: the paths that must be quick first, moto last."""

    def __init__(self, settings: Settings, invocations, functions, images, moto):
        self._health = json.dumps(
            {"home": str(settings.home), "pid": os.getpid(), "runtime": settings.runtime}
        ).encode()
        self._invocations = invocations
        self._functions = functions
        self._images = images
        self._moto = moto

    def __call__(self, environ: dict, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/endpoints/") and path.endswith("/invocations"):
            return self._invocations(environ, start_response)
        if path.startswith("/2015-03-31/functions"):
            return self._functions(environ, start_response)
        if path.startswith(registry_front.ROOT) and not _is_signed(environ):  # other services have a v2, too
            return self._images(environ, start_response)
        if path == HEALTH:
            return _answer(start_response, "200 OK", self._health)
        return self._moto(environ, start_response)


class Durable:
    """moto, answering only when what it has changed is on disk."""

    def __init__(self, moto, disk: mirror.Mirror, record: journal.Journal):
        self._moto = moto
        self._mirror = disk
        self._journal = record

    def __call__(self, environ: dict, start_response):
        transport.for_moto(environ)
        kept, body = False, b""
        if not journal.is_object_request(environ):
            body = environ["wsgi.input"].read()
            environ["wsgi.input"] = io.BytesIO(body)
            kept = journal.is_kept(environ, body)
        answered = []

        def started(status: str, headers, exc_info=None):
            answered.append((status, headers))
            return lambda data: None

        with self._mirror.lock if journal.is_s3(environ) else nullcontext():
            try:
                chunks = self._moto(environ, started)
            except NotImplementedError as error:
                text = f"localcloud cannot do this: {error}"
                document = {"__type": "NotImplemented", "message": text}
                return _answer(start_response, "501 Not Implemented", json.dumps(document).encode())
            finally:
                self._mirror.flush()
        status, headers = answered[-1]
        if kept and status.startswith("2"):
            self._journal.append(environ, body)
        start_response(status, headers)
        return chunks


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises AlreadyRunning, NoRuntime, or OSError if the port is taken."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"localcloud is already running from {settings.home}") from None
        _serve(settings)


def _serve(settings: Settings) -> None:
    if killed := runtime.sweep(settings.home):
        log.warning("killed %d processes or containers that an earlier localcloud left", killed)
    below = runtime.choose(settings)
    store = Store(settings.home / "store")
    disk = mirror.Mirror(settings.home / "s3")
    objects = Objects(disk)
    jobs = Jobs(settings, below, store, objects)
    endpoints = Endpoints(settings, below, store, objects)
    functions = Functions(settings, below, store)
    pipelines = Pipelines(settings, store, jobs, objects)
    cloudwatch = CloudWatch(endpoints.publish_metrics, functions.start)
    moto = DomainDispatcherApplication(create_backend_app)
    record = journal.Journal(settings.home / "journal.jsonl")
    registry = Registry(settings.registry)
    images = registry_front.RegistryFront(registry, store)
    front = Front(settings, Invocations(endpoints), functions, images, Durable(moto, disk, record))

    sagemaker.honour_instance_types()
    autoscaling.forget_policies_with_their_target()
    alarms.honour_alarms()
    record.replay(moto)  # before anything is carried out: moto's bookkeeping alone
    disk.restore()
    mirror.watch()
    logs.honour_prefixes()
    ecr.install(settings, registry, store)
    sagemaker.install(store, jobs, endpoints, pipelines)
    jobs.resume()
    server = transport.listen(front, settings, below.address)
    pipelines.resume()  # what executions ask for waits until the server runs

    # A handler runs in the midst of whatever the main thread does: it must wait for no lock, as an Event's.
    stopped, stop = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(stop, b"."))
    threading.Thread(target=server.run, name="server", daemon=True).start()
    settings.pid_file.write_text(f"{os.getpid()}\n")
    endpoints.resume()
    functions.resume()
    cloudwatch.start()
    log.info("localcloud answers at %s", settings.url)
    os.read(stopped, 1)
    # Still serving: containers that are being stopped may have something to save.
    for part in (cloudwatch, pipelines, jobs, functions, endpoints):  # first what would start others again
        part.shutdown()
    settings.pid_file.unlink(missing_ok=True)


def _is_signed(environ: dict) -> bool:
    return environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4-")


def _answer(start_response, status: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def configure_logging() -> None:
    """Lines with a time, to stderr, which is the log file of a server in the background."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("localcloud").setLevel(logging.INFO)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # "Task queue depth": a burst is no news
