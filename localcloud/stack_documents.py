"""What CloudFormation's API is asked and answers, in terms of the stacks' documents."""

from datetime import UTC, datetime

from localcloud.stack_template import invalid

WITHOUT_EFFECT = {"ClientRequestToken", "Description", "NextToken", "OnFailure"}
LIMIT = 51_200  # bytes of a template in a request


def refuse_others(params: dict, known: set[str]) -> None:
    """Raises AwsError for a parameter that would be ignored."""
    for member in sorted(params.keys() - known - WITHOUT_EFFECT):
        if params[member]:
            raise invalid(f"localcloud cannot do {member}: leave it out")


def wanted(params: dict, stack: dict | None) -> tuple[str, dict[str, str], list[dict], list[str]]:
    """(template, parameters, tags, capabilities), from the request or, where it says so, as they are."""
    body = params.get("TemplateBody")
    if params.get("UsePreviousTemplate") and stack:
        body = stack["TemplateBody"]
    if not body:
        raise invalid("Either Template URL or Template Body must be specified.")
    if len(body.encode()) > LIMIT:
        raise invalid(f"Member must have length less than or equal to {LIMIT}: templateBody")
    before = stack["Parameters"] if stack else {}
    given = {}
    for parameter in params.get("Parameters", []):
        key = parameter["ParameterKey"]
        if parameter.get("UsePreviousValue"):
            if key not in before:
                raise invalid(f"Invalid input for parameter key {key}: there is no previous value")
            given[key] = before[key]
        else:
            given[key] = parameter["ParameterValue"]
    tags = params.get("Tags", stack["Tags"] if stack else [])
    return body, given, tags, params.get("Capabilities", [])


def change(action: str, name: str, resource: dict) -> dict:
    """One of a change set's changes."""
    named = {"Action": action, "LogicalResourceId": name}
    about = {member: resource[member] for member in ("PhysicalResourceId", "ResourceType")}
    return {"Type": "Resource", "ResourceChange": named | about}


def shown(stack: dict) -> dict:
    """A stack as DescribeStacks and ListStacks show it."""
    return dated({
        **{key: value for key, value in stack.items() if key not in ("Template", "Resources", "Events")},
        "StackStatusReason": stack["StackStatusReason"] or None,
        "Description": stack.get("Template", {}).get("Description"),
        "TemplateDescription": stack.get("Template", {}).get("Description"),
        "Parameters": parameter_list(stack["Parameters"]),
    })  # fmt: skip


def parameter_list(values: dict[str, str]) -> list[dict]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def resource_list(stack: dict) -> list[dict]:
    names = {"StackId": stack["StackId"], "StackName": stack["StackName"]}
    return [
        dated({**names, "LogicalResourceId": name, **resource})
        for name, resource in stack["Resources"].items()
    ]


def summary(document: dict) -> dict:
    """What a template says of itself."""
    parameters = [
        {
            "ParameterKey": name,
            "ParameterType": p["Type"],
            "NoEcho": False,
            **({"DefaultValue": str(p["Default"])} if "Default" in p else {}),
            **({"Description": p["Description"]} if "Description" in p else {}),
        }
        for name, p in (document.get("Parameters") or {}).items()
    ]
    return {"Parameters": parameters, "Description": document.get("Description", "")}


def dated(document: dict) -> dict:
    """Epoch seconds, as the store keeps them, as the protocol's dates."""
    times = ("CreationTime", "LastUpdatedTime", "DeletionTime", "Timestamp")
    return {
        key: datetime.fromtimestamp(value, UTC) if key in times else value for key, value in document.items()
    }
