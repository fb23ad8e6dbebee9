"""The Lambda function ``promote``: starts the rollout of a challenger that won, and waits for nothing.

A step of the pipeline, which may run it again with the same event: a rollout that has begun is then left
alone. It takes the ``Event`` below and answers ``{"configuration", "champion"}``, the endpoint
configurations that are to be live and were live (empty where there was no endpoint). It refuses where
anything but the champion that was scored is live by now. Nobody can exclude an update in the instant
between that look and UpdateEndpoint, which takes no condition.
"""

import json
from dataclasses import dataclass

from botocore.exceptions import ClientError

from containers.common import aws, deployment


class Refused(Exception):
    """One line that says why nothing is promoted; the pipeline's step fails with it."""


@dataclass(frozen=True)
class Event:
    """What the pipeline's definition hands over; numbers may come as text."""

    execution: str  # id of the pipeline's execution
    endpoint: str
    evaluation: str  # S3 address of evaluation.json
    artifact: str  # of the challenger
    image: str
    role: str  # that the endpoint runs as
    instance_type: str
    instances: int | str
    bucket: str  # that the endpoint may read photographs from
    capture: str  # S3 address
    bake_seconds: int | str


def handler(event: dict, context) -> dict:
    """Lambda's entry point. Raises Refused; whatever is raised becomes a FunctionError."""
    try:
        asked = Event(**event)
    except TypeError as error:
        raise Refused(f"not an event of the pipeline: {error}") from None
    evaluation = _read(asked.evaluation)
    if not evaluation["decision"]["promote"]:
        raise Refused(f"the evaluation does not promote: {evaluation['decision']['reason']}")
    champion = (evaluation["champion"] or {}).get("configuration")
    name = deployment.promoted_name(asked.endpoint, asked.execution)
    live = deployment.describe(aws.client("sagemaker"), asked.endpoint)
    if not _begun(live, name):
        _check(asked.endpoint, live, champion)
        _create(asked, name, champion)
        _start(asked, name, champion)
    return {"configuration": name, "champion": champion or ""}


def _read(uri: str) -> dict:
    bucket, key = aws.location(uri)
    return json.loads(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def _begun(live: dict | None, name: str) -> bool:
    """Whether an earlier call with the same event has started the rollout."""
    if live is None:
        return False
    pending = live.get("PendingDeploymentSummary") or {}
    return name in (live["EndpointConfigName"], pending.get("EndpointConfigName"))


def _check(endpoint: str, live: dict | None, champion: str | None) -> None:
    """Raises Refused unless just the champion that was scored is live, or nothing where there was none."""
    again = "start the pipeline again to compare with what is live"
    if champion is None:
        if live is not None:
            raise Refused(f"endpoint {endpoint} was created after the evaluation: {again}")
        return
    if live is None:
        raise Refused(f"endpoint {endpoint} was deleted after the evaluation: {again}")
    if live["EndpointConfigName"] != champion:
        raise Refused(
            f"endpoint {endpoint} serves {live['EndpointConfigName']} by now, and the champion that was "
            f"scored was {champion}: {again}"
        )
    if live["EndpointStatus"] != "InService":
        raise Refused(
            f"endpoint {endpoint} is {live['EndpointStatus']}: retry the execution once it is InService"
        )


def _create(asked: Event, name: str, champion: str | None) -> None:
    """The Model and the EndpointConfig; captures the share of requests that the champion's does."""
    sagemaker, percent = aws.client("sagemaker"), None
    if champion:
        kept = sagemaker.describe_endpoint_config(EndpointConfigName=champion).get("DataCaptureConfig") or {}
        percent = kept.get("InitialSamplingPercentage")
    model = deployment.model(name, asked.image, asked.artifact, asked.role, asked.bucket)
    configuration = deployment.configuration(
        name,
        asked.instance_type,
        int(asked.instances),
        asked.capture,
        percent or deployment.CAPTURE_PERCENT,
    )
    for create, parameters in (
        (sagemaker.create_model, model),
        (sagemaker.create_endpoint_config, configuration),
    ):
        try:
            create(**parameters)
        except ClientError as error:
            if not deployment.already_there(error):
                raise


def _start(asked: Event, name: str, champion: str | None) -> None:
    sagemaker, names = aws.client("sagemaker"), {"EndpointName": asked.endpoint, "EndpointConfigName": name}
    if champion is None:
        sagemaker.create_endpoint(**names, Tags=deployment.TAGS)
        return
    wanted = deployment.rollback_alarms(asked.endpoint)
    found = aws.client("cloudwatch").describe_alarms(AlarmNames=wanted)["MetricAlarms"]
    alarms = sorted(alarm["AlarmName"] for alarm in found)
    sagemaker.update_endpoint(**names, DeploymentConfig=deployment.guarded(alarms, int(asked.bake_seconds)))
