"""The pipeline that replaces the deployed model by a better one: python -m services.pipeline VERB

Without a verb: upsert, start and watch.
"""

import argparse
import hashlib
import json
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace

from containers.common import deployment, recipe
from containers.common.errors import ServiceError, SettingsError
from services import console, functions, jobs, pipeline_watch, rollout, scaling, train
from services.aws import Aws
from services.pipeline_definition import PARAMETERS, definition
from services.settings import Settings

KINDS = {"String": str, "Integer": int, "Float": float}
DERIVED = ("DataUri", "RecipeUri")  # parameters that have options of their own
PROMOTE_HANDLER = "containers.functions.promote.app.handler"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.pipeline", description=__doc__.split(":")[0])
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        one = verbs.add_parser(name, help=verb.__doc__.splitlines()[0], description=verb.__doc__)
        if name in ("run", "start"):
            _add_parameters(one)
        elif name != "upsert":
            one.add_argument("execution", nargs="?", help="id of the execution (default: the newest)")
        console.add_aws_flag(one)
    return p


def _add_parameters(p: argparse.ArgumentParser) -> None:
    p.add_argument("hyperparameters", nargs="*", metavar="name=value", help="over those of the recipe")
    p.add_argument("--data", help="s3://… of an uploaded data set (default: the last that was uploaded)")
    p.add_argument(
        "--recipe", help="recipe.json (default: the newest exploration's; none: the trainer's own)"
    )
    for name, (kind, what) in PARAMETERS.items():
        if name not in DERIVED:
            p.add_argument(f"--{_option(name)}", dest=name, type=KINDS[kind], metavar=kind.upper(), help=what)


def _option(parameter: str) -> str:
    """``TrainInstanceType`` -> ``train-instance-type``."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in parameter).lstrip("-")


def main(arguments: Sequence[str] | None = None) -> dict | None:
    """Returns what the verb returns."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] not in (*VERBS, "-h", "--help"):
        arguments = ["run", *arguments]
    flags = parser().parse_args(arguments)
    aws = Aws(Settings.load())
    console.target(aws, flags.aws)
    return VERBS[flags.verb](aws, flags)


def run(aws: Aws, flags: argparse.Namespace) -> dict:
    """Upsert, start and watch: what is done without a verb."""
    upsert(aws, flags)
    return pipeline_watch.watch(aws, start(aws, flags))


def upsert(aws: Aws, flags: argparse.Namespace) -> None:
    """Create or update the pipeline, the function that promotes, and alarms where there are none."""
    sagemaker, settings = aws.client("sagemaker"), aws.settings
    aws.default_bucket()
    if not rollout.existing_alarms(aws):
        rollout.put_alarms(aws, rollout.LATENCY_MS)
    promote = functions.put(aws, settings.promote_function, "promote", PROMOTE_HANDLER, {})
    parameters = {
        "PipelineName": settings.pipeline,
        "PipelineDefinition": json.dumps(definition(aws, promote)),
        "RoleArn": aws.role_for("pipeline"),
    }
    try:
        sagemaker.describe_pipeline(PipelineName=settings.pipeline)
    except sagemaker.exceptions.ResourceNotFound:
        sagemaker.create_pipeline(**parameters, ClientRequestToken=uuid.uuid4().hex, Tags=deployment.TAGS)
        print(f"pipeline  {settings.pipeline}, created")
        return
    sagemaker.update_pipeline(**parameters)
    print(f"pipeline  {settings.pipeline}, updated")


def start(aws: Aws, flags: argparse.Namespace, **named: str) -> str:
    """Start an execution, and return.

    named: more members of StartPipelineExecution. Returns: the execution's ARN. Raises ServiceError where
    there is no pipeline, SettingsError for what AWS would refuse only once a model has been trained.
    """
    if flags.BakeSeconds is not None:
        rollout.check_bake("--bake-seconds", flags.BakeSeconds)
    scaled_on = _scaled_on(aws, flags)
    values = {
        "DataUri": (flags.data or jobs.newest_dataset(aws)).rstrip("/"),
        "RecipeUri": _upload_recipe(aws, flags),
    }
    values |= {
        name: value
        for name in PARAMETERS
        if name not in DERIVED and (value := getattr(flags, name)) is not None
    }
    if scaled_on:
        values["ServeInstanceType"] = scaled_on
    sagemaker = aws.client("sagemaker")
    try:
        arn = sagemaker.start_pipeline_execution(
            PipelineName=aws.settings.pipeline,
            PipelineParameters=[{"Name": name, "Value": str(value)} for name, value in values.items()],
            **{"ClientRequestToken": uuid.uuid4().hex, **named},
        )["PipelineExecutionArn"]
    except sagemaker.exceptions.ResourceNotFound:
        raise ServiceError(f"no pipeline {aws.settings.pipeline}: create it with the verb upsert") from None
    print(f"execution {arn.rsplit('/', 1)[-1]}")
    print(f"data      {values['DataUri']}\nrecipe    {values['RecipeUri']}")
    return arn


def watch(aws: Aws, flags: argparse.Namespace) -> dict:
    """Show an execution until it ends, and the decision with its reason."""
    return pipeline_watch.watch(aws, find(aws, flags.execution))


def stop(aws: Aws, flags: argparse.Namespace) -> None:
    """Stop an execution and the job that it runs."""
    arn = find(aws, flags.execution)
    aws.client("sagemaker").stop_pipeline_execution(
        PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex
    )
    print(f"stopping  {arn.rsplit('/', 1)[-1]}")


def retry(aws: Aws, flags: argparse.Namespace) -> dict:
    """Run a failed execution again from its failed step, and watch it."""
    arn = find(aws, flags.execution)
    aws.client("sagemaker").retry_pipeline_execution(
        PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex
    )
    print(f"retrying  {arn.rsplit('/', 1)[-1]}")
    return pipeline_watch.watch(aws, arn)


def find(aws: Aws, execution: str | None) -> str:
    """ARN of an execution by its id, or of the newest; raises ServiceError where there is none."""
    pipeline, listed = aws.settings.pipeline, executions(aws)
    if listed is None:
        raise ServiceError(f"no pipeline {pipeline}: create it with the verb upsert")
    arns = [one["PipelineExecutionArn"] for one in listed]
    found = [arn for arn in arns if execution in (None, arn.rsplit("/", 1)[-1])]
    if not found:
        raise ServiceError(
            f"pipeline {pipeline} has no execution {execution}"
            if execution
            else f"pipeline {pipeline} was never started: start it with the verb start"
        )
    return found[0]


def executions(aws: Aws) -> list[dict] | None:
    """Summaries of the pipeline's executions, the newest first; None where there is no pipeline."""
    sagemaker = aws.client("sagemaker")
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName=aws.settings.pipeline, SortBy="CreationTime", SortOrder="Descending"
    )
    try:
        return [one for page in pages for one in page["PipelineExecutionSummaries"]]
    except sagemaker.exceptions.ResourceNotFound:
        return None


def _scaled_on(aws: Aws, flags: argparse.Namespace) -> str | None:
    """The instance type that autoscaling ties the endpoint to; None for an endpoint that is not scaled.

    Raises SettingsError where the flags ask for another: UpdateEndpoint refuses that of a registered variant.
    """
    named = Aws(replace(aws.settings, endpoint=flags.EndpointName or aws.settings.endpoint))
    name, asked = named.settings.endpoint, flags.ServeInstanceType
    endpoint = rollout.describe(named, name)
    if endpoint is None or not scaling.registered(named):
        return None
    live = scaling.instance_type(named, endpoint)
    if asked is None and live != aws.settings.serve_instance:
        print(f"instance  {live}, on which autoscaling keeps endpoint {name}")
    if asked not in (None, live):
        raise SettingsError(
            f"--serve-instance-type {asked}: autoscaling keeps endpoint {name} on {live}; move it first with "
            f"'make deploy ARGS=\"--serve-instance {asked}\"', or leave the option out"
        )
    return live


def _upload_recipe(aws: Aws, flags: argparse.Namespace) -> str:
    """S3 address of the recipe that ``--recipe`` means, with the hyperparameters given over it.

    The pipeline's training job has a channel for it, so there is one even where it says nothing.
    """
    path = train.chosen_recipe(flags.recipe, aws.settings)
    given = dict(train.pair(text) for text in flags.hyperparameters)
    document = {
        "hyperparameters": train.read_recipe(path) | given,
        "provenance": {"recipe": str(path) if path else None, "given": sorted(given)},
    }
    body = json.dumps(document, indent=2).encode()
    key = f"{aws.settings.prefix}/recipes/{hashlib.sha256(body).hexdigest()[:16]}/{recipe.FILE}"
    aws.client("s3").put_object(Bucket=aws.default_bucket(), Key=key, Body=body)
    return f"s3://{aws.bucket}/{key}"


VERBS = {"run": run, "upsert": upsert, "start": start, "watch": watch, "stop": stop, "retry": retry}


if __name__ == "__main__":
    raise SystemExit(console.run(main))
