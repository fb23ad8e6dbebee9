"""What expressions are worth in one execution: its parameters and variables, and what its steps have left."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from localcloud.jobs import KINDS, Jobs
from localcloud.objects import NoSuchObject, Objects, split
from localcloud.pipeline_definition import CONDITION, LAMBDA, Definition, Step
from localcloud.pipeline_expressions import (
    EXECUTION,
    PARAMETERS,
    PENDING,
    Reference,
    Unresolved,
    follow,
)

CONTRACTS = {contract.prefix: contract for contract in KINDS}  # by the type of the steps that run such jobs


class Known:
    """Before an execution starts: parameters and variables have values, and what steps leave is PENDING."""

    def __init__(self, execution: Callable[[], dict]):
        """``execution`` gives its document as it is at the moment."""
        self._execution = execution

    def value(self, reference: Reference):
        if reference.root == PARAMETERS:
            return self._execution()["Values"][reference.name]
        if reference.root == EXECUTION:
            return self._variable(reference.name)
        return self._left_by_step(reference)

    def _left_by_step(self, reference: Reference):
        return PENDING

    def _variable(self, name: str) -> str:
        if name == "CurrentDateTime":
            return _iso(datetime.now(UTC))
        if name == "StartDateTime":
            return _iso(datetime.fromtimestamp(self._execution()["CreationTime"], UTC))
        return self._execution()[name]


class Left(Known):
    """While an execution runs: whatever its finished steps have left, too."""

    def __init__(self, execution: Callable[[], dict], definition: Definition, jobs: Jobs, objects: Objects):
        super().__init__(execution)
        self._definition = definition
        self._jobs = jobs
        self._objects = objects

    def _left_by_step(self, reference: Reference):
        step = self._definition.steps[reference.name]
        metadata = self._execution()["Steps"].get(step.name, {}).get("Metadata") or {}
        try:
            if reference.inside is not None:
                return follow(self._property_file(step, metadata, reference.path[1]), reference.inside)
            return follow(self._properties(step, metadata), reference.path)
        except Unresolved as error:
            raise Unresolved(f"{reference}: {error}") from error

    def _properties(self, step: Step, metadata: dict) -> dict:
        if step.kind == CONDITION:
            return metadata["Condition"]
        if step.kind == LAMBDA:
            outputs = metadata["Lambda"].get("OutputParameters") or []
            return {
                "OutputParameters": {o["Name"]: _read(o["Value"], step.outputs[o["Name"]]) for o in outputs}
            }
        return self._job(step, metadata)

    def _job(self, step: Step, metadata: dict) -> dict:
        contract = CONTRACTS[step.kind]
        arn = metadata[f"{contract.prefix}Job"]["Arn"]
        return self._jobs.describe(contract, arn.rpartition("/")[2])

    def _property_file(self, step: Step, metadata: dict, name: str):
        file = step.property_files[name]
        output = ("ProcessingOutputConfig", "Outputs", file["OutputName"], "S3Output", "S3Uri")
        folder = follow(self._job(step, metadata), output)
        uri = f"{folder.rstrip('/')}/{file['FilePath']}"
        try:
            return json.loads(self._objects.get(*split(uri)))
        except (NoSuchObject, ValueError) as error:
            raise Unresolved(f"{uri} cannot be read: {error}") from error


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _read(written: str, kind: str):
    return written if kind == "String" else json.loads(written)
