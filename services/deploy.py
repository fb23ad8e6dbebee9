"""Puts a trained model behind an endpoint, and the Lambda function before it: python -m services.deploy"""

import argparse
from collections.abc import Sequence
from contextlib import suppress

from containers.common import deployment
from services import alarms, artifacts, console, functions, jobs, rollout, scaling
from services.aws import Aws
from services.settings import Settings

ACCELERATOR_CLOSED = (
    "warning: AWS closed Elastic Inference in April 2024 and refuses --accelerator; without it the model "
    "runs in int8 on the instance's own cores. The image needs torch and torcheia, the model torchscript=true"
)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.deploy", description=__doc__.split(":")[0])
    p.add_argument("--model", help=artifacts.HELP)
    p.add_argument("--endpoint", help="name of the endpoint")
    p.add_argument("--function", help="name of the Lambda function")
    p.add_argument("--serve-instance", metavar="TYPE", help="instance type")
    p.add_argument("--serve-image", metavar="URI", help="the serving image")
    p.add_argument("--function-image", metavar="URI", help="the function's image")
    p.add_argument(
        "--capture",
        type=int,
        default=deployment.CAPTURE_PERCENT,
        metavar="PERCENT",
        choices=range(0, 101),
        help="share of requests whose photograph and answer are kept in S3 (default 100; 0 for none)",
    )
    p.add_argument(
        "--accelerator", metavar="TYPE", help="Elastic Inference: ml.eia2.medium, … (closed by AWS)"
    )
    p.add_argument(
        "--delete", action="store_true", help="delete the function, the endpoint and all that came with it"
    )
    console.add_aws_flag(p)
    scaling.add_flags(p)
    rollout.add_flags(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns the endpoint's description; an empty one after ``--delete``."""
    flags = parser().parse_args(arguments)
    settings = Settings.load(flags)
    aws = Aws(settings)
    console.target(aws, flags.aws)
    if flags.delete:
        return delete(aws)
    plan, bounds = rollout.Plan.of(flags, aws), scaling.Bounds.of(flags)
    if flags.accelerator:
        console.err.print(ACCELERATOR_CLOSED)
    model = artifacts.resolve(aws, flags.model)
    name = jobs.name(settings.endpoint)
    print(f"endpoint  {settings.endpoint}\nmodel     {model}")
    create_configuration(aws, name, model, flags)
    rollout.put_alarms(aws, plan.latency_ms)
    document = put_endpoint(aws, name, plan, bounds)
    instances = scaling.put(aws, bounds, flags.scale_on_invocations, flags.scale_on_cpu)
    print(f"instances {instances}")
    put_function(aws)
    print(f"function  {settings.function}")
    return document


def create_configuration(aws: Aws, name: str, model: str, flags: argparse.Namespace) -> None:
    """A Model and an EndpointConfig of one name."""
    sagemaker, bucket = aws.client("sagemaker"), aws.default_bucket()
    environment = {"BINTALLY_ACCELERATOR": "eia"} if flags.accelerator else {}
    accelerator = {"AcceleratorType": flags.accelerator} if flags.accelerator else {}
    sagemaker.create_model(
        **deployment.model(name, aws.image("serve"), model, aws.role_for("endpoint"), bucket, **environment)
    )
    sagemaker.create_endpoint_config(
        **deployment.configuration(
            name,
            aws.settings.serve_instance,
            flags.instances,
            f"s3://{bucket}/{aws.settings.prefix}/{deployment.CAPTURE}",
            flags.capture,
            **accelerator,
        )
    )


def put_endpoint(aws: Aws, configuration: str, plan: rollout.Plan, bounds: scaling.Bounds) -> dict:
    """Create the endpoint, or move it to ``configuration``, and wait until it serves that.

    Raises ServiceError with SageMaker's reason; an endpoint that was serving goes on as it was.
    """
    endpoint = rollout.settled(aws, aws.settings.endpoint)
    if endpoint and endpoint["EndpointStatus"] == "Failed":  # it serves nothing, and can only be deleted
        print(f"deleted   endpoint {aws.settings.endpoint}, which had failed; it is made again")
        rollout.delete(aws, aws.settings.endpoint)
        endpoint = None
    if endpoint is None:
        return rollout.create(aws, configuration)
    return rollout.update(aws, configuration, plan, scaling.before_update(aws, bounds, endpoint))


def put_function(aws: Aws) -> None:
    """Create or update the Lambda function ``count``."""
    functions.put(
        aws,
        aws.settings.function,
        "count",
        "containers.functions.count.app.handler",
        {"BINTALLY_ENDPOINT": aws.settings.endpoint},
    )


def delete(aws: Aws) -> dict:
    """Delete what ``deploy`` created; what is already gone is no error. Captured data stays."""
    sagemaker, lambda_, settings = aws.client("sagemaker"), aws.client("lambda"), aws.settings
    scaling.delete(aws)
    rollout.delete(aws, settings.endpoint)
    rollout.delete_alarms(aws)
    alarms.delete(aws, settings.endpoint)
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=settings.endpoint)
    names = [config["EndpointConfigName"] for page in pages for config in page["EndpointConfigs"]]
    for name in names:
        # Made here or by the pipeline; a name may only begin like that of another endpoint.
        if jobs.is_name(name, settings.endpoint) or deployment.is_promoted(name, settings.endpoint):
            sagemaker.delete_endpoint_config(EndpointConfigName=name)
            sagemaker.delete_model(ModelName=name)
    print(f"deleted   endpoint {settings.endpoint}")
    if aws.in_stack("AWS::Lambda::Function", settings.function):
        print(f"kept      function {settings.function}, which 'make teardown' deletes with its stack")
        return {}
    with suppress(lambda_.exceptions.ResourceNotFoundException):
        lambda_.delete_function(FunctionName=settings.function)
    print(f"deleted   function {settings.function}")
    return {}


if __name__ == "__main__":
    raise SystemExit(console.run(main))
