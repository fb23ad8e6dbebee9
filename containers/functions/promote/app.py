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
        if champion is None:
            _create(asked, name, deployment.CAPTURE_PERCENT)
            aws.client("sagemaker").create_endpoint(
                EndpointName=asked.endpoint, EndpointConfigName=name, Tags=deployment.TAGS
            )
        else:
            _replace(asked, name, champion)
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


def _replace(asked: Event, name: str, champion: str) -> None:
    """Start the rollout over the champion, of which the share of captured requests is kept, and the number
    of instances where their type stays: autoscaling may have changed it since.
    """
    before = aws.client("sagemaker").describe_endpoint_config(EndpointConfigName=champion)
    capture, [variant] = before.get("DataCaptureConfig") or {}, before["ProductionVariants"]
    alike = (deployment.VARIANT, asked.instance_type) == (variant["VariantName"], variant["InstanceType"])
    alarms = _alarms(asked.endpoint)
    percent = capture.get("InitialSamplingPercentage", 0) if capture.get("EnableCapture", True) else 0
    _create(asked, name, percent)
    aws.client("sagemaker").update_endpoint(
        EndpointName=asked.endpoint,
        EndpointConfigName=name,
        DeploymentConfig=deployment.guarded(alarms, int(asked.bake_seconds)),
        **(deployment.KEEP_INSTANCES if alike else {}),
    )


def _alarms(endpoint: str) -> list[str]:
    """Names of the rollback alarms that exist; raises Refused where one is firing already."""
    names = deployment.rollback_alarms(endpoint)
    found = aws.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    if firing := sorted(alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"):
        raise Refused(
            f"{firing[0]} is in state ALARM already, and would take the rollout back at once: retry the "
            "execution once it is OK"
        )
    return sorted(alarm["AlarmName"] for alarm in found)


def _create(asked: Event, name: str, percent: int) -> None:
    """The Model and the EndpointConfig, unless an earlier call came so far.

    percent: of the requests, to capture.
    """
    sagemaker = aws.client("sagemaker")
    model = deployment.model(name, asked.image, asked.artifact, asked.role, asked.bucket)
    configuration = deployment.configuration(
        name, asked.instance_type, int(asked.instances), asked.capture, percent
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
