"""The conditions of a Condition step: whether they are ones that localcloud knows, and whether they hold."""

import operator

from localcloud.errors import validation
from localcloud.pipeline_expressions import Scope, Unresolved, resolve

COMPARISONS = {
    "Equals": operator.eq,
    "GreaterThan": operator.gt,
    "GreaterThanOrEqualTo": operator.ge,
    "LessThan": operator.lt,
    "LessThanOrEqualTo": operator.le,
}
MEMBERS = {
    **{kind: {"LeftValue", "RightValue"} for kind in COMPARISONS},
    "In": {"QueryValue", "Values"},
    "Not": {"Expression"},
    "Or": {"Conditions"},
}


def check(condition, step: str) -> None:
    """Raises AwsError unless this is a condition that localcloud can evaluate."""
    kind = condition.get("Type") if isinstance(condition, dict) else None
    if kind not in MEMBERS:
        raise validation(
            f"localcloud cannot do the condition {kind} of step {step}: one of {', '.join(MEMBERS)}"
        )
    if condition.keys() - {"Type"} != MEMBERS[kind]:
        raise validation(f"the condition {kind} of step {step} needs {' and '.join(sorted(MEMBERS[kind]))}")
    for lists in ("Values", "Conditions"):
        if not isinstance(condition.get(lists, []), list):
            raise validation(f"{lists} of the condition {kind} of step {step} must be a list")
    for inner in condition.get("Conditions", []):
        check(inner, step)
    if kind == "Not":
        check(condition["Expression"], step)


def holds(condition: dict, scope: Scope) -> bool:
    """Raises Unresolved: a value is missing, or two values cannot be compared."""
    match condition["Type"]:
        case "Not":
            return not holds(condition["Expression"], scope)
        case "Or":
            return any(holds(inner, scope) for inner in condition["Conditions"])
        case "In":
            value = resolve(condition["QueryValue"], scope)
            return any(_compared(operator.eq, value, resolve(v, scope)) for v in condition["Values"])
        case kind:
            left, right = (resolve(condition[side], scope) for side in ("LeftValue", "RightValue"))
            if kind != "Equals" and isinstance(left, bool):
                raise Unresolved(f"{kind} cannot compare Booleans")
            return _compared(COMPARISONS[kind], left, right)


def _compared(compare, left, right) -> bool:
    if _kind(left) != _kind(right):
        raise Unresolved(f"{_kind(left)} {left!r} cannot be compared with {_kind(right)} {right!r}")
    return compare(left, right)


def _kind(value) -> str:
    """What may be compared with what; an Integer and a Float may."""
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "String"
    raise Unresolved(f"{value!r} is not a value that can be compared")
