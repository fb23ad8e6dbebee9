"""What a stack's template asks for, worked out and checked before anything is done."""

from collections.abc import Callable, Mapping

from localcloud.errors import AwsError
from localcloud.settings import ACCOUNT, REGION
from localcloud.stack_kinds import Kind
from localcloud.stack_template import Template, invalid

NAMED_IAM = {"AWS::IAM::Role", "AWS::IAM::ManagedPolicy"}
Desired = dict[str, dict]  # logical id -> ResourceType, Properties, PhysicalResourceId, DeletionPolicy


class Planner:
    """kinds: what is known of each type of resource."""

    def __init__(self, kinds: Mapping[str, Kind]):
        self._kinds = kinds

    def plan(
        self, stack: dict, body: str, given: dict, tags: list[dict], capabilities: list[str]
    ) -> tuple[Template, Desired]:
        """The template, and the properties of all its resources. Raises AwsError, and changes nothing."""
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::StackId": stack["StackId"],
            "AWS::StackName": stack["StackName"],
            "AWS::URLSuffix": "amazonaws.com",
        }
        template = Template(body, given, pseudo)
        desired: Desired = {}
        for name, resource in template.resources.items():
            if resource["Type"] not in self._kinds:
                raise invalid(f"localcloud cannot do resources of type {resource['Type']} ({name})")
            kind = self._kinds[resource["Type"]]
            properties = template.properties(name, self.lookup(desired))
            if kind.tagged and tags:
                own = {tag["Key"] for tag in properties.get("Tags", ())}
                inherited = [tag for tag in tags if tag["Key"] not in own]
                properties["Tags"] = properties.get("Tags", []) + inherited
            kind.check(name, properties)
            there = stack["Resources"].get(name)
            if there and there["ResourceType"] != resource["Type"]:
                raise invalid(f"localcloud cannot make a {resource['Type']} of {name}: give it another name")
            if there:
                kind.check_change(name, there["Properties"], properties)
            desired[name] = {
                "ResourceType": resource["Type"],
                "Properties": properties,
                "PhysicalResourceId": kind.id(properties),
                "DeletionPolicy": resource.get("DeletionPolicy", "Delete"),
            }
        if not {"CAPABILITY_NAMED_IAM"} & set(capabilities) and any(
            resource["ResourceType"] in NAMED_IAM for resource in desired.values()
        ):
            message = "Requires capabilities : [CAPABILITY_NAMED_IAM]"
            raise AwsError("InsufficientCapabilitiesException", message)
        return template, desired

    def lookup(self, desired: Desired) -> Callable[[str, str | None], str]:
        """What Ref (attribute None) and GetAtt find among the resources planned so far; or it raises."""

        def lookup(name: str, attribute: str | None) -> str:
            resource = desired[name]
            if attribute is None:
                return resource["PhysicalResourceId"]
            kind = self._kinds[resource["ResourceType"]]
            found = kind.attributes(resource["Properties"])
            if attribute not in found:
                known = f"localcloud cannot do the attribute {attribute} of {resource['ResourceType']}"
                raise invalid(known)
            return found[attribute]

        return lookup


def changes(stack: dict, desired: Desired) -> list[tuple[str, str, dict]]:
    """(Add, Modify or Remove, logical id, resource) of everything that a plan would change."""
    there = stack["Resources"]
    return [
        *(("Add", name, wanted) for name, wanted in desired.items() if name not in there),
        *(
            ("Modify", name, wanted)
            for name, wanted in desired.items()
            if name in there and there[name]["Properties"] != wanted["Properties"]
        ),
        *(("Remove", name, resource) for name, resource in there.items() if name not in desired),
    ]
