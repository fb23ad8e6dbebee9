"""Starts the pipeline when an alarm says that the model has aged; once for each time that it goes off."""

from collections.abc import Callable
from datetime import UTC, datetime

from containers.common.errors import ServiceError
from services.alarms import AGEING
from services.aws import Aws
from services.pipeline import executions

RUNNING = ("Executing", "Stopping")


def retrain(aws: Aws, alarms: dict[str, dict], start: Callable[..., str]) -> str | None:
    """Start an execution of ``settings.pipeline`` for an alarm that went off; returns its ARN.

    alarms: as ``alarms.states`` gives them. start: called with those members of StartPipelineExecution
    that name the execution and say why. None, with a printed reason, where no alarm that means ageing is
    in ALARM, where an execution is running, or where one was started after the alarm went off: if that
    kept the champion, the same data would again. Raises ServiceError where there is no such pipeline.
    """
    fired = {kind: alarms[kind] for kind in AGEING if alarms.get(kind, {}).get("StateValue") == "ALARM"}
    if not fired:
        print(f"retraining      not needed: no alarm of {', '.join(AGEING)} is in ALARM")
        return None
    kind, alarm = max(fired.items(), key=lambda each: _went_off(each[1]))
    listed = executions(aws)
    if listed is None:
        raise ServiceError(f"no pipeline {aws.settings.pipeline} to retrain with: run 'make pipeline' first")
    for execution in listed:
        status, arn = execution["PipelineExecutionStatus"], execution["PipelineExecutionArn"]
        if status in RUNNING:
            print(f"retraining      is under way: {arn}")
            return None
        if execution["StartTime"] > _went_off(alarm):
            print(f"retraining      has answered this alarm: {arn} {status}; once more: make pipeline")
            return None
    named = f"{kind}-{_went_off(alarm).astimezone(UTC):%Y%m%d-%H%M%S-%f}"
    print(f"retraining      for alarm {alarm['AlarmName']}")
    return start(
        PipelineExecutionDisplayName=named,
        PipelineExecutionDescription=f"for alarm {alarm['AlarmName']}: {alarm['StateReason']}"[:3072],
        # Whoever else reads the same alarm at the same moment starts no second one.
        ClientRequestToken=f"{aws.settings.pipeline}-{named}".ljust(32, "-"),
    )


def _went_off(alarm: dict) -> datetime:
    """AWS tells the transition apart from an update that changed the reason only."""
    return alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]
