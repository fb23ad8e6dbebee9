"""SageMaker endpoints that really serve: created, updated, scaled, described, deleted, resumed."""

import time
import uuid

from localcloud import autoscaling, endpoint_logs, variants
from localcloud import endpoint_views as views
from localcloud.accepted import check
from localcloud.errors import AwsError, unavailable, validation
from localcloud.fleet import Fleet
from localcloud.hosting import KIND, Hosting
from localcloud.metrics import Metrics
from localcloud.objects import Objects
from localcloud.rollout import Rollout
from localcloud.runtime import Runtime
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.store import Store

RESUME_SECONDS = 30  # how long an invocation waits for an endpoint that comes back after a start-up


class Endpoints:
    """SageMaker's operations on endpoints: each checks, writes the document, and has the work begun."""

    def __init__(self, settings: Settings, runtime: Runtime, store: Store, s3: Objects):
        self._settings = settings
        self._hosting = Hosting(settings, runtime, store, s3)
        self._store = store
        self.capture = self._hosting.capture
        self.metrics = Metrics()

    def create(self, params: dict) -> dict:
        """CreateEndpoint; returns at once, the fleet starts in the background."""
        check("CreateEndpoint", params, "EndpointName")
        name = params["EndpointName"]
        arn = _arn(name)
        with self._hosting.lock:
            if self._store.get(KIND, name):
                raise validation(f'Cannot create already existing endpoint "{arn}".')
            deployment = self._snapshot(params["EndpointConfigName"])
            rollout = Rollout.parse(params.get("DeploymentConfig"), variants.instances(deployment))
            fleet = self._hosting.fleet(name, deployment)
            now = time.time()
            self._store.put(KIND, name, {
                "EndpointName": name,
                "EndpointArn": arn,
                "EndpointConfigName": params["EndpointConfigName"],
                "EndpointStatus": "Creating",
                "CreationTime": now,
                "LastModifiedTime": now,
                "LastDeploymentConfig": rollout.document or None,
                "Deployment": deployment,
            })  # fmt: skip
            self._hosting.bring_up(fleet)
        return {"EndpointArn": arn}

    def update(self, params: dict) -> dict:
        """UpdateEndpoint: a new fleet starts beside the old, and takes the traffic over as told."""
        check("UpdateEndpoint", params, "EndpointName")
        name = params["EndpointName"]
        with self._hosting.lock:
            document = self._find_idle(name)
            current = document["Deployment"]
            deployment = self._snapshot(params["EndpointConfigName"])
            if params.get("RetainAllVariantProperties"):
                excluded = params.get("ExcludeRetainedVariantProperties") or []
                deployment = variants.retained(deployment, current, excluded)
            autoscaling.refuse_another_instance_type(name, current, deployment)
            last = document.get("LastDeploymentConfig") if params.get("RetainDeploymentConfig") else None
            instances = variants.instances(deployment)
            rollout = Rollout.parse(params.get("DeploymentConfig") or last, instances)
            if rollout.document:
                variants.refuse_renaming(current, deployment)
            fleet = self._hosting.fleet(name, deployment)
            pending = views.pending(deployment, "Creating", f"Launching {instances} instance(s).")
            self._hosting.mark(name, "Updating", PendingDeploymentSummary=pending, FailureReason=None)
            self._hosting.replace(fleet, deployment, rollout)
        return {"EndpointArn": document["EndpointArn"]}

    def scale(self, params: dict) -> dict:
        """UpdateEndpointWeightsAndCapacities: as many instances as desired, in the same fleet."""
        check("UpdateEndpointWeightsAndCapacities", params, "EndpointName")
        name = params["EndpointName"]
        with self._hosting.lock:
            document = self._find_idle(name)
            desired = variants.rescaled(document["Deployment"], params["DesiredWeightsAndCapacities"])
            self._hosting.fleet(name, desired)  # refuses what cannot be run
            self._hosting.mark(name, "Updating", Desired=desired, FailureReason=None)
            self._hosting.rescale(name, desired)
        return {"EndpointArn": document["EndpointArn"]}

    def delete(self, params: dict) -> dict:
        """DeleteEndpoint, in whatever state it is; requests in flight are answered first."""
        check("DeleteEndpoint", params, "EndpointName")
        name = params["EndpointName"]
        with self._hosting.lock:
            document = self._find(name)
            if document["EndpointStatus"] == "Deleting":
                raise validation(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
            self._hosting.mark(name, "Deleting")
            self._hosting.remove(name)
        return {}

    def describe(self, name: str) -> dict:
        """DescribeEndpoint's answer."""
        return views.description(self._find(name))

    def list(self, params: dict) -> dict:
        """ListEndpoints' answer, with its filters, sorting and paging."""
        return views.listing(self._store.all(KIND), params)

    def fleet(self, name: str) -> Fleet:
        """What answers one request; waits for an endpoint that is being resumed.

        Raises AwsError as InvokeEndpoint does: no such endpoint, or not back in time.
        """
        deadline = time.monotonic() + RESUME_SECONDS
        while (traffic := self._hosting.traffic(name)) is None:
            document = self._store.get(KIND, name)
            if document is None or document["EndpointStatus"] not in ("InService", "SystemUpdating"):
                raise AwsError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.", 400)
            if time.monotonic() > deadline:
                raise unavailable(f"Endpoint {name} is still being started again.")
            time.sleep(0.05)
        return traffic.pick()

    def publish_metrics(self) -> None:
        """What SageMaker publishes about endpoints, to CloudWatch."""
        self.metrics.publish(self._hosting.fleets())

    def resume(self) -> None:
        """After a start-up: what served is started again, in the background; logs are readable again.

        An update that was cut off is rolled back, a deletion is carried on.
        """
        with self._hosting.lock:
            for document in self._store.all(KIND):
                if not self._hosting.is_known(document["EndpointName"]):  # else created since
                    self._resume(document)

    def shutdown(self) -> None:
        """End every process; the documents stay as they are, for ``resume``."""
        self._hosting.shutdown()

    def _resume(self, document: dict) -> None:
        name, status = document["EndpointName"], document["EndpointStatus"]
        if status == "Deleting":
            self._hosting.remove(name)
            return
        fleet = None
        if status != "Failed":
            try:
                fleet = self._hosting.fleet(name, document["Deployment"])
            except AwsError as error:
                self._hosting.mark(name, "Failed", FailureReason=error.message)
        endpoint_logs.restore_logs(self._settings, name, fleet.first_logs if fleet else ())
        if fleet is None:
            return
        if status != "Creating":
            self._hosting.mark(name, "SystemUpdating", PendingDeploymentSummary=None, Desired=None)
        reason = "localcloud was stopped during the update" if status == "Updating" else None
        self._hosting.bring_up(fleet, reason)

    def _snapshot(self, config_name: str) -> dict:
        return {"Id": uuid.uuid4().hex[:12], **variants.snapshot(config_name, self._store)}

    def _find_idle(self, name: str) -> dict:
        """An endpoint's document; raises AwsError unless it can be changed."""
        document = self._find(name)
        if document["EndpointStatus"] == "Failed":
            raise validation(f'Cannot update failed endpoint "{document["EndpointArn"]}".')
        if document["EndpointStatus"] != "InService" or not self._hosting.traffic(name):
            raise validation(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
        return document

    def _find(self, name: str) -> dict:
        document = self._store.get(KIND, name)
        if document is None:
            raise validation(f'Could not find endpoint "{_arn(name)}".')
        return document


def _arn(name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{name.lower()}"
