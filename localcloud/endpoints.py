"""SageMaker endpoints that really serve: created, updated blue/green, described, deleted, resumed."""

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable

from localcloud.accepted import check
from localcloud.capture import Capture
from localcloud.endpoint_views import description, listing
from localcloud.errors import AwsError, unavailable, validation
from localcloud.fleet import Fleet
from localcloud.objects import Objects
from localcloud.runtime import Runtime
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.store import Store
from localcloud.variants import refuse_deployment, snapshot
from localcloud.workers import StartFailed

KIND = "endpoint"
RESUME_SECONDS = 30  # how long an invocation waits for an endpoint that comes back after a start-up

log = logging.getLogger(__name__)


class Endpoints:
    """The endpoints' documents in the store, and the fleets that stand behind them.

    A document's ``Deployment`` is the snapshot that its live fleet was started from.
    """

    def __init__(self, settings: Settings, runtime: Runtime, store: Store, s3: Objects):
        self.capture = Capture(s3)
        self._settings = settings
        self._runtime = runtime
        self._store = store
        self._s3 = s3
        self._lock = threading.RLock()
        self._live: dict[str, Fleet] = {}
        self._starting: dict[str, Fleet] = {}
        self._retiring: set[Fleet] = set()

    def create(self, params: dict) -> dict:
        """CreateEndpoint; returns at once, the fleet starts in the background."""
        check("CreateEndpoint", params, "EndpointName")
        name = params["EndpointName"]
        arn = _arn(name)
        refuse_deployment(params)
        with self._lock:
            if self._store.get(KIND, name):
                raise validation(f'Cannot create already existing endpoint "{arn}".')
            deployment = self._snapshot(params["EndpointConfigName"])
            fleet = self._fleet(name, deployment)
            now = time.time()
            self._store.put(KIND, name, {
                "EndpointName": name,
                "EndpointArn": arn,
                "EndpointConfigName": params["EndpointConfigName"],
                "EndpointStatus": "Creating",
                "CreationTime": now,
                "LastModifiedTime": now,
                "Deployment": deployment,
            })  # fmt: skip
            self._begin(self._bring_up, fleet, None)
        return {"EndpointArn": arn}

    def update(self, params: dict) -> dict:
        """UpdateEndpoint: the new fleet starts beside the old, which serves until the switch."""
        check("UpdateEndpoint", params, "EndpointName")
        name = params["EndpointName"]
        refuse_deployment(params)
        with self._lock:
            document = self._find(name)
            if document["EndpointStatus"] == "Failed":
                raise validation(f'Cannot update failed endpoint "{document["EndpointArn"]}".')
            if document["EndpointStatus"] != "InService" or name not in self._live:
                raise validation(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
            deployment = self._snapshot(params["EndpointConfigName"])
            fleet = self._fleet(name, deployment)
            pending = {
                "EndpointConfigName": params["EndpointConfigName"],
                "ProductionVariants": [{"VariantName": v.name} for v in fleet.variants],
                "StartTime": time.time(),
            }
            self._mark(name, "Updating", PendingDeploymentSummary=pending, FailureReason=None)
            self._begin(self._replace, fleet, deployment)
        return {"EndpointArn": document["EndpointArn"]}

    def delete(self, params: dict) -> dict:
        """DeleteEndpoint, in whatever state it is; requests in flight are answered first."""
        check("DeleteEndpoint", params, "EndpointName")
        name = params["EndpointName"]
        with self._lock:
            document = self._find(name)
            if document["EndpointStatus"] == "Deleting":
                raise validation(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
            self._mark(name, "Deleting")
            fleets = [f for f in (self._live.pop(name, None), self._starting.pop(name, None)) if f]
            self._retiring.update(fleets)
            self._background(lambda: self._remove(name, fleets))
        return {}

    def describe(self, name: str) -> dict:
        """DescribeEndpoint's answer."""
        return description(self._find(name))

    def list(self, params: dict) -> dict:
        """ListEndpoints' answer, with its filters, sorting and paging."""
        return listing(self._store.all(KIND), params)

    def fleet(self, name: str) -> Fleet:
        """What serves an endpoint now; waits for one that is being resumed.

        Raises AwsError as InvokeEndpoint does: no such endpoint, or not back in time.
        """
        deadline = time.monotonic() + RESUME_SECONDS
        while (fleet := self._live.get(name)) is None:
            document = self._store.get(KIND, name)
            if document is None or document["EndpointStatus"] not in ("InService", "SystemUpdating"):
                raise AwsError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.", 400)
            if time.monotonic() > deadline:
                raise unavailable(f"Endpoint {name} is still being started again.")
            time.sleep(0.05)
        return fleet

    def resume(self) -> None:
        """After a start-up: what served is started again, in the background.

        An update that was cut off is rolled back, a deletion is carried on.
        """
        with self._lock:
            for document in self._store.all(KIND):
                name = document["EndpointName"]
                if name not in self._live and name not in self._starting:  # else created since
                    self._resume(document)

    def shutdown(self) -> None:
        """End every process; the documents stay as they are, for ``resume``."""
        with self._lock:
            fleets = {*self._live.values(), *self._starting.values(), *self._retiring}
            self._live.clear()
            self._starting.clear()
        halts = [threading.Thread(target=fleet.halt) for fleet in fleets]
        for halt in halts:
            halt.start()
        for halt in halts:
            halt.join()
        self.capture.close()

    def _resume(self, document: dict) -> None:
        name, status = document["EndpointName"], document["EndpointStatus"]
        if status == "Failed":
            return
        if status == "Deleting":
            self._background(lambda: self._remove(name, []))
            return
        try:
            fleet = self._fleet(name, document["Deployment"])
        except AwsError as error:
            self._mark(name, "Failed", FailureReason=error.message)
            return
        if status != "Creating":
            self._mark(name, "SystemUpdating", PendingDeploymentSummary=None)
        reason = "localcloud was stopped during the update" if status == "Updating" else None
        self._begin(self._bring_up, fleet, reason)

    def _bring_up(self, fleet: Fleet, reason: str | None) -> None:
        failure = self._start(fleet)
        with self._lock:
            if not self._still_wanted(fleet):
                return
            if failure:
                fleet.stop()
                self._mark(fleet.endpoint, "Failed", FailureReason=failure)
            else:
                self._live[fleet.endpoint] = fleet
                self._mark(fleet.endpoint, "InService", FailureReason=reason)

    def _replace(self, fleet: Fleet, deployment: dict) -> None:
        failure = self._start(fleet)
        name = fleet.endpoint
        with self._lock:
            if not self._still_wanted(fleet):
                return
            if failure:
                fleet.stop()
                self._mark(name, "InService", FailureReason=failure, PendingDeploymentSummary=None)
                return
            old, self._live[name] = self._live[name], fleet
            self._retiring.add(old)
            config_name = deployment["Config"]["EndpointConfigName"]
            self._store.update(KIND, name, EndpointConfigName=config_name, Deployment=deployment)
        self._retire(old)
        with self._lock:
            if self._live.get(name) is fleet:
                self._mark(name, "InService", PendingDeploymentSummary=None)

    def _start(self, fleet: Fleet) -> str | None:
        """None, or the reason why the fleet does not stand."""
        try:
            fleet.start()
        except StartFailed as error:
            return str(error)
        except Exception as error:  # an endpoint must not stay "Creating" for ever
            log.exception("endpoint %s could not be started", fleet.endpoint)
            return f"{type(error).__name__}: {error}"
        return None

    def _still_wanted(self, fleet: Fleet) -> bool:
        """False once a deletion or the shutdown has taken the fleet over."""
        if self._starting.get(fleet.endpoint) is not fleet:
            return False
        del self._starting[fleet.endpoint]
        return True

    def _retire(self, fleet: Fleet) -> None:
        fleet.drain()
        fleet.stop()
        self._retiring.discard(fleet)

    def _remove(self, name: str, fleets: Iterable[Fleet]) -> None:
        for fleet in fleets:
            self._retire(fleet)
        self.capture.flush()
        shutil.rmtree(self._settings.home / "endpoints" / name, ignore_errors=True)
        self._store.delete(KIND, name)

    def _begin(self, work: Callable, fleet: Fleet, argument) -> None:
        self._starting[fleet.endpoint] = fleet
        self._background(lambda: work(fleet, argument))

    def _background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="endpoints", daemon=True).start()

    def _snapshot(self, config_name: str) -> dict:
        return {"Id": uuid.uuid4().hex[:12], **snapshot(config_name, self._store)}

    def _fleet(self, name: str, deployment: dict) -> Fleet:
        return Fleet(name, deployment, self._settings, self._runtime, self._s3)

    def _mark(self, name: str, status: str, **changes) -> None:
        self._store.update(KIND, name, EndpointStatus=status, LastModifiedTime=time.time(), **changes)

    def _find(self, name: str) -> dict:
        document = self._store.get(KIND, name)
        if document is None:
            raise validation(f'Could not find endpoint "{_arn(name)}".')
        return document


def _arn(name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{name.lower()}"
