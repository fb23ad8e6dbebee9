"""An execution of the pipeline while it runs: a live tree of its steps, and the decision at its end."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from containers.common.errors import ServiceError
from services import console, evaluate, jobs
from services.aws import Aws

ENDED = ("Succeeded", "Failed", "Stopped")
LOOKS = {  # of a step's status: mark and style
    "Starting": ("●", "yellow"),
    "Executing": ("●", "yellow"),
    "Stopping": ("●", "yellow"),
    "Succeeded": ("✔", "green"),
    "Failed": ("✘", "bold red"),
    "Stopped": ("■", "red"),
}
WAITING = ("○", "dim")


@dataclass(frozen=True)
class View:
    """One look at an execution. ``tree``: names of the steps, as the definition nests them."""

    execution: dict
    tree: dict[str, dict]
    steps: dict[str, dict]  # by name, those that have begun

    @property
    def status(self) -> str:
        return self.execution["PipelineExecutionStatus"]

    @property
    def name(self) -> str:
        return self.execution["PipelineExecutionArn"].rsplit("/", 1)[-1]

    def failed(self) -> Iterator[tuple[str, dict]]:
        return ((name, step) for name, step in self.steps.items() if step["StepStatus"] == "Failed")


def watch(aws: Aws, arn: str) -> dict:
    """Show the execution until it ends; returns ``evaluation.json`` where there is one, else {}.

    Raises ServiceError unless it succeeded: a champion that stays is a success.
    """
    sagemaker = aws.client("sagemaker")
    described = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    tree = _nested(json.loads(described["PipelineDefinition"])["Steps"])

    def look() -> View:
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=arn)
        steps = {step["StepName"]: step for page in pages for step in page["PipelineExecutionSteps"]}
        return View(execution, tree, steps)

    try:
        view = _live(look) if console.out.is_terminal else _lines(look)
    except KeyboardInterrupt:
        raise ServiceError(f"no longer watching; execution {arn.rsplit('/', 1)[-1]} goes on") from None
    evaluation = _evaluation(aws, view)
    if view.status != "Succeeded":
        raise ServiceError(why(view))
    return evaluation


def _nested(steps: list[dict]) -> dict[str, dict]:
    return {
        step["Name"]: _nested(
            [*step["Arguments"].get("IfSteps", ()), *step["Arguments"].get("ElseSteps", ())]
            if step["Type"] == "Condition"
            else []
        )
        for step in steps
    }


def _live(look) -> View:
    with Live(console=console.out, auto_refresh=False) as live:
        while True:
            view = look()
            live.update(drawn(view), refresh=True)
            if view.status in ENDED:
                return view
            time.sleep(jobs.POLL)


def _lines(look) -> View:
    """One line for each change of a step, for logs and pipes."""
    shown: dict[str, str] = {}
    while True:
        view = look()
        for name, step in sorted(view.steps.items(), key=lambda item: item[1].get("StartTime", _now())):
            if shown.get(name) != step["StepStatus"]:
                shown[name] = step["StepStatus"]
                console.out.print(f"  {name:<10}{_told(step)}", markup=False)
                if reason := step.get("FailureReason"):
                    console.out.print(f"    {reason}", markup=False)
        if view.status in ENDED:
            return view
        time.sleep(jobs.POLL)


def drawn(view: View) -> Tree:
    """The tree of steps, with a mark, a duration and the reason of a failure each."""
    seconds = _seconds(view.execution.get("CreationTime"), _end(view))
    root = Tree(Text(f"execution {view.name}  {view.status}  {_clock(seconds)}", style="bold"))
    _grow(root, view.tree, view)
    return root


def _grow(branch: Tree, names: dict[str, dict], view: View) -> None:
    for name, inner in names.items():
        step = view.steps.get(name)
        mark, style = LOOKS.get(step["StepStatus"], WAITING) if step else WAITING
        line = Text.assemble((f"{mark} {name:<10}", style))
        if step:
            line.append(_told(step))
            if reason := step.get("FailureReason"):
                line.append(f"\n{reason}", style="red")
        elif view.status in ENDED:
            line.append("not run", style="dim")
        _grow(branch.add(line), inner, view)


def _told(step: dict) -> str:
    text = f"{step['StepStatus']:<11}{_clock(_seconds(step.get('StartTime'), step.get('EndTime')))}"
    if outcome := step.get("Metadata", {}).get("Condition", {}).get("Outcome"):
        text += f"  {'yes' if outcome == 'True' else 'no'}"
    return text


def _end(view: View) -> datetime | None:
    """When the last step ended, once the execution has."""
    ends = [step["EndTime"] for step in view.steps.values() if step.get("EndTime")]
    return max(ends) if ends and view.status in ENDED else None


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return max(0.0, ((end or _now()) - start).total_seconds()) if start else 0.0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _evaluation(aws: Aws, view: View) -> dict:
    """Fetch what the evaluation wrote, and tell the decision; {} where it has not come so far."""
    step = view.steps.get("Evaluate", {})
    if step.get("StepStatus") != "Succeeded":
        return {}
    job = step["Metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[-1]
    described = aws.client("sagemaker").describe_processing_job(ProcessingJobName=job)
    [output] = described["ProcessingOutputConfig"]["Outputs"]
    folder = aws.settings.local / "evaluations" / job
    aws.download_files(output["S3Output"]["S3Uri"], evaluate.FILES, folder)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    decision = evaluation["decision"]
    verdict = "promote the challenger" if decision["promote"] else "keep what is deployed"
    console.out.print(f"\ndecision  {verdict}\nbecause   {decision['reason']}", markup=False)
    console.out.print(f"the page  {folder / 'evaluation.html'}", markup=False)
    return evaluation


def why(view: View) -> str:
    """One line on an execution that did not succeed, with what to do next."""
    reasons = [f"{name}: {step.get('FailureReason', 'no reason was given')}" for name, step in view.failed()]
    reason = "; ".join(reasons) or view.execution.get("FailureReason", "no reason was given")
    # Verify takes the promotion back, and would find the champion live if it alone were run again.
    again = (
        "start the pipeline again" if "Verify" in view.steps else "run it again from there: the verb retry"
    )
    return f"execution {view.name} is {view.status}: {reason} ({again})"
