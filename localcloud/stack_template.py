"""A CloudFormation template: read, checked against what localcloud honours, and resolved.

The language is that of the CloudFormation user guide ("Template anatomy", "Intrinsic function
reference"). Sections, functions and types of parameters that are not listed here are refused by name.
"""

import re
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

import yaml

from localcloud.errors import AwsError

SECTIONS = {
    "AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Conditions", "Resources", "Outputs",
}  # fmt: skip
MEMBERS = {
    "Type", "Properties", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata",
}  # fmt: skip
PARAMETER_MEMBERS = {
    "Type", "Default", "Description", "AllowedValues", "AllowedPattern", "ConstraintDescription",
    "MinLength", "MaxLength", "MinValue", "MaxValue",
}  # fmt: skip
FUNCTIONS = {"Ref", "Fn::GetAtt", "Fn::Sub", "Fn::Join", "Fn::If"}
CONDITIONS = {"Fn::Equals", "Fn::Not", "Fn::And", "Fn::Or", "Condition"}
SUBSTITUTED = re.compile(r"\$\{(!?)([^}]+)\}")
NO_VALUE = object()  # AWS::NoValue: the property is left out

Lookup = Callable[[str, str | None], object]  # (resource, attribute or None for Ref) -> its value


def invalid(message: str) -> AwsError:
    """What CloudFormation answers for anything that it refuses."""
    return AwsError("ValidationError", message, 400)


class Template:
    """One template with its parameters' values; nothing of it has been created yet.

    ``resources`` are those whose condition holds, in the order in which they can be created.
    """

    def __init__(self, body: str, given: dict[str, str], pseudo: dict[str, str]):
        """``pseudo``: ``AWS::Region`` and its like. Raises AwsError for what is wrong or not honoured."""
        self.body = body
        self.document = parse(body)
        declared = self.document.get("Parameters") or {}
        self.values = _values(declared, given)
        typed = {name: _typed(value, declared[name]) for name, value in self.values.items()}
        self._names = {**pseudo, "AWS::NoValue": NO_VALUE, **typed}
        self._conditions: dict[str, bool] = {}
        for name in self.document.get("Conditions") or {}:
            self._holds(name)
        written = self.document["Resources"]
        kept = {name: r for name, r in written.items() if self._is_wanted(r)}
        self.resources = {name: kept[name] for name in self._order(kept)}
        self.outputs(dict.fromkeys(kept))  # what it refers to must be there

    def properties(self, name: str, lookup: Lookup) -> dict:
        """A resource's properties without functions; ``lookup`` knows the resources created so far."""
        return self._resolve(self.resources[name].get("Properties") or {}, lookup)

    def outputs(self, resources: dict, lookup: Lookup | None = None) -> list[dict]:
        """The outputs whose condition holds, as DescribeStacks shows them."""
        lookup = lookup or self._recording(set(), resources)
        return [
            {
                "OutputKey": name,
                "OutputValue": str(self._resolve(output["Value"], lookup)),
                **({"Description": output["Description"]} if "Description" in output else {}),
            }
            for name, output in (self.document.get("Outputs") or {}).items()
            if self._is_wanted(output)
        ]

    def _is_wanted(self, member: dict) -> bool:
        return "Condition" not in member or self._holds(member["Condition"])

    def _holds(self, name: str) -> bool:
        conditions = self.document.get("Conditions") or {}
        if name not in conditions:
            raise invalid(f"Template format error: Unresolved condition {name}")
        if name not in self._conditions:
            self._conditions[name] = self._test(conditions[name])
        return self._conditions[name]

    def _test(self, condition: dict) -> bool:
        operator, operands = next(iter(condition.items()))
        if operator == "Condition":
            return self._holds(operands)
        if operator == "Fn::Equals":
            first, second = (self._resolve(value, self._recording(set(), {})) for value in operands)
            return str(first) == str(second)
        if operator not in CONDITIONS:
            raise invalid(f"localcloud cannot do the condition {operator}, only {', '.join(CONDITIONS)}")
        results = [self._test(operand) for operand in operands]
        return {"Fn::Not": not results[0], "Fn::And": all(results), "Fn::Or": any(results)}[operator]

    def _order(self, kept: dict) -> list[str]:
        graph = {}
        for name, resource in kept.items():
            after = resource.get("DependsOn", [])
            found = {after} if isinstance(after, str) else set(after)
            self._resolve(resource.get("Properties") or {}, self._recording(found, kept))
            graph[name] = found & kept.keys()
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            names = ", ".join(error.args[1][1:])
            raise invalid(f"Circular dependency between resources: [{names}]") from None

    def _recording(self, found: set[str], resources: dict) -> Lookup:
        """A lookup that notes which resources are referred to, before any exists."""

        def lookup(name: str, attribute: str | None) -> str:
            if name not in resources:
                raise invalid(f"Template format error: Unresolved resource dependencies [{name}]")
            found.add(name)
            return ""

        return lookup

    def _resolve(self, value, lookup: Lookup):
        if isinstance(value, list):
            items = (self._resolve(item, lookup) for item in value)
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and (function := next(iter(value))) in FUNCTIONS:
            return self._call(function, value[function], lookup)
        if unknown := next((key for key in value if str(key).startswith("Fn::")), None):
            raise invalid(f"localcloud cannot do {unknown}, only {', '.join(sorted(FUNCTIONS))}")
        resolved = {key: self._resolve(inner, lookup) for key, inner in value.items()}
        return {key: inner for key, inner in resolved.items() if inner is not NO_VALUE}

    def _call(self, function: str, argument, lookup: Lookup):
        if function == "Ref":
            return self._names[argument] if argument in self._names else lookup(argument, None)
        if function == "Fn::GetAtt":
            name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
            return lookup(name, attribute)
        if function == "Fn::Join":
            return argument[0].join(str(item) for item in self._resolve(argument[1], lookup))
        if function == "Fn::If":
            condition, holds, otherwise = argument
            return self._resolve(holds if self._holds(condition) else otherwise, lookup)
        text, own = (argument, {}) if isinstance(argument, str) else argument
        own = self._resolve(own, lookup)

        def substitute(match: re.Match) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in own:
                return str(own[name])
            return str(self._call("Fn::GetAtt" if "." in name else "Ref", name, lookup))

        return SUBSTITUTED.sub(substitute, text)


def parse(body: str) -> dict:
    """A template in YAML, with functions in their short or long form, or in JSON, which is YAML too."""
    try:
        document = yaml.load(body, Loader=_Loader)
    except yaml.YAMLError as error:
        raise invalid(f"Template format error: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not document.get("Resources"):
        raise invalid("Template format error: At least one Resources member must be defined.")
    _only(document, SECTIONS, "the section")
    for name, resource in document["Resources"].items():
        if not isinstance(resource, dict) or "Type" not in resource:
            raise invalid(f"Template format error: resource {name} has no Type")
        _only(resource, MEMBERS, f"in resource {name}")
        for member in ("DeletionPolicy", "UpdateReplacePolicy"):
            if resource.get(member, "Delete") not in ("Delete", "Retain"):
                raise invalid(f"localcloud cannot do {member} {resource[member]} of {name}")
    for name, output in (document.get("Outputs") or {}).items():
        _only(output, {"Value", "Description", "Condition"}, f"in output {name}")
    return document


def _only(found: dict, known: set[str], where: str) -> None:
    for member in found:
        if member not in known:
            raise invalid(f"localcloud cannot do {where} {member}: leave it out")


def _values(declared: dict, given: dict[str, str]) -> dict[str, str]:
    """Every parameter's value, given or default, checked against its declaration."""
    if unknown := sorted(given.keys() - declared.keys()):
        raise invalid(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    values = {}
    for name, parameter in declared.items():
        _only(parameter, PARAMETER_MEMBERS, f"in parameter {name}")
        if parameter["Type"] not in ("String", "Number"):
            raise invalid(f"localcloud cannot do parameters of type {parameter['Type']}")
        if name not in given and "Default" not in parameter:
            raise invalid(f"Parameters: [{name}] must have values")
        value = values[name] = str(given.get(name, parameter.get("Default")))
        if not _is_allowed(value, parameter):
            wanted = parameter.get("ConstraintDescription", "its declaration")
            raise invalid(f"Parameter {name} failed to satisfy constraint: {wanted}")
    return values


def _is_allowed(value: str, parameter: dict) -> bool:
    allowed = parameter.get("AllowedValues")
    if parameter["Type"] == "Number":
        number = _number(value)
        size_fits = number is not None and (
            parameter.get("MinValue", number) <= number <= parameter.get("MaxValue", number)
        )
    else:
        size = len(value)
        size_fits = parameter.get("MinLength", size) <= size <= parameter.get("MaxLength", size)
    return (
        size_fits
        and (allowed is None or value in map(str, allowed))
        and bool(re.fullmatch(parameter.get("AllowedPattern", ".*"), value, re.DOTALL))
    )


def _typed(value: str, parameter: dict) -> str | int | float:
    if parameter["Type"] == "String":
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class _Loader(yaml.SafeLoader):
    """YAML as CloudFormation reads it: ``!Sub`` for ``Fn::Sub``, and dates are strings."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict:
    construct = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: lambda n: loader.construct_sequence(n, deep=True),
        yaml.MappingNode: lambda n: loader.construct_mapping(n, deep=True),
    }[type(node)]
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": construct(node)}


_Loader.add_multi_constructor("!", _short_form)
