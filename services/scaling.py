"""How many instances an endpoint has: Application Auto Scaling, by invocations and by CPU."""

import argparse
import re
from dataclasses import dataclass

from containers.common import deployment
from containers.common.errors import SettingsError
from services.aws import Aws

MOST_INSTANCES = 3  # unless told
# Requests a minute and vCPU: half of the 65 photographs a second and vCPU of bench/cost.csv, AWS's safety
# factor (https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-loadtest.html).
INVOCATIONS = 1950
CPU_PERCENT = 70  # of all vCPUs; above, a second instance is there before requests have to wait
SCALE_OUT_SECONDS = 60  # pause after adding: the next minute's metric counts the new instance
SCALE_IN_SECONDS = 300  # AWS's default; adding again would take minutes
DIMENSION = "sagemaker:variant:DesiredInstanceCount"


@dataclass(frozen=True)
class Bounds:
    """The fewest and the most instances."""

    fewest: int
    most: int

    @classmethod
    def of(cls, flags: argparse.Namespace) -> "Bounds":
        """Of the flags that ``add_flags`` adds; raises SettingsError where they contradict each other."""
        most = max(MOST_INSTANCES, flags.instances) if flags.max_instances is None else flags.max_instances
        if not 1 <= flags.instances <= most:
            raise SettingsError(f"--instances {flags.instances} must be between 1 and --max-instances {most}")
        return cls(flags.instances, most)


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instances")
    group.add_argument(
        "--instances",
        type=int,
        default=1,
        metavar="N",
        help="the fewest, and those it begins with (default 1)",
    )
    group.add_argument(
        "--max-instances",
        type=int,
        metavar="N",
        help=f"the most that autoscaling starts (default {MOST_INSTANCES}; as --instances: no autoscaling)",
    )
    group.add_argument(
        "--scale-on-invocations",
        type=int,
        metavar="N",
        help=f"requests a minute that an instance is to have (default {INVOCATIONS} for each of its vCPUs)",
    )
    group.add_argument(
        "--scale-on-cpu",
        type=int,
        default=CPU_PERCENT,
        metavar="PERCENT",
        help=f"share of an instance's vCPUs that is to be busy (default {CPU_PERCENT})",
    )


def before_update(aws: Aws, bounds: Bounds, endpoint: dict) -> dict:
    """Prepare autoscaling for an update; returns what UpdateEndpoint is to be told about it.

    A registered variant may not change its instance type, so that it is deregistered first
    (https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html); else the update
    keeps the number of instances that autoscaling has come to, if it is still in bounds.
    ``endpoint``: its description.
    """
    if not registered(aws):
        return {}
    if instance_type(aws, endpoint) != aws.settings.serve_instance:
        delete(aws)
        return {}
    count = sum(v["DesiredInstanceCount"] for v in endpoint.get("ProductionVariants", ()))
    if not bounds.fewest <= count <= bounds.most:
        return {}
    return deployment.KEEP_INSTANCES


def put(aws: Aws, bounds: Bounds, invocations: int | None, cpu_percent: int) -> str:
    """Register the endpoint's variant with its two policies, or deregister what cannot be scaled.

    The endpoint is in service. ``invocations``: a minute, of an instance; None is INVOCATIONS for each vCPU.
    Returns what that means, in words.
    """
    if bounds.fewest == bounds.most:
        delete(aws)
        return f"{bounds.fewest}, always"
    client, target = aws.client("application-autoscaling"), _target(aws)
    tags = {tag["Key"]: tag["Value"] for tag in deployment.TAGS}
    client.register_scalable_target(**target, MinCapacity=bounds.fewest, MaxCapacity=bounds.most, Tags=tags)
    cpus = vcpus(aws.settings.serve_instance)
    invocations = invocations or INVOCATIONS * cpus
    per_instance = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    busy = {
        "Namespace": "/aws/sagemaker/Endpoints",
        "MetricName": "CPUUtilization",  # 100 for each vCPU
        "Dimensions": [
            {"Name": "EndpointName", "Value": aws.settings.endpoint},
            {"Name": "VariantName", "Value": deployment.VARIANT},
        ],
        "Statistic": "Average",
        "Unit": "Percent",
    }
    for policy, value, metric in zip(
        _policies(aws),
        (invocations, cpu_percent * cpus),
        ({"PredefinedMetricSpecification": per_instance}, {"CustomizedMetricSpecification": busy}),
        strict=True,
    ):
        client.put_scaling_policy(
            **target,
            PolicyName=policy,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                **metric,
                "TargetValue": float(value),
                "ScaleOutCooldown": SCALE_OUT_SECONDS,
                "ScaleInCooldown": SCALE_IN_SECONDS,
            },
        )
    words = (
        f"{bounds.fewest} to {bounds.most}, added above {invocations:,} requests a minute or "
        f"{cpu_percent} % CPU of each"
    )
    return words if aws.endpoint_url is None else f"{words} (recorded: localcloud does not act on load)"


def delete(aws: Aws) -> None:
    """Deregister the variant; its policies, and their alarms, go with it. No error where there is none."""
    if registered(aws):
        aws.client("application-autoscaling").deregister_scalable_target(**_target(aws))


def vcpus(instance_type: str) -> int:
    """Of ``ml.m5.xlarge`` 4: AWS names sizes so that each xlarge is four."""
    found = re.fullmatch(r"ml\.\w+\.(\d*)xlarge", instance_type)
    return 4 * int(found[1] or 1) if found else 2


def _policies(aws: Aws) -> list[str]:
    return [f"bintally-{aws.settings.endpoint}-{what}" for what in ("invocations", "cpu")]


def _target(aws: Aws) -> dict:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{aws.settings.endpoint}/variant/{deployment.VARIANT}",
        "ScalableDimension": DIMENSION,
    }


def registered(aws: Aws) -> bool:
    """Whether the endpoint's variant is a scalable target."""
    target = _target(aws)
    found = aws.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace=target["ServiceNamespace"],
        ResourceIds=[target["ResourceId"]],
        ScalableDimension=target["ScalableDimension"],
    )
    return bool(found["ScalableTargets"])


def instance_type(aws: Aws, endpoint: dict) -> str:
    """That an endpoint serves on, by its description."""
    config = aws.client("sagemaker").describe_endpoint_config(
        EndpointConfigName=endpoint["EndpointConfigName"]
    )
    return config["ProductionVariants"][0]["InstanceType"]
