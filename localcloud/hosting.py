"""What goes on behind endpoints: fleets are started, replaced, scaled and removed, in the background.

How it ended is written into the endpoint's document in the store.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable

from localcloud import endpoint_views as views
from localcloud.capture import Capture
from localcloud.fleet import Fleet
from localcloud.objects import Objects
from localcloud.rollout import Overtaken, Rollout, Traffic
from localcloud.runtime import Runtime
from localcloud.settings import Settings
from localcloud.store import Store
from localcloud.workers import StartFailed

KIND = "endpoint"

log = logging.getLogger(__name__)


class Hosting:
    """The fleets of all endpoints. Whoever looks at a document and begins something holds ``lock``.

    A document's ``Deployment`` is the snapshot that its live fleet runs, ``Desired`` the one that the
    fleet is being scaled to.
    """

    def __init__(self, settings: Settings, runtime: Runtime, store: Store, s3: Objects):
        self.lock = threading.RLock()
        self.capture = Capture(s3)
        self._settings = settings
        self._runtime = runtime
        self._store = store
        self._s3 = s3
        self._live: dict[str, Traffic] = {}
        self._starting: dict[str, Fleet] = {}  # until they have all of the traffic for good
        self._retiring: set[Fleet] = set()

    def fleet(self, name: str, deployment: dict) -> Fleet:
        """The fleet of a snapshot, not started; raises AwsError for what cannot be honoured."""
        return Fleet(name, deployment, self._settings, self._runtime, self._s3)

    def traffic(self, name: str) -> Traffic | None:
        """What serves an endpoint now."""
        return self._live.get(name)

    def fleets(self) -> list[Fleet]:
        """All that serve now."""
        return [fleet for traffic in list(self._live.values()) for fleet in traffic.fleets]

    def mark(self, name: str, status: str, **changes) -> None:
        self._store.update(KIND, name, EndpointStatus=status, LastModifiedTime=time.time(), **changes)

    def bring_up(self, fleet: Fleet, reason: str | None = None) -> None:
        """Begin to serve; ``reason`` becomes the FailureReason of an endpoint that then is in service."""

        def work() -> None:
            failure = _failure(fleet, fleet.start)
            with self.lock:
                if not self._still_wanted(fleet):
                    return
                if failure:
                    fleet.stop()
                    self.mark(fleet.endpoint, "Failed", FailureReason=failure)
                else:
                    self._live[fleet.endpoint] = Traffic(fleet)
                    self.mark(fleet.endpoint, "InService", FailureReason=reason)

        self._begin(fleet, work)

    def replace(self, green: Fleet, deployment: dict, rollout: Rollout) -> None:
        """Begin to replace the fleet that serves; when that fails, it goes on as it was."""

        def work() -> None:
            try:
                failure = _failure(green, green.start) or _failure(green, lambda: self._shift(green, rollout))
            except Overtaken:
                return
            self._settle(green, deployment, rollout, failure)

        self._begin(green, work)

    def rescale(self, name: str, desired: dict) -> None:
        """Begin to bring the fleet that serves to the counts and weights of the snapshot ``desired``."""
        traffic = self._live[name]
        aims = desired["Config"]["ProductionVariants"]
        counts = {v["VariantName"]: v["InitialInstanceCount"] for v in aims}
        weights = {v["VariantName"]: v["InitialVariantWeight"] for v in aims}

        def work() -> None:
            failure = _failure(traffic.blue, lambda: traffic.blue.scale(counts, weights))
            with self.lock:
                if self._live.get(name) is traffic:
                    done = {} if failure else {"Deployment": desired}
                    self.mark(name, "InService", Desired=None, FailureReason=failure, **done)

        self._background(work)

    def remove(self, name: str) -> None:
        """Begin to end an endpoint, whatever it is doing; its document goes last."""
        traffic, starting = self._live.pop(name, None), self._starting.pop(name, None)
        fleets = {*(traffic.fleets if traffic else ()), *([starting] if starting else ())}
        self._retiring.update(fleets)

        def work() -> None:
            self._retire(fleets)
            self.capture.flush()
            shutil.rmtree(self._settings.home / "endpoints" / name, ignore_errors=True)
            self._store.delete(KIND, name)

        self._background(work)

    def is_known(self, name: str) -> bool:
        """Whether there is a fleet that serves, or is about to."""
        return name in self._live or name in self._starting

    def shutdown(self) -> None:
        """End every process; the documents stay as they are."""
        with self.lock:
            fleets = {*self.fleets(), *self._starting.values(), *self._retiring}
            self._live.clear()
            self._starting.clear()
        halts = [threading.Thread(target=fleet.halt) for fleet in fleets]
        for halt in halts:
            halt.start()
        for halt in halts:
            halt.join()
        self.capture.close()

    def _shift(self, green: Fleet, rollout: Rollout) -> str | None:
        """Move the traffic as ``rollout`` says; None, or the reason to move it back. Raises Overtaken."""
        name = green.endpoint

        def shift(share: float) -> None:
            self._live[name] = Traffic(self._live[name].blue, green, share)

        def show(status: str, message: str) -> None:
            pending = views.advanced(self._store.get(KIND, name), status, message)
            self._store.update(KIND, name, PendingDeploymentSummary=pending)

        def unless_overtaken(change: Callable) -> Callable:
            def guarded(*arguments) -> None:
                with self.lock:
                    if self._starting.get(name) is not green:
                        raise Overtaken
                    change(*arguments)

            return guarded

        return rollout.carry_out(
            unless_overtaken(shift), unless_overtaken(show), lambda: self._starting.get(name) is green
        )

    def _settle(self, green: Fleet, deployment: dict, rollout: Rollout, failure: str | None) -> None:
        """One of the two fleets has all of the traffic from here on; the other goes."""
        name = green.endpoint
        with self.lock:
            if not self._still_wanted(green):
                return
            blue = self._live[name].blue
            stays, goes = (blue, green) if failure else (green, blue)
            traffic = self._live[name] = Traffic(stays)
            self._retiring.add(goes)
            if not failure:
                config_name = deployment["Config"]["EndpointConfigName"]
                self._store.update(KIND, name, EndpointConfigName=config_name, Deployment=deployment)
        self._retire([goes])
        with self.lock:
            if self._live.get(name) is traffic:
                ended = {"PendingDeploymentSummary": None, "LastDeploymentConfig": rollout.document or None}
                self.mark(name, "InService", FailureReason=failure, **ended)

    def _still_wanted(self, fleet: Fleet) -> bool:
        """False once a deletion or the shutdown has taken the fleet over."""
        if self._starting.get(fleet.endpoint) is not fleet:
            return False
        del self._starting[fleet.endpoint]
        return True

    def _retire(self, fleets: Iterable[Fleet]) -> None:
        for fleet in fleets:
            fleet.drain()
            fleet.stop()
            self._retiring.discard(fleet)

    def _begin(self, fleet: Fleet, work: Callable[[], None]) -> None:
        self._starting[fleet.endpoint] = fleet
        self._background(work)

    def _background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="endpoints", daemon=True).start()


def _failure(fleet: Fleet, work: Callable[[], str | None]) -> str | None:
    """The reason why ``work`` on a fleet failed, as it says or raises; None if it did not."""
    try:
        return work()
    except Overtaken:
        raise
    except StartFailed as error:
        return str(error)
    except Exception as error:  # an endpoint must not stay "Creating" or "Updating" for ever
        log.exception("endpoint %s: the work on its fleet failed", fleet.endpoint)
        return f"{type(error).__name__}: {error}"
