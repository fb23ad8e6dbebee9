"""A pipeline's definition, version 2020-12-01: read, and checked before anything starts.

What localcloud cannot carry out is refused by name, and so is what could never be carried out:
references to nothing, and steps that wait for each other.
"""

import json
import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from botocore.model import Shape
from moto.core.utils import get_service_model

from localcloud import pipeline_conditions
from localcloud.errors import validation
from localcloud.pipeline_expressions import (
    EXECUTION,
    PARAMETERS,
    Path,
    Reference,
    references,
)
from localcloud.pipeline_parameters import TYPES, Parameter, declared

VERSION = "2020-12-01"
TRAINING, PROCESSING, CONDITION, LAMBDA, FAIL = "Training", "Processing", "Condition", "Lambda", "Fail"
JOB_STEPS = (TRAINING, PROCESSING)
VARIABLES = (
    "PipelineName", "PipelineArn", "PipelineExecutionId", "PipelineExecutionArn", "StartDateTime",
    "CurrentDateTime",
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
COMMON = {"Name", "Type", "Arguments", "DisplayName", "Description", "DependsOn"}
MEMBERS = {  # of a step, beside the common ones
    TRAINING: {"CacheConfig", "RetryPolicies"},
    PROCESSING: {"CacheConfig", "RetryPolicies", "PropertyFiles"},
    CONDITION: set(),
    LAMBDA: {"CacheConfig", "FunctionArn", "OutputParameters"},
    FAIL: set(),
}
ARGUMENTS = {CONDITION: {"Conditions", "IfSteps", "ElseSteps"}, FAIL: {"ErrorMessage"}}


@dataclass(frozen=True)
class Step:
    """``document`` is the step as it was written; ``condition`` and ``branch`` say when it runs at all."""

    name: str
    kind: str
    document: dict
    condition: str | None = None
    branch: bool | None = None

    @property
    def arguments(self) -> dict:
        """Without the steps inside a condition's branches, which are steps of their own."""
        arguments = self.document.get("Arguments") or {}
        return {key: value for key, value in arguments.items() if key not in ("IfSteps", "ElseSteps")}

    @property
    def outputs(self) -> dict[str, str]:
        """A Lambda step's outputs and their types."""
        return {o["OutputName"]: o["OutputType"] for o in self.document.get("OutputParameters") or []}

    @property
    def property_files(self) -> dict[str, dict]:
        return {file["PropertyFileName"]: file for file in self.document.get("PropertyFiles") or []}

    @property
    def needs(self) -> set[str]:
        """The steps that must have succeeded before: named, referred to, or the condition around it."""
        referred = {r.name for r in references(self.arguments) if r.root not in (PARAMETERS, EXECUTION)}
        around = {self.condition} if self.condition else set()
        return referred | around | set(self.document.get("DependsOn") or [])


@dataclass(frozen=True)
class Definition:
    """``steps`` come after all that they need."""

    parameters: dict[str, Parameter]
    steps: dict[str, Step]


def parse(text: str) -> Definition:
    """Raises AwsError: the definition is none, or localcloud cannot carry it out."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise validation(f"the pipeline definition is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("Version") != VERSION:
        raise validation(f"localcloud needs a pipeline definition of Version {VERSION}")
    if document.get("PipelineExperimentConfig"):
        raise validation("localcloud has no experiments: leave PipelineExperimentConfig out, or null")
    _refuse_others(
        document, {"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "Steps"}, "the pipeline"
    )
    parameters = _unique([declared(p) for p in _list(document, "Parameters", "the pipeline")], "parameter")
    steps = _unique(_steps(_list(document, "Steps", "the pipeline"), None, None), "step")
    if not steps:
        raise validation("the pipeline definition has no Steps")
    for step in steps.values():
        _check_needs(step, steps)
        for reference in references(step.arguments):
            _check_reference(reference, step, parameters, steps)
    return Definition(parameters, {name: steps[name] for name in _order(steps)})


def _steps(documents: list, condition: str | None, branch: bool | None) -> list[Step]:
    """The steps of a list and, behind each condition, those of its branches."""
    found = []
    for document in documents:
        step = _step(document, condition, branch)
        found.append(step)
        if step.kind == CONDITION:
            for member, outcome in (("IfSteps", True), ("ElseSteps", False)):
                inner = _list(document["Arguments"], member, f"step {step.name}")
                found.extend(_steps(inner, step.name, outcome))
    return found


def _step(document, condition: str | None, branch: bool | None) -> Step:
    if not isinstance(document, dict) or not NAME.fullmatch(str(document.get("Name", ""))):
        raise validation(f"a step's Name must match {NAME.pattern}: {str(document)[:80]}")
    name, kind = document["Name"], document.get("Type")
    where = f"step {name}"
    if kind not in MEMBERS:
        raise validation(f"localcloud cannot do {where} of Type={kind}: one of {', '.join(MEMBERS)}")
    if (document.get("CacheConfig") or {}).get("Enabled"):
        raise validation(f"localcloud cannot do CacheConfig.Enabled of {where}: it runs every step")
    if document.get("RetryPolicies"):
        raise validation(f"localcloud cannot do RetryPolicies of {where}: use RetryPipelineExecution")
    _refuse_others(document, COMMON | MEMBERS[kind], where)
    if not isinstance(document.get("Arguments", {}), dict):
        raise validation(f"the Arguments of {where} must be an object")
    if kind in ARGUMENTS:
        _refuse_others(document.get("Arguments", {}), ARGUMENTS[kind], where)
    if not all(isinstance(needed, str) for needed in _list(document, "DependsOn", where)):
        raise validation(f"DependsOn of {where} must be names of steps")
    match kind:
        case "Training" | "Processing":
            _check_job(document, kind, where)
        case "Condition":
            if not _list(document.get("Arguments", {}), "Conditions", where):
                raise validation(f"{where} has no Conditions")
            for inner in document["Arguments"]["Conditions"]:
                pipeline_conditions.check(inner, name)
        case "Lambda":
            _check_lambda(document, where)
    return Step(name, kind, document, condition, branch)


def _check_job(document: dict, kind: str, where: str) -> None:
    own = f"{kind}JobName"
    if own in document.get("Arguments", {}):
        raise validation(f"{own} of {where} cannot be chosen: an execution names its jobs")
    for file in _list(document, "PropertyFiles", where):
        _needs_members(file, ("PropertyFileName", "OutputName", "FilePath"), f"a property file of {where}")
        outputs = (document["Arguments"].get("ProcessingOutputConfig") or {}).get("Outputs") or []
        if not any(output.get("OutputName") == file["OutputName"] for output in outputs):
            raise validation(f"{where} has no output {file['OutputName']} for {file['PropertyFileName']}")


def _check_lambda(document: dict, where: str) -> None:
    if not isinstance(document.get("FunctionArn"), str):
        raise validation(f"{where} needs FunctionArn, a text")
    for output in _list(document, "OutputParameters", where):
        _needs_members(output, ("OutputName", "OutputType"), f"an output of {where}")
        if output["OutputType"] not in TYPES:
            raise validation(f"localcloud cannot do OutputType={output['OutputType']} of {where}")


def _check_needs(step: Step, steps: dict[str, Step]) -> None:
    if unknown := sorted(step.needs - steps.keys()):
        raise validation(f"step {step.name} needs {', '.join(unknown)}, and there is no such step")
    if failing := sorted(name for name in step.needs if steps[name].kind == FAIL):
        raise validation(f"step {step.name} cannot come after {', '.join(failing)}, which ends the execution")


def _check_reference(
    reference: Reference, step: Step, parameters: dict[str, Parameter], steps: dict[str, Step]
) -> None:
    if reference.root == PARAMETERS:
        found = reference.name in parameters
    elif reference.root == EXECUTION:
        found = reference.name in VARIABLES
    else:
        found = _has(steps[reference.name], reference)
    if not found:
        raise validation(f"step {step.name} refers to {reference}, which does not exist")


def _has(step: Step, reference: Reference) -> bool:
    """Whether a step will have what is referred to: of a job, what Describe can answer."""
    if reference.inside is not None:
        return step.kind == PROCESSING and reference.path[1] in step.property_files
    if step.kind in JOB_STEPS:
        model = get_service_model("sagemaker").operation_model(f"Describe{step.kind}Job")
        return _is_member(model.output_shape, reference.path)
    if step.kind == LAMBDA:
        return reference.path[0] == "OutputParameters" and reference.path[1:] in {(n,) for n in step.outputs}
    return step.kind == CONDITION and reference.path == ("Outcome",)


def _is_member(shape: Shape, steps: Path) -> bool:
    for part in steps:
        if shape.type_name == "structure" and part in shape.members:
            shape = shape.members[part]
        elif shape.type_name == "list":
            shape = shape.member
        elif shape.type_name == "map" and isinstance(part, str):
            shape = shape.value
        else:
            return False
    return True


def _order(steps: dict[str, Step]) -> list[str]:
    try:
        return list(
            TopologicalSorter({name: sorted(step.needs) for name, step in steps.items()}).static_order()
        )
    except CycleError as error:
        raise validation(f"steps wait for each other: {' after '.join(error.args[1][::-1])}") from error


def _refuse_others(document: dict, known: set[str], where: str) -> None:
    if others := [member for member in document if member not in known and document[member]]:
        raise validation(f"localcloud cannot do {', '.join(others)} of {where}")


def _needs_members(document, members: tuple[str, ...], what: str) -> None:
    if not isinstance(document, dict) or any(not isinstance(document.get(m), str) for m in members):
        raise validation(f"{what} needs {', '.join(members)}")
    _refuse_others(document, set(members), what)


def _list(document: dict, member: str, where: str) -> list:
    found = document.get(member) or []
    if not isinstance(found, list):
        raise validation(f"{member} of {where} must be a list")
    return found


def _unique(items: list, what: str) -> dict:
    found = {}
    for item in items:
        if item.name in found:
            raise validation(f"the definition has more than one {what} named {item.name}")
        found[item.name] = item
    return found
