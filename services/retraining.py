"""Starts the pipeline when an alarm says that the model has aged; once for each time that it goes off."""

from datetime import UTC

from botocore.exceptions import ClientError

from containers.common.errors import ServiceError
from services.alarms import AGEING
from services.aws import Aws


def retrain(aws: Aws, alarms: dict[str, dict]) -> str | None:
    """Start an execution of ``settings.pipeline`` for the alarm that went off last; returns its ARN.

    alarms: as ``alarms.states`` gives them. None, with a printed reason, where none of those that mean
    ageing is in ALARM, where an execution is running, or where one has answered this alarm before.
    Raises ServiceError where there is no such pipeline.
    """
    fired = {kind: alarms[kind] for kind in AGEING if alarms.get(kind, {}).get("StateValue") == "ALARM"}
    if not fired:
        print(f"retraining  not needed: no alarm of {', '.join(AGEING)} is in ALARM")
        return None
    executions = _executions(aws)
    running = [e for e in executions if e["PipelineExecutionStatus"] in ("Executing", "Stopping")]
    if running:
        print(f"retraining  is under way: {running[0]['PipelineExecutionArn']}")
        return None
    names = {kind: _name(kind, alarm) for kind, alarm in fired.items()}
    answered = {e.get("PipelineExecutionDisplayName"): e for e in executions}
    waiting = [kind for kind, name in names.items() if name not in answered]
    if not waiting:
        [last, *_] = [answered[name] for name in names.values()]
        print(
            f"retraining  has answered this alarm already: {last['PipelineExecutionArn']} "
            f"{last['PipelineExecutionStatus']}; to train once more: make pipeline"
        )
        return None
    kind = waiting[0]
    started = aws.client("sagemaker").start_pipeline_execution(
        PipelineName=aws.settings.pipeline,
        PipelineExecutionDisplayName=names[kind],
        PipelineExecutionDescription=f"{fired[kind]['AlarmName']}: {fired[kind].get('StateReason', '')}"[
            :3072
        ],
        ClientRequestToken=f"{aws.settings.pipeline}-{names[kind]}".ljust(32, "-"),
    )["PipelineExecutionArn"]
    print(f"retraining  started for alarm {fired[kind]['AlarmName']}: {started}")
    return started


def _name(kind: str, alarm: dict) -> str:
    """Of the execution that answers an alarm: one for each time that it goes off."""
    since = alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]
    return f"{kind}-{since.astimezone(UTC):%Y%m%d-%H%M%S-%f}"


def _executions(aws: Aws) -> list[dict]:
    """Of the pipeline, the newest first."""
    pages = aws.client("sagemaker").get_paginator("list_pipeline_executions")
    try:
        found = pages.paginate(
            PipelineName=aws.settings.pipeline, SortBy="CreationTime", SortOrder="Descending"
        )
        return [execution for page in found for execution in page["PipelineExecutionSummaries"]]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ResourceNotFound", "ValidationException"):
            raise ServiceError(
                f"no pipeline {aws.settings.pipeline} to retrain with: run 'make pipeline' first"
            ) from None
        raise
