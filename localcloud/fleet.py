"""All the instances of one deployment of an endpoint: started, scaled, drained together."""

import io
import itertools
import random
import shutil
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from localcloud.capture import CaptureRule
from localcloud.endpoint_logs import log_group, stream_name
from localcloud.errors import unavailable, validation
from localcloud.gate import Gate
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


@dataclass(frozen=True, eq=False)
class Instance:
    """A worker with its files, and the callable that ends the reading of its log."""

    variant: Variant
    worker: Worker
    folder: Path  # with ``ml``, which the container sees as /opt/ml, and its log
    unfollow: Callable[[], None]


class Fleet:
    """The instances of a deployment, by variant.

    A request is bracketed by ``lease()``; ``drain()`` lets no new request in and waits for the rest.
    """

    def __init__(self, endpoint: str, deployment: dict, settings: Settings, runtime: Runtime, s3: Objects):
        """``deployment``: a snapshot with its ``Id``; raises AwsError for what cannot be honoured."""
        self.endpoint = endpoint
        self.variants = variants(deployment, runtime)
        self.capture = CaptureRule.parse(deployment["Config"].get("DataCaptureConfig"))
        self._folder = settings.home / "endpoints" / endpoint / deployment["Id"]
        self._runtime = runtime
        self._s3 = s3
        self._weights = {v.name: v.weight for v in self.variants}
        # Tuples that are replaced, never changed: a request may be reading one.
        self._instances: dict[str, tuple[Instance, ...]] = {v.name: () for v in self.variants}
        self._number = {v.name: self._numbers(v) for v in self.variants}
        self._turn = {v.name: itertools.count() for v in self.variants}
        self._gate = Gate()
        self._lock = threading.Lock()
        self._changing = threading.Lock()  # held while instances are started or retired
        self._stopped = False

    @property
    def first_logs(self) -> set[Path]:
        """What the instances write that ``start`` makes."""
        return {self._log(v, number) for v in self.variants for number in range(v.instances)}

    def start(self) -> None:
        """Returns when every instance is ready; raises StartFailed, and then no process is left."""
        with self._changing:
            self._launch([variant for variant in self.variants for _ in range(variant.instances)])

    def scale(self, counts: dict[str, int], weights: dict[str, float]) -> None:
        """Bring variants to so many instances and such weights, without a lost request.

        An instance is let in once it is ready, and stopped when it has answered what it was asked; raises
        StartFailed, and then nothing has changed.
        """
        with self._changing:
            more = [v for v in self.variants for _ in range(counts.get(v.name, 0) - self.instances(v.name))]
            self._launch(more)
            self._weights = {**self._weights, **weights}
            self._retire([i for name, count in counts.items() for i in self._instances[name][count:]])

    def instances(self, variant: str) -> int:
        """How many there are, ready or not."""
        return len(self._instances[variant])

    def cpu_seconds(self) -> Iterator[tuple[str, Instance, float]]:
        """Variant, instance, and the time of the CPU that it has used."""
        for name, instances in self._instances.items():
            for instance in instances:
                yield name, instance, instance.worker.cpu_seconds()

    @property
    def in_flight(self) -> int:
        """How many requests it is answering."""
        return self._gate.inside

    def lease(self) -> AbstractContextManager[bool]:
        """Holds the fleet for one request; False when it takes no more of them."""
        return self._gate.enter()

    def variant(self, target: str | None) -> str:
        """The variant for one request: by weight, or ``target``; raises AwsError where there is none."""
        name = target or self._weighted()
        if name not in self._instances:
            raise validation(f"Variant {name} of endpoint {self.endpoint} not found.")
        return name

    def worker(self, name: str) -> Worker:
        """The next ready instance of a variant; raises AwsError when none was within READY_SECONDS."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            instances, first = self._instances[name], next(self._turn[name])
            for offset in range(len(instances)):
                worker = instances[(first + offset) % len(instances)].worker
                if worker.ready.is_set():
                    return worker
            if self._stopped or time.monotonic() > deadline:
                raise unavailable(f"No instance of variant {name} is ready.")
            time.sleep(LOOK_SECONDS)

    def drain(self) -> None:
        """Let no new request in; returns when those in flight have been answered."""
        self._gate.drain(DRAIN_SECONDS)

    def stop(self) -> None:
        """End every process and remove what was unpacked; the logs stay."""
        self.halt()
        with self._changing:  # what was being started has seen the end and has removed its own
            for base in self._folder.glob("*/ml"):
                shutil.rmtree(base)

    def halt(self) -> None:
        """End every process and leave the files, to be started from again."""
        self._gate.close()
        with self._lock:
            self._stopped = True
            instances = [i for variant in self._instances.values() for i in variant]
        _end(instances)

    def _launch(self, variants: list[Variant]) -> None:
        """One more instance of each; when one of them does not start, none is kept."""
        if not variants:
            return
        instances = [self._instance(variant) for variant in variants]
        with self._lock:
            if self._stopped:
                raise StartFailed("stopped while it was starting")
            for instance in instances:
                self._instances[instance.variant.name] += (instance,)
        with ThreadPoolExecutor(len(instances)) as pool:
            starts = [pool.submit(self._start, instance) for instance in instances]
        for instance, start in zip(instances, starts, strict=True):
            if error := start.exception():
                self._retire(instances)
                if isinstance(error, StartFailed):
                    raise StartFailed(f"Production variant {instance.variant.name}: {error}") from error
                raise error

    def _retire(self, instances: list[Instance]) -> None:
        """Let no new request to them, wait for those that they have, stop them, remove what was unpacked."""
        with self._lock:
            for name, present in self._instances.items():
                self._instances[name] = tuple(i for i in present if i not in instances)
        for instance in instances:
            instance.worker.gate.drain(DRAIN_SECONDS)
        _end(instances)
        for instance in instances:
            shutil.rmtree(instance.folder / "ml", ignore_errors=True)

    def _weighted(self) -> str:
        if len(self._weights) == 1:
            return self.variants[0].name
        weights = self._weights
        return random.choices(list(weights), list(weights.values()))[0]

    def _numbers(self, variant: Variant) -> Iterator[int]:
        """Of its instances: after a start-up those of ``start`` have their old folders, and later ones new
        ones, as the log of an instance that was retired is complete.
        """
        used = (int(folder.name.rpartition("-")[2]) for folder in self._folder.glob(f"{variant.name}-*"))
        first = range(variant.instances)
        return itertools.chain(first, itertools.count(max([len(first) - 1, *used]) + 1))

    def _log(self, variant: Variant, number: int) -> Path:
        return self._folder / f"{variant.name}-{number}" / "log"

    def _instance(self, variant: Variant) -> Instance:
        number = next(self._number[variant.name])
        log = self._log(variant, number)
        folder = log.parent
        spec = Spec(
            name=f"{self.endpoint}-{variant.name}-{number}",
            image=variant.image,
            role=SERVE,
            environment={
                **self._runtime.client_environment,
                **variant.environment,
                "SAGEMAKER_BASE_DIR": self._runtime.seen(folder / "ml", OPT_ML),
            },
            folder=folder / "ml",
            log=log,
            limits=variant.limits,
        )
        worker = Worker(self._runtime, spec, variant.startup_seconds)
        return Instance(variant, worker, folder, follow(log_group(self.endpoint), stream_name(log), log))

    def _start(self, instance: Instance) -> None:
        model = instance.folder / "ml" / "model"
        if not model.exists():
            self._unpack(instance.variant, model)
        instance.worker.start()

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


def _end(instances: Iterable[Instance]) -> None:
    """Stop every process, all at once, and take in the rest of the logs."""
    instances = list(instances)
    if instances:
        with ThreadPoolExecutor(len(instances)) as pool:
            list(pool.map(lambda instance: instance.worker.stop(STOP_SECONDS), instances))
    for instance in instances:
        instance.unfollow()
