"""Every request that an execution will send, checked before it starts, as far as it can be known.

Where a value comes from a step that has yet to run, any value of the right type stands for it.
"""

from botocore.model import Shape
from moto.core.utils import get_service_model

from localcloud.errors import AwsError
from localcloud.jobs import Jobs
from localcloud.pipeline_definition import JOB_STEPS, Definition
from localcloud.pipeline_expressions import Pending
from localcloud.pipeline_scope import CONTRACTS, Known
from localcloud.pipeline_steps import job_name, job_request

STAND_INS = {"integer": 1, "long": 1, "float": 1.0, "double": 1.0, "boolean": False}


def rehearse(definition: Definition, execution: dict, jobs: Jobs) -> None:
    """Raises AwsError with the step's name: localcloud would refuse its job."""
    for step in definition.steps.values():
        if step.kind in JOB_STEPS:
            name = job_name(execution["PipelineExecutionId"], step.name)
            request = job_request(step, name, execution, Known(lambda: execution))
            shape = get_service_model("sagemaker").operation_model(f"Create{step.kind}Job").input_shape
            try:
                jobs.check(CONTRACTS[step.kind], _filled(request, shape))
            except AwsError as error:
                raise AwsError(error.code, f"step {step.name}: {error.message}", error.status) from error


def _filled(value, shape: Shape | None):
    """The argument with a value of its type in place of each that is pending."""
    if isinstance(value, Pending):
        if shape is None or shape.type_name == "string":
            return (getattr(shape, "enum", None) or [str(value)])[0]
        return STAND_INS.get(shape.type_name, str(value))
    if isinstance(value, dict):
        return {key: _filled(inner, _inside(shape, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, _inside(shape, None)) for inner in value]
    return value


def _inside(shape: Shape | None, key: str | None) -> Shape | None:
    match shape.type_name if shape is not None else None:
        case "structure":
            return shape.members.get(key)
        case "map":
            return shape.value
        case "list":
            return shape.member
    return None
