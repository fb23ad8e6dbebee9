"""Parameters of a pipeline: declared in its definition, given as text when an execution starts."""

import math
from dataclasses import dataclass

from localcloud.errors import validation

TYPES = {"String": str, "Integer": int, "Float": float, "Boolean": bool}
MEMBERS = {"Name", "Type", "DefaultValue", "EnumValues"}


@dataclass(frozen=True)
class Parameter:
    """``choices`` is empty where any value of the type will do; ``default`` None where one must be given."""

    name: str
    kind: str
    default: str | int | float | bool | None
    choices: tuple


def declared(document) -> Parameter:
    """One of a definition's Parameters; raises AwsError."""
    if not isinstance(document, dict) or not isinstance(document.get("Name"), str):
        raise validation(f"the parameter {document!r} has no Name")
    name, kind = document["Name"], document.get("Type")
    if others := sorted(document.keys() - MEMBERS):
        raise validation(f"localcloud cannot do {', '.join(others)} of parameter {name}")
    if kind not in TYPES:
        raise validation(f"localcloud cannot do Type={kind} of parameter {name}: one of {', '.join(TYPES)}")
    choices = tuple(document.get("EnumValues") or ())
    default = document.get("DefaultValue")
    for value in (*choices, *([] if default is None else [default])):
        if not fits(value, kind):
            raise validation(f"{value!r} of parameter {name} is not of its type, {kind}")
    parameter = Parameter(name, kind, default, choices)
    if default is not None:
        _check_choice(parameter, default)
    return parameter


def values(parameters: dict[str, Parameter], given: list[dict]) -> dict[str, str | int | float | bool]:
    """The value of every parameter; ``given`` is a request's PipelineParameters. Raises AwsError."""
    texts = {item["Name"]: item["Value"] for item in given}
    if len(texts) < len(given):
        raise validation("PipelineParameters give a parameter more than once")
    if unknown := sorted(texts.keys() - parameters.keys()):
        raise validation(f"the pipeline has no parameter {', '.join(unknown)}")
    if missing := sorted(n for n, p in parameters.items() if p.default is None and n not in texts):
        raise validation(f"PipelineParameters must give {', '.join(missing)}: there is no default")
    return {n: _read(p, texts[n]) if n in texts else p.default for n, p in parameters.items()}


def fits(value, kind: str) -> bool:
    """Whether a JSON value is of a type; an integer is a Float, too, and a Boolean is no number."""
    if isinstance(value, bool) or kind == "Boolean":
        return isinstance(value, bool) and kind == "Boolean"
    return isinstance(value, (int, float) if kind == "Float" else TYPES[kind])


def _read(parameter: Parameter, written: str) -> str | int | float | bool:
    try:
        if parameter.kind == "Boolean":
            value = {"true": True, "false": False}[written.lower()]
        else:
            value = TYPES[parameter.kind](written)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(written)
    except (KeyError, ValueError):
        raise validation(
            f"{written!r} is not a value of parameter {parameter.name} ({parameter.kind})"
        ) from None
    _check_choice(parameter, value)
    return value


def _check_choice(parameter: Parameter, value) -> None:
    if parameter.choices and value not in parameter.choices:
        choice = " or ".join(map(str, parameter.choices))
        raise validation(f"parameter {parameter.name} must be {choice}, and not {value}")
