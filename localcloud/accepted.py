"""A request against the table of what localcloud honours: everything else is refused by name.

A table maps a member's path, ``ResourceConfig.InstanceCount``, to the values that it may have, or
to ANY. A path stands for everything below it, and for every item if it leads to a list.
"""

import re

from botocore.validate import ParamValidator
from moto.core.utils import get_service_model

from localcloud.errors import validation

ANY = object()
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")

Table = dict[str, object]


def check(operation: str, params: dict, name_member: str | None = None, table: Table | None = None) -> None:
    """Raise AwsError unless ``params`` is a valid request of SageMaker's ``operation``, in the table.

    ``name_member`` is the one that names what is created or asked for, if one does.
    """
    shape = get_service_model("sagemaker").operation_model(operation).input_shape
    report = ParamValidator().validate(params, shape)
    if report.has_errors():
        raise validation("; ".join(report.generate_report().splitlines()))
    if name_member and not NAME.fullmatch(params[name_member]):
        raise validation(
            f"1 validation error detected: Value '{params[name_member]}' at '{name_member}' failed to "
            f"satisfy constraint: Member must satisfy regular expression pattern: {NAME.pattern}"
        )
    if table is not None:
        _walk(params, "", table)


def _walk(value, path: str, table: Table) -> None:
    if path in table:
        allowed = table[path]
        if allowed is not ANY and value not in allowed:
            choice = " or ".join(map(str, allowed))
            raise validation(f"localcloud cannot do {path}={value}, only {choice}")
    elif isinstance(value, dict):
        for member, inner in value.items():
            _walk(inner, f"{path}.{member}" if path else member, table)
    elif isinstance(value, list):
        for item in value:
            _walk(item, path, table)
    elif value is not None:
        raise validation(f"localcloud cannot do {path}={value}: leave it out")
