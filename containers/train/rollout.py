"""An endpoint's rollout, seen from a job: waited for, and taken back."""

import time

from botocore.exceptions import ClientError

from containers.common import aws, deployment
from containers.common.errors import ServiceError

POLL = 1.0  # seconds


def wait(endpoint: str, configuration: str) -> None:
    """Return once the endpoint serves the configuration; raises ServiceError where it came to rest otherwise.

    The processing job's own limit of time ends a rollout that never rests.
    """
    found = _rest(endpoint)
    if found is None:
        raise ServiceError(f"endpoint {endpoint} is gone")
    if found["EndpointStatus"] != "InService" or found["EndpointConfigName"] != configuration:
        raise ServiceError(
            f"the rollout of {configuration} failed: "
            f"{found.get('FailureReason', 'endpoint ' + endpoint + ' is ' + found['EndpointStatus'])}"
        )


def back(endpoint: str, configuration: str, champion: str) -> str:
    """Take a promoted configuration back; returns one clause on what the endpoint does then.

    champion: the configuration before; where it is empty there was no endpoint, and there is none again.
    An endpoint that somebody has moved to another configuration meanwhile is left alone.
    """
    sagemaker = aws.client("sagemaker")
    found = _rest(endpoint)
    if found is None:
        return f"endpoint {endpoint} is gone"
    if found["EndpointConfigName"] != configuration:
        return f"endpoint {endpoint} serves {found['EndpointConfigName']}"
    try:
        if not champion:
            sagemaker.delete_endpoint(EndpointName=endpoint)
            _rest(endpoint)
            return f"endpoint {endpoint} was deleted, since it had not existed before"
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=champion)
        wait(endpoint, champion)
    except (ClientError, ServiceError) as error:
        return f"endpoint {endpoint} could not be rolled back to {champion or 'nothing'}: {error}"
    return f"endpoint {endpoint} was rolled back to {champion}"


def _rest(endpoint: str) -> dict | None:
    """The endpoint's description once nothing about it is changing; None where it is gone."""
    sagemaker = aws.client("sagemaker")
    while (found := deployment.describe(sagemaker, endpoint)) is not None:
        if found["EndpointStatus"] not in deployment.CHANGING:
            return found
        time.sleep(POLL)
    return None
