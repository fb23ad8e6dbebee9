"""Expressions of a pipeline definition: what they refer to, and what they are worth.

``{"Get": "Parameters.X"}``, ``{"Get": "Execution.X"}``, ``{"Get": "Steps.X.Path"}``, ``{"Std:Join": …}`` and
``{"Std:JsonGet": …}``, in the form that the SageMaker Python SDK writes. The schema of definitions is
https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from localcloud.errors import validation

GET, JOIN, JSON_GET = "Get", "Std:Join", "Std:JsonGet"
PARAMETERS, EXECUTION, STEPS = "Parameters", "Execution", "Steps"
PROPERTY_FILES = "PropertyFiles"
PART = re.compile(r"""(?:^|\.)([A-Za-z0-9_-]+)|\[(?:'([^']+)'|"([^"]+)"|(\d+))\]""")

Path = tuple[str | int, ...]


class Unresolved(Exception):
    """An expression that has no value, although what it refers to has run."""


@dataclass(frozen=True)
class Reference:
    """``Steps.Train.ModelArtifacts.S3ModelArtifacts``: the root ``Steps``, the name ``Train``, and the path.

    ``inside`` is the path into a property file, for ``Std:JsonGet``, and None for ``Get``.
    """

    root: str
    name: str
    path: Path
    inside: Path | None = None

    def __str__(self) -> str:
        return f"{self.root}.{self.name}{_written(self.path)}"


class Scope(Protocol):
    def value(self, reference: Reference):
        """Raises Unresolved."""


class Pending:
    """The value of an expression that is known only when a step has run."""

    def __str__(self) -> str:
        return "pending"


PENDING = Pending()


def references(value) -> Iterator[Reference]:
    """All that an argument refers to, however deep; raises AwsError for what is no expression of ours."""
    match _function(value):
        case None:
            for inner in _items(value):
                yield from references(inner)
        case "Std:Join":
            join = _members(value, JOIN, ("On", "Values"))
            if not isinstance(join["On"], str) or not isinstance(join["Values"], list):
                raise validation(f"{JOIN} needs a text as On and a list as Values")
            yield from references(join["Values"])
        case _:
            yield _reference(value)


def resolve(value, scope: Scope):
    """The argument with every expression replaced by its value; raises Unresolved.

    A join with a value that is PENDING is a text all the same.
    """
    match _function(value):
        case None if isinstance(value, dict):
            return {key: resolve(inner, scope) for key, inner in value.items()}
        case None if isinstance(value, list):
            return [resolve(inner, scope) for inner in value]
        case None:
            return value
        case "Std:Join":
            join = value[JOIN]
            return join["On"].join(text(resolve(part, scope)) for part in join["Values"])
        case _:
            return scope.value(_reference(value))


def text(value) -> str:
    """A value as it stands in a joined text or among a function's outputs: JSON, but a string as it is."""
    return str(value) if isinstance(value, str | Pending) else json.dumps(value)


def path(written: str) -> Path:
    """``a.b['c'][0]`` -> ``("a", "b", "c", 0)``; raises ValueError."""
    parts, position = [], 0
    while position < len(written):
        part = PART.match(written, position)
        if part is None:
            raise ValueError(f"{written!r} is not a path such as metrics.accuracy or items[0]['name']")
        parts.append(int(part[4]) if part[4] else part[1] or part[2] or part[3])
        position = part.end()
    return tuple(parts)


def follow(document, steps: Path):
    """What a document has at a path; an item of a list may be chosen by its name, ``Outputs['report']``.

    Raises Unresolved.
    """
    value = document
    for position, part in enumerate(steps):
        try:
            value = _named(value, part) if isinstance(value, list) and isinstance(part, str) else value[part]
        except (KeyError, IndexError, TypeError):
            raise Unresolved(f"there is no {_written(steps[: position + 1])[1:]}") from None
    return value


def _named(items: list, name: str) -> object:
    for item in items:
        names = item.items() if isinstance(item, dict) else ()
        if any(value == name for member, value in names if member.endswith("Name")):
            return item
    raise KeyError(name)


def _function(value) -> str | None:
    """Get, Std:Join or Std:JsonGet for an expression, None for a plain value."""
    if not isinstance(value, dict):
        return None
    if unknown := [key for key in value if key.startswith("Std:") and key not in (JOIN, JSON_GET)]:
        raise validation(f"localcloud cannot do the pipeline function {unknown[0]}")
    if found := [key for key in (GET, JOIN, JSON_GET) if key in value]:
        if len(value) > 1:
            raise validation(
                f"{found[0]} must be alone in its object, and not beside {_others(value, found)}"
            )
        return found[0]
    return None


def _others(value: dict, found: list[str]) -> str:
    return ", ".join(sorted(value.keys() - {found[0]}))


def _items(value) -> list:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _reference(value: dict) -> Reference:
    if GET in value:
        reference = _get(value[GET])
        if reference.root == STEPS and reference.path[:1] == (PROPERTY_FILES,):
            raise validation(f"a property file is read with {JSON_GET}, and not with {GET}: {value[GET]}")
        return reference
    members = _members(value, JSON_GET, ("PropertyFile", "Path"))
    file = members["PropertyFile"]
    if not isinstance(file, dict) or set(file) != {GET}:
        raise validation(f"{JSON_GET} needs PropertyFile: {{{GET!r}: 'Steps.STEP.PropertyFiles.FILE'}}")
    reference = _get(file[GET])
    if reference.root != STEPS or reference.path[:1] != (PROPERTY_FILES,) or len(reference.path) != 2:
        raise validation(f"{file[GET]} is not a property file: write Steps.STEP.PropertyFiles.FILE")
    try:
        inside = path(members["Path"])
    except (TypeError, ValueError) as error:
        raise validation(f"the Path of {JSON_GET} cannot be read: {error}") from error
    return Reference(reference.root, reference.name, reference.path, inside)


def _get(written) -> Reference:
    try:
        root, name, *rest = path(written)
    except (TypeError, ValueError):
        raise validation(f"{written!r} is not a reference such as Parameters.NAME") from None
    if root not in (PARAMETERS, EXECUTION, STEPS):
        raise validation(f"localcloud cannot do the reference {written}")
    if bool(rest) != (root == STEPS):
        raise validation(f"{written!r} is not a reference such as Parameters.NAME or Steps.NAME.PROPERTY")
    return Reference(root, str(name), tuple(rest))


def _members(value: dict, function: str, needed: tuple[str, ...]) -> dict:
    members = value[function]
    if not isinstance(members, dict) or set(members) != set(needed):
        given = ", ".join(members) if isinstance(members, dict) else repr(members)
        raise validation(f"localcloud needs {' and '.join(needed)} in {function}, and not {given}")
    return members


def _written(steps: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in steps)
