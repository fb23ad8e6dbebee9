"""What a deployment of ours is on SageMaker: the requests that make one, and what is read of an endpoint.

Shared by whoever deploys (services/deploy), promotes (the Lambda function) and verifies (a job). Nothing
heavy is imported: a Lambda function pays for it with every cold start.
"""

import re

from botocore.exceptions import ClientError

TAGS = [{"Key": "project", "Value": "bintally"}]
VARIANT = "AllTraffic"
CAPTURE = "capture"  # folder below the prefix of every key of ours in the bucket
CAPTURE_PERCENT = 100  # of requests whose photograph and answer are kept, unless told
CANARY_PERCENT = 10  # of the requests, that a new fleet answers at first, unless told
VERIFYING = "bintally-verify"  # what the inference id of a request begins with that asks only to verify
LEVEL = 0.90  # one-sided confidence that a challenger is better, with which it is promoted
# UpdateEndpoint's members that keep the number of instances that autoscaling has come to, and nothing else.
KEEP_INSTANCES = {
    "RetainAllVariantProperties": True,
    "ExcludeRetainedVariantProperties": [
        {"VariantPropertyType": name} for name in ("DesiredWeight", "DataCaptureConfig")
    ],
}
CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


def promoted_name(endpoint: str, execution: str) -> str:
    """The Model and the EndpointConfig that an execution of the pipeline promotes: one, however often."""
    return f"{endpoint}-promoted-{execution}"


def is_promoted(name: str, endpoint: str) -> bool:
    """Whether ``promoted_name`` can have made this name for the endpoint."""
    return bool(re.fullmatch(rf"{re.escape(endpoint)}-promoted-[a-z0-9]+", name))


def model(name: str, image: str, artifact: str, role: str, bucket: str, **environment: str) -> dict:
    """CreateModel's parameters. bucket: the one that photographs may be read from."""
    return {
        "ModelName": name,
        "ExecutionRoleArn": role,
        "Tags": TAGS,
        "PrimaryContainer": {
            "Image": image,
            "ModelDataUrl": artifact,
            "Environment": {"BINTALLY_ALLOWED_BUCKETS": bucket, **environment},
        },
    }


def configuration(
    name: str, instance_type: str, instances: int, capture: str, percent: int = CAPTURE_PERCENT, **variant
) -> dict:
    """CreateEndpointConfig's parameters for the model of the same name.

    capture: S3 address to keep ``percent`` of the requests at. variant: more members of the variant.
    """
    kept = {
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": percent,
            "DestinationS3Uri": capture,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            # Photographs are in neither list, so that SageMaker keeps their bytes, as base64.
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        }
    }
    return {
        "EndpointConfigName": name,
        "Tags": TAGS,
        **(kept if percent else {}),
        "ProductionVariants": [
            {
                "VariantName": VARIANT,
                "ModelName": name,
                "InitialVariantWeight": 1.0,
                "InstanceType": instance_type,
                "InitialInstanceCount": instances,
                **variant,
            }
        ],
    }


def rollback_alarms(endpoint: str) -> list[str]:
    """Names of the alarms that take a rollout back."""
    return [f"bintally-{endpoint}-{what}" for what in ("5xx", "latency")]


def guarded(alarms: list[str], bake_seconds: int, canary_percent: int = CANARY_PERCENT) -> dict:
    """UpdateEndpoint's DeploymentConfig: a canary, then all; back to the fleet before on any of the alarms.

    bake_seconds: how long the alarms are watched after each of the two shifts of traffic. Without alarms
    there is nothing to wait for, and all of the traffic is shifted at once; as with canary_percent 0.
    """
    if not alarms:
        routing, bake_seconds = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}, 0
    elif canary_percent:
        routing = {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": canary_percent},
            "WaitIntervalInSeconds": bake_seconds,
        }
    else:
        routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": bake_seconds}
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": bake_seconds,
        },
        **(rollback if alarms else {}),
    }


def already_there(error: ClientError) -> bool:
    """Whether a Create… was refused since its name is taken."""
    return "already exist" in error.response["Error"]["Message"].lower()


def describe(sagemaker, endpoint: str) -> dict | None:
    """DescribeEndpoint's answer, or None where there is no such endpoint."""
    try:
        return sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in error.response["Error"]["Message"]:
            return None
        raise
