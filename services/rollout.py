"""Moves an endpoint to another configuration: by a canary, watched by alarms that take it back."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from containers.common import deployment
from containers.common.errors import ServiceError, SettingsError
from services import console, jobs
from services.aws import Aws

POLL = 1.0  # seconds
SERVER_ERRORS = 0.01  # share of requests; a canary that only fails is ten times that
# Far beyond the tens of milliseconds that a photograph takes: only a fleet that is stuck gets there.
LATENCY_MS = 2000
# SageMaker publishes once a minute and CloudWatch looks once a minute, so that an alarm takes up to three;
# localcloud does both every two seconds.
AWS_BAKE_SECONDS = 300
LOCAL_BAKE_SECONDS = 5


@dataclass(frozen=True)
class Plan:
    """How an endpoint that serves is moved."""

    canary_percent: int
    bake_seconds: int
    latency_ms: int
    rollback: bool = True

    @classmethod
    def of(cls, flags: argparse.Namespace, aws: Aws) -> "Plan":
        """Of the flags that ``add_flags`` adds; raises SettingsError for a value that AWS would refuse."""
        bake = bake_seconds(aws) if flags.bake is None else flags.bake
        if not 0 <= flags.canary <= 50:
            raise SettingsError(f"--canary {flags.canary}: a canary is 1 to 50 % of the fleet, or 0 for none")
        check_bake("--bake", bake)
        return cls(flags.canary, bake, flags.latency_alarm, not flags.no_rollback)


def check_bake(flag: str, seconds: int) -> None:
    """Raises SettingsError for a time that AWS would refuse."""
    if not 0 <= seconds <= 3600:
        raise SettingsError(f"{flag} {seconds}: AWS waits for 0 to 3600 seconds")


def bake_seconds(aws: Aws) -> int:
    """How long alarms are watched after each shift of traffic, unless told."""
    return LOCAL_BAKE_SECONDS if aws.endpoint_url else AWS_BAKE_SECONDS


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of an endpoint that serves already")
    group.add_argument(
        "--canary",
        type=int,
        default=deployment.CANARY_PERCENT,
        metavar="PERCENT",
        help=f"share of requests that the new model answers at first (default {deployment.CANARY_PERCENT})",
    )
    group.add_argument(
        "--bake",
        type=int,
        metavar="SECONDS",
        help="how long the alarms are watched after the canary, and again after the rest "
        f"(default {AWS_BAKE_SECONDS} on AWS, {LOCAL_BAKE_SECONDS} on localcloud)",
    )
    group.add_argument(
        "--latency-alarm",
        type=int,
        default=LATENCY_MS,
        metavar="MS",
        help=f"average latency of the model that takes a rollout back (default {LATENCY_MS})",
    )
    group.add_argument(
        "--no-rollback", action="store_true", help="all of the traffic at once, whatever the alarms say"
    )


def existing_alarms(aws: Aws) -> list[str]:
    """Names of the alarms of ``put_alarms`` that exist."""
    names = deployment.rollback_alarms(aws.settings.endpoint)
    found = aws.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return [alarm["AlarmName"] for alarm in found]


def put_alarms(aws: Aws, latency_ms: int) -> list[str]:
    """Create or change the alarms that take a rollout back; returns their names."""
    endpoint = aws.settings.endpoint
    errors, latency = deployment.rollback_alarms(endpoint)
    dimensions = [
        {"Name": "EndpointName", "Value": endpoint},
        {"Name": "VariantName", "Value": deployment.VARIANT},
    ]
    for name, metric, threshold, what in (
        (errors, "Invocation5XXErrors", SERVER_ERRORS, f"more than {SERVER_ERRORS:.0%} of requests fail"),
        (latency, "ModelLatency", latency_ms * 1000, f"the model takes more than {latency_ms} ms"),
    ):
        aws.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            AlarmDescription=f"Takes a rollout of endpoint {endpoint} back: {what}",
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=dimensions,
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=threshold,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",  # no request, no complaint
            Tags=deployment.TAGS,
        )
    return [errors, latency]


def delete_alarms(aws: Aws) -> None:
    """What ``put_alarms`` created; what is already gone is no error."""
    aws.client("cloudwatch").delete_alarms(AlarmNames=deployment.rollback_alarms(aws.settings.endpoint))


def create(aws: Aws, configuration: str) -> dict:
    """Create the endpoint, and wait until it serves; raises ServiceError with SageMaker's reason."""
    aws.client("sagemaker").create_endpoint(
        EndpointName=aws.settings.endpoint, EndpointConfigName=configuration, Tags=deployment.TAGS
    )
    return _wait(aws, configuration)


def update(aws: Aws, configuration: str, plan: Plan, retained: dict) -> dict:
    """Move the endpoint to ``configuration``, and wait until it serves that.

    ``retained``: members of UpdateEndpoint that say what stays as it is. Raises ServiceError with SageMaker's
    reason, and the alarms if there are any; the endpoint then goes on as it was.
    """
    alarms = deployment.rollback_alarms(aws.settings.endpoint) if plan.rollback else []
    if firing := _firing(aws, alarms):
        raise ServiceError(
            f"alarm {', '.join(firing)} is in state ALARM as it is, and would take the new model back "
            "at once: wait until it is OK, or deploy with --no-rollback"
        )
    aws.client("sagemaker").update_endpoint(
        EndpointName=aws.settings.endpoint,
        EndpointConfigName=configuration,
        DeploymentConfig=deployment.guarded(alarms, plan.bake_seconds, plan.canary_percent),
        **retained,
    )
    return _wait(aws, configuration, alarms)


def settled(aws: Aws, name: str) -> dict | None:
    """DescribeEndpoint's answer as soon as the endpoint is not changing: while it is, AWS refuses to change
    or delete it, and each stage is shown. None where there is none."""
    shown = ""
    with Console(stderr=True).status(f"waiting for endpoint {name}"):
        while (document := describe(aws, name)) and document["EndpointStatus"] in deployment.CHANGING:
            if (stage := _stage(document)) not in ("", shown):
                console.err.print(f"  {stage}")
                shown = stage
            time.sleep(POLL)
    return document


def delete(aws: Aws, name: str) -> None:
    """Delete an endpoint, and wait until it is gone; one that is gone already is no error."""
    if settled(aws, name):
        aws.client("sagemaker").delete_endpoint(EndpointName=name)
        while describe(aws, name):  # at rest is not gone: AWS may still tell what was before
            time.sleep(POLL)


def _firing(aws: Aws, alarms: Sequence[str]) -> list[str]:
    if not alarms:  # which AWS would take for all there are
        return []
    found = aws.client("cloudwatch").describe_alarms(AlarmNames=list(alarms))["MetricAlarms"]
    return [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]


def _wait(aws: Aws, configuration: str, alarms: Sequence[str] = ()) -> dict:
    """Raises ServiceError unless the endpoint comes to serve ``configuration``."""
    name = aws.settings.endpoint
    document = settled(aws, name)
    if document is None:
        raise ServiceError(f"endpoint {name} has been deleted meanwhile")
    serves = document["EndpointConfigName"]
    if document["EndpointStatus"] == "InService":
        if serves == configuration:
            return document
        outcome = f"endpoint {name} serves {serves} as before"
    else:
        outcome = f"endpoint {name} is {document['EndpointStatus']}"
    reason = document.get("FailureReason", "it did not take the new configuration")
    unnamed = [alarm for alarm in _firing(aws, alarms) if alarm not in reason]
    also = f" Alarm {', '.join(unnamed)} is in state ALARM." if unnamed else ""
    log = jobs.log_command(f"/aws/sagemaker/Endpoints/{name}")
    raise ServiceError(f"{outcome}: {reason}{also} (its log: {log})")


def _stage(document: dict) -> str:
    """What SageMaker says about an update that goes on."""
    pending = document.get("PendingDeploymentSummary") or {}
    for variant in pending.get("ProductionVariants", ()):
        for status in variant.get("VariantStatus", ()):
            return status.get("StatusMessage") or status["Status"]
    return ""


def describe(aws: Aws, name: str) -> dict | None:
    """DescribeEndpoint's answer, or None where there is no such endpoint."""
    return deployment.describe(aws.client("sagemaker"), name)
