"""An endpoint's rollout, seen from a job: waited for, and taken back."""

import time

from botocore.exceptions import ClientError

from containers.common import aws, deployment, job
from containers.common.errors import ServiceError

POLL = 1.0  # seconds
LAST_LOOKS = 60  # polls of a job that is to stop: SIGKILL comes two minutes after SIGTERM


def wait(endpoint: str, configuration: str, stop: job.Stop) -> None:
    """Return once the endpoint serves the configuration, or the job is to stop.

    Raises ServiceError where the endpoint came to rest otherwise. The processing job's own limit of time
    ends a rollout that never rests.
    """
    found = _rest(endpoint, stop)
    if found is None:
        raise ServiceError(f"endpoint {endpoint} is gone")
    serves, status = found["EndpointConfigName"], found["EndpointStatus"]
    if status in deployment.CHANGING or (status, serves) == ("InService", configuration):
        return
    state = f"serves {serves}" if status == "InService" else f"is {status}"
    reason = f": {found['FailureReason']}" if found.get("FailureReason") else ""
    raise ServiceError(f"the rollout of {configuration} failed, and endpoint {endpoint} {state}{reason}")


def back(endpoint: str, configuration: str, champion: str, stop: job.Stop) -> str:
    """Take a promoted configuration back; returns one clause on what the endpoint does then.

    champion: the configuration before; where it is empty there was no endpoint, and there is none again.
    An endpoint that somebody has moved to another configuration meanwhile is left alone. A job that is to
    stop starts the rollback and does not wait for its end.
    """
    sagemaker = aws.client("sagemaker")
    found = _rest(endpoint, stop, LAST_LOOKS)
    if found is None:
        return f"endpoint {endpoint} is gone"
    if found["EndpointStatus"] in deployment.CHANGING:  # and SageMaker refuses to update it
        return f"endpoint {endpoint} is {found['EndpointStatus']} and could not be rolled back"
    if found["EndpointConfigName"] != configuration:
        return f"endpoint {endpoint} serves {found['EndpointConfigName']}"
    try:
        if not champion:
            sagemaker.delete_endpoint(EndpointName=endpoint)
            _rest(endpoint, stop)
            return f"endpoint {endpoint} was deleted, since it had not existed before"
        # Autoscaling may have changed the number of instances; that of another type says nothing here.
        alike = _variants(configuration) == _variants(champion)
        kept = deployment.KEEP_INSTANCES if alike else {}
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=champion, **kept)
        wait(endpoint, champion, stop)
    except (ClientError, ServiceError) as error:
        return f"endpoint {endpoint} could not be rolled back to {champion or 'nothing'}: {error}"
    return f"endpoint {endpoint} {'is being' if stop.asked else 'was'} rolled back to {champion}"


def _variants(configuration: str) -> list[tuple]:
    """Name and instance type of each variant."""
    found = aws.client("sagemaker").describe_endpoint_config(EndpointConfigName=configuration)
    return [(variant["VariantName"], variant.get("InstanceType")) for variant in found["ProductionVariants"]]


def _rest(endpoint: str, stop: job.Stop, last_looks: int = 0) -> dict | None:
    """The endpoint's description once nothing about it is changing; None where it is gone.

    A job that is to stop takes ``last_looks`` more, and what it has seen then.
    """
    sagemaker = aws.client("sagemaker")
    while (found := deployment.describe(sagemaker, endpoint)) is not None:
        if found["EndpointStatus"] not in deployment.CHANGING or (stop.asked and last_looks <= 0):
            return found
        last_looks -= stop.asked
        time.sleep(POLL)
    return None
