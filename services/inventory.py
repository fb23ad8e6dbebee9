"""Everything of ours that may be on AWS, by kind: how it is found, and how it is deleted."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services import bootstrap, objects, rollout
from services.aws import Aws

OURS = "bintally"  # what the names of all that is ours begin with
POLL = 1.0  # seconds
LOGS = ("/aws/lambda/bintally-", "/aws/sagemaker/Endpoints/bintally")


@dataclass(frozen=True)
class Kind:
    """``find`` names all of a kind; ``delete`` takes away those names, and waits where AWS does not."""

    name: str
    find: Callable[[Aws], list[str]]
    delete: Callable[[Aws, list[str]], None]


def pages(aws: Aws, service: str, operation: str, member: str, **parameters) -> Iterator[dict]:
    for page in aws.client(service).get_paginator(operation).paginate(**parameters):
        yield from page[member]


def named(service: str, operation: str, member: str, field: str, **parameters) -> Callable[[Aws], list[str]]:
    """A ``find``: the ``field`` of everything listed, where it begins with our name."""

    def find(aws: Aws) -> list[str]:
        listed = pages(aws, service, operation, member, **parameters)
        return [item[field] for item in listed if item[field].startswith(OURS)]

    return find


def outside(kind: str, find: Callable[[Aws], list[str]]) -> Callable[[Aws], list[str]]:
    """A ``find`` without what the stack made: that goes with the stack."""
    return lambda aws: [name for name in find(aws) if not aws.in_stack(kind, name)]


def each(delete: Callable[[Aws, str], None]) -> Callable[[Aws, list[str]], None]:
    """A ``delete`` of one after the other."""

    def delete_all(aws: Aws, names: list[str]) -> None:
        for name in names:
            delete(aws, name)

    return delete_all


def simple(service: str, operation: str, member: str, **parameters) -> Callable[[Aws, list[str]], None]:
    """A ``delete`` that is one call for each name."""
    return each(lambda aws, name: getattr(aws.client(service), operation)(**{member: name}, **parameters))


def executions(aws: Aws) -> list[str]:
    """ARNs of the executions of our pipelines that have not ended."""
    found = []
    for name in PIPELINES(aws):
        listed = pages(
            aws,
            "sagemaker",
            "list_pipeline_executions",
            "PipelineExecutionSummaries",
            PipelineName=name,
        )
        found += [
            item["PipelineExecutionArn"]
            for item in listed
            if item["PipelineExecutionStatus"] in ("Executing", "Stopping")
        ]
    return found


def stop_execution(aws: Aws, arn: str) -> None:
    sagemaker = aws.client("sagemaker")

    def status() -> str:
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]

    if status() == "Executing":
        sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
    while status() in ("Executing", "Stopping"):
        time.sleep(POLL)


def running(kind: str) -> Callable[[Aws], list[str]]:
    """A ``find``: jobs of a kind (training, processing) that run."""
    noun = f"{kind.title()}Job"
    return lambda aws: named(
        "sagemaker", f"list_{kind}_jobs", f"{noun}Summaries", f"{noun}Name", StatusEquals="InProgress"
    )(aws)


def stop_job(kind: str) -> Callable[[Aws, str], None]:
    noun = f"{kind.title()}Job"

    def stop(aws: Aws, name: str) -> None:
        sagemaker, names = aws.client("sagemaker"), {f"{noun}Name": name}
        getattr(sagemaker, f"stop_{kind}_job")(**names)
        while getattr(sagemaker, f"describe_{kind}_job")(**names)[f"{noun}Status"] in (
            "InProgress",
            "Stopping",
        ):
            time.sleep(POLL)

    return stop


def scalable_targets(aws: Aws) -> list[str]:
    listed = pages(
        aws,
        "application-autoscaling",
        "describe_scalable_targets",
        "ScalableTargets",
        ServiceNamespace="sagemaker",
    )
    return [t["ResourceId"] for t in listed if t["ResourceId"].startswith(f"endpoint/{OURS}")]


def model_packages(aws: Aws) -> list[str]:
    return [
        package["ModelPackageArn"]
        for group in PACKAGE_GROUPS(aws)
        for package in pages(
            aws,
            "sagemaker",
            "list_model_packages",
            "ModelPackageSummaryList",
            ModelPackageGroupName=group,
        )
    ]


def log_groups(aws: Aws) -> list[str]:
    return [
        group["logGroupName"]
        for prefix in LOGS
        for group in pages(aws, "logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix)
    ]


def stacks(aws: Aws) -> list[str]:
    return [aws.settings.stack] if aws.describe_stack() else []


PIPELINES = named("sagemaker", "list_pipelines", "PipelineSummaries", "PipelineName")
PACKAGE_GROUPS = named(
    "sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroupName"
)
KINDS = (  # in the order in which they can be deleted
    Kind("running executions", executions, each(stop_execution)),
    Kind("pipelines", PIPELINES, simple("sagemaker", "delete_pipeline", "PipelineName")),
    Kind("running training jobs", running("training"), each(stop_job("training"))),
    Kind("running processing jobs", running("processing"), each(stop_job("processing"))),
    Kind(
        "scaled endpoints",
        scalable_targets,
        simple(
            "application-autoscaling",
            "deregister_scalable_target",
            "ResourceId",
            ServiceNamespace="sagemaker",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        ),
    ),
    Kind(
        "endpoints",
        named("sagemaker", "list_endpoints", "Endpoints", "EndpointName"),
        each(rollout.delete),
    ),
    Kind(
        "endpoint configurations",
        named("sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
        simple("sagemaker", "delete_endpoint_config", "EndpointConfigName"),
    ),
    Kind(
        "models",
        named("sagemaker", "list_models", "Models", "ModelName"),
        simple("sagemaker", "delete_model", "ModelName"),
    ),
    Kind("model packages", model_packages, simple("sagemaker", "delete_model_package", "ModelPackageName")),
    Kind(
        "model package groups",
        PACKAGE_GROUPS,
        simple("sagemaker", "delete_model_package_group", "ModelPackageGroupName"),
    ),
    Kind(
        "alarms",
        outside(
            "AWS::CloudWatch::Alarm", named("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName")
        ),
        lambda aws, names: aws.client("cloudwatch").delete_alarms(AlarmNames=names),
    ),
    Kind(
        "functions",
        outside("AWS::Lambda::Function", named("lambda", "list_functions", "Functions", "FunctionName")),
        simple("lambda", "delete_function", "FunctionName"),
    ),
    Kind(
        "image repositories",
        outside(
            "AWS::ECR::Repository", named("ecr", "describe_repositories", "repositories", "repositoryName")
        ),
        simple("ecr", "delete_repository", "repositoryName", force=True),
    ),
    Kind("objects", objects.find, objects.delete),
    Kind("stack", stacks, lambda aws, _: bootstrap.delete(aws)),
    Kind("logs", log_groups, simple("logs", "delete_log_group", "logGroupName")),
)


def survey(aws: Aws) -> dict[str, list[str]]:
    """The names of everything that is there, by kind, in the order in which it can be deleted."""
    found = {kind.name: kind.find(aws) for kind in KINDS}
    return {name: names for name, names in found.items() if names}
