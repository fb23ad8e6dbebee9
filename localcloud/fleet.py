"""All the instances of one deployment of an endpoint: started together, drained together."""

import io
import itertools
import random
import shutil
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from localcloud.capture import CaptureRule
from localcloud.errors import unavailable, validation
from localcloud.logs import follow
from localcloud.objects import NoSuchObject, Objects, split
from localcloud.runtime import OPT_ML, SERVE, Runtime, Spec
from localcloud.settings import Settings
from localcloud.variants import Variant, variants
from localcloud.workers import StartFailed, Worker

READY_SECONDS = 30  # how long a request waits for an instance that is being started again
DRAIN_SECONDS = 70  # a little more than a container may take for one answer
STOP_SECONDS = 30  # SageMaker's own, between SIGTERM and SIGKILL
LOOK_SECONDS = 0.05


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


class Fleet:
    """The workers of a deployment, by variant.

    A request is bracketed by ``lease()``; ``drain()`` lets no new request in and waits for the rest.
    """

    def __init__(self, endpoint: str, deployment: dict, settings: Settings, runtime: Runtime, s3: Objects):
        """``deployment``: a snapshot with its ``Id``; raises AwsError for what cannot be honoured."""
        self.endpoint = endpoint
        self.variants = variants(deployment, runtime)
        self.capture = CaptureRule.parse(deployment["Config"].get("DataCaptureConfig"))
        self._deployment = deployment["Id"]
        self._folder = settings.home / "endpoints" / endpoint / self._deployment
        self._runtime = runtime
        self._s3 = s3
        self._workers: dict[str, list[Worker]] = {}
        self._turn = {v.name: itertools.count() for v in self.variants}
        self._unfollow = []
        self._changed = threading.Condition()
        self._in_flight = 0
        self._draining = False
        self._stopped = False

    def start(self) -> None:
        """Returns when every instance is ready; raises StartFailed, and then no process is left."""
        instances = [(v, i, self._worker(v, i)) for v in self.variants for i in range(v.instances)]
        with self._changed:
            if self._stopped:
                raise StartFailed("stopped while it was starting")
            for variant, _, worker in instances:
                self._workers.setdefault(variant.name, []).append(worker)
        with ThreadPoolExecutor(len(instances)) as pool:
            starts = [pool.submit(self._start, *instance) for instance in instances]
        for (variant, _, _), start in zip(instances, starts, strict=True):
            if error := start.exception():
                self.halt()
                if isinstance(error, StartFailed):
                    raise StartFailed(f"Production variant {variant.name}: {error}") from error
                raise error

    @contextmanager
    def lease(self) -> Iterator[bool]:
        """Holds the fleet for one request; False when it takes no more of them."""
        with self._changed:
            admitted = not self._draining
            self._in_flight += admitted
        try:
            yield admitted
        finally:
            with self._changed:
                self._in_flight -= admitted
                if self._draining:
                    self._changed.notify_all()

    def choose(self, target: str | None) -> tuple[str, Worker]:
        """A variant by weight, or ``target``, and the next ready one of its instances.

        Raises AwsError: no such variant, or none of its instances was ready within READY_SECONDS.
        """
        name = target or self._weighted()
        if name not in self._workers:
            raise validation(f"Variant {name} of endpoint {self.endpoint} not found.")
        workers = self._workers[name]
        deadline = time.monotonic() + READY_SECONDS
        while True:
            first = next(self._turn[name])
            for offset in range(len(workers)):
                worker = workers[(first + offset) % len(workers)]
                if worker.ready.is_set():
                    return name, worker
            if self._stopped or time.monotonic() > deadline:
                raise unavailable(f"No instance of variant {name} is ready.")
            time.sleep(LOOK_SECONDS)

    def drain(self) -> None:
        """Let no new request in; returns when those in flight have been answered."""
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: self._in_flight == 0, DRAIN_SECONDS)

    def stop(self) -> None:
        """End every process and remove what was unpacked; the logs stay."""
        self.halt()
        for base in self._folder.glob("*/ml"):
            shutil.rmtree(base)

    def halt(self) -> None:
        """End every process and leave the files, to be started from again."""
        with self._changed:
            self._stopped = self._draining = True
            workers = [w for variant in self._workers.values() for w in variant]
        if workers:
            with ThreadPoolExecutor(len(workers)) as pool:
                list(pool.map(lambda worker: worker.stop(STOP_SECONDS), workers))
        while self._unfollow:
            self._unfollow.pop()()

    def _weighted(self) -> str:
        if len(self.variants) == 1:
            return self.variants[0].name
        return random.choices([v.name for v in self.variants], [v.weight for v in self.variants])[0]

    def _worker(self, variant: Variant, index: int) -> Worker:
        folder = self._folder / f"{variant.name}-{index}"
        spec = Spec(
            name=f"{self.endpoint}-{variant.name}-{index}",
            image=variant.image,
            role=SERVE,
            environment={
                **self._runtime.client_environment,
                **variant.environment,
                "SAGEMAKER_BASE_DIR": self._runtime.seen(folder / "ml", OPT_ML),
            },
            folder=folder / "ml",
            log=folder / "log",
            limits=variant.limits,
        )
        return Worker(self._runtime, spec, variant.startup_seconds)

    def _start(self, variant: Variant, index: int, worker: Worker) -> None:
        model = self._folder / f"{variant.name}-{index}" / "ml" / "model"
        if not model.exists():
            self._unpack(variant, model)
        stream = f"{variant.name}/i-{self._deployment}{index:x}"
        self._unfollow.append(follow(log_group(self.endpoint), stream, worker.log))
        worker.start()

    def _unpack(self, variant: Variant, model: Path) -> None:
        part = model.with_name("model.part")  # a folder named "model" is a complete one
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if url := variant.model_data_url:
            try:
                with tarfile.open(fileobj=io.BytesIO(self._s3.get(*split(url))), mode="r:gz") as archive:
                    archive.extractall(part, filter="data")
            except NoSuchObject as error:
                raise StartFailed(f"failed to download model data: {error}") from error
            except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
                raise StartFailed(f"the model data at {url} is not a usable model.tar.gz: {error}") from error
        part.rename(model)
