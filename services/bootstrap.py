"""Creates or updates everything on AWS that BinTally needs: python -m services.bootstrap CaptureDays=14"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from containers.common import deployment
from containers.common.errors import ServiceError
from services import console, jobs
from services.aws import Aws
from services.settings import Settings
from services.train import pair

TEMPLATE = Path(__file__).parents[1] / "infra" / "bintally.yaml"
POLL = 1.0  # seconds
STYLE = {"Add": "green", "Modify": "yellow", "Remove": "red"}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.bootstrap", description=__doc__.split(":")[0])
    p.add_argument(
        "parameters",
        nargs="*",
        metavar="Name=value",
        help=f"of {TEMPLATE.parent.name}/{TEMPLATE.name}, such as CaptureDays=14 or AlarmTopic=arn:…; "
        "others stay as they are",
    )
    p.add_argument("--stack", help="name of the stack")
    p.add_argument("--function-image", metavar="URI", help="image of the functions (default: as pushed last)")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict[str, str]:
    """Returns the stack's outputs. Doing it again changes only what is to be changed."""
    flags = parser().parse_intermixed_args(arguments)
    given = dict(pair(text) for text in flags.parameters)
    settings = Settings.load(flags)
    aws = Aws(settings)
    console.target(aws, flags.aws)
    before = clear(aws)
    wanted = {**own_parameters(aws), **given}
    change_set = propose(aws, before, wanted)
    if change_set is None:
        print(f"stack {settings.stack} is as it should be")
    else:
        console.out.print(changes(change_set))
        carry_out(aws, change_set)
    outputs = Aws(settings).stack
    console.out.print(shown(outputs))
    further(Aws(settings))
    return outputs


def clear(aws: Aws) -> dict | None:
    """The stack, if there is one that can be updated; one whose creation was rolled back is deleted.

    Raises ServiceError for one that is being changed, or that AWS could not bring to rest.
    """
    found, name = aws.describe_stack(), aws.settings.stack
    if found and found["StackStatus"] == "ROLLBACK_COMPLETE":  # it holds nothing, and takes no update
        print(f"stack {name} could not be created last time: what is left of it is deleted")
        delete(aws)
        return None
    if found and found["StackStatus"] not in (
        "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS",
    ):  # fmt: skip
        raise ServiceError(
            f"stack {name} is {found['StackStatus']}: wait for its end, or delete it with 'make teardown'"
        )
    return None if found and found["StackStatus"] == "REVIEW_IN_PROGRESS" else found


def own_parameters(aws: Aws) -> dict[str, str]:
    """The template's parameters that follow from the settings and from what was pushed."""
    settings = aws.settings
    parameters = {"Prefix": settings.prefix, "Endpoint": settings.endpoint}
    if settings.bucket:
        parameters["Bucket"] = settings.bucket
    image = aws.pushed("function")
    if image and not by_hand(aws):
        parameters["FunctionImage"] = image
    return parameters


def by_hand(aws: Aws) -> bool:
    """Whether there is a function already that the stack did not make: then it is left to who made it."""
    pages = aws.client("lambda").get_paginator("list_functions").paginate()
    names = [function["FunctionName"] for page in pages for function in page["Functions"]]
    return any(
        name.startswith("bintally-") and not aws.in_stack("AWS::Lambda::Function", name) for name in names
    )


def propose(aws: Aws, before: dict | None, wanted: dict[str, str]) -> dict | None:
    """A change set that is ready to be carried out, or None where nothing would change."""
    cloudformation, name = aws.client("cloudformation"), aws.settings.stack
    template = TEMPLATE.read_text()
    declared = cloudformation.validate_template(TemplateBody=template)["Parameters"]
    known = {p["ParameterKey"] for p in (before or {}).get("Parameters", ())}
    kept = known.intersection(p["ParameterKey"] for p in declared) - wanted.keys()
    names = {"StackName": name, "ChangeSetName": jobs.name("bootstrap")}
    cloudformation.create_change_set(
        **names,
        ChangeSetType="UPDATE" if before else "CREATE",
        TemplateBody=template,
        Parameters=[
            *({"ParameterKey": key, "ParameterValue": value} for key, value in wanted.items()),
            *({"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)),
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],  # the policies are about resources by name
        Tags=deployment.TAGS,  # which CloudFormation gives to all that it makes
    )
    while (found := cloudformation.describe_change_set(**names))["Status"] in (
        "CREATE_PENDING",
        "CREATE_IN_PROGRESS",
    ):
        time.sleep(POLL)
    if found["Status"] == "CREATE_COMPLETE":
        return found
    cloudformation.delete_change_set(**names)
    reason = found.get("StatusReason", "")
    if "didn't contain changes" in reason or "No updates" in reason:
        return None
    raise ServiceError(f"stack {name} cannot be changed like this: {reason}")


def carry_out(aws: Aws, change_set: dict) -> None:
    """Execute a change set and wait for its end; raises ServiceError with what failed and why."""
    cloudformation, name = aws.client("cloudformation"), aws.settings.stack
    cloudformation.execute_change_set(StackName=name, ChangeSetName=change_set["ChangeSetId"])
    found = wait(aws)
    if found is None or found["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise ServiceError(f"stack {name}: {failures(aws) or 'it did not change'}; all was taken back")


def wait(aws: Aws) -> dict | None:
    """The stack once nothing about it is in progress; None where it is gone."""
    with Console(stderr=True).status(f"waiting for stack {aws.settings.stack}"):
        while (found := aws.describe_stack()) and found["StackStatus"].endswith("_IN_PROGRESS"):
            time.sleep(POLL)
    return found


def failures(aws: Aws) -> str:
    """What failed of the last operation on the stack, and why; what was merely cancelled is left out."""
    events = aws.client("cloudformation").describe_stack_events(StackName=aws.settings.stack)["StackEvents"]
    found = []
    for event in events:  # the newest first
        if event.get("ResourceStatusReason") == "User Initiated":
            break
        reason = event.get("ResourceStatusReason", "")
        own = event["ResourceType"] == "AWS::CloudFormation::Stack"  # which only repeats its resources
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason and not own:
            found.append(f"{event['LogicalResourceId']}: {reason}")
    return "; ".join(reversed(found))


def delete(aws: Aws) -> None:
    """Delete the stack and wait; raises ServiceError with what could not be deleted."""
    aws.client("cloudformation").delete_stack(StackName=aws.settings.stack)
    if wait(aws) is not None:
        raise ServiceError(f"stack {aws.settings.stack} could not be deleted: {failures(aws)}")


def changes(change_set: dict) -> Table:
    table = Table("change", "resource", "type", title=f"stack {change_set['StackName']}")
    for item in change_set["Changes"]:
        change = item["ResourceChange"]
        action = f"[{STYLE.get(change['Action'], 'yellow')}]{change['Action'].lower()}[/]"
        table.add_row(action, change["LogicalResourceId"], change["ResourceType"].removeprefix("AWS::"))
    return table


def shown(outputs: dict[str, str]) -> Table:
    table = Table("output", "value", title="what the services use from now on")
    for name, value in outputs.items():
        table.add_row(name, value)
    return table


def further(aws: Aws) -> None:
    """What is to be done next by hand, if anything."""
    if aws.in_stack("AWS::Lambda::Function", aws.settings.function):
        return
    if by_hand(aws):
        print("functions: 'make deploy' has made them, and keeps them")
    else:
        print("functions: none yet; once 'make push' has pushed their image, 'make bootstrap' makes them")


if __name__ == "__main__":
    raise SystemExit(console.run(main))
