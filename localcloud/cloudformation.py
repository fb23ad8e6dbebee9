"""CloudFormation's API, answered by ``stacks``; moto does the protocol alone.

moto's own stacks leave out what its models do not know (bucket policies, alarms, most of a bucket), and
their functions would be moto's and not localcloud's: not one of its operations is left.
"""

import time
import uuid
from collections.abc import Callable
from functools import cache, partial

from moto.cloudformation.exceptions import CloudFormationError
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores, get_service_model

from localcloud import stack_documents as documents
from localcloud.client import client
from localcloud.errors import AwsError
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.stack_plan import changes
from localcloud.stack_template import invalid, parse
from localcloud.stacks import Stacks
from localcloud.store import Store

CHANGE_SET = "change-set"
UNCHANGED = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)  # word for word: the AWS CLI's "deploy" looks for it
WANTED = {"StackName", "TemplateBody", "UsePreviousTemplate", "Parameters", "Capabilities", "Tags"}


def install(settings: Settings, store: Store) -> Stacks:
    """Replace moto's operations, all of them; returns the stacks."""
    stacks = Stacks(store, cache(partial(client, settings)))
    api = Api(stacks, store)
    CloudFormationResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER = {}  # those of moto's own documents
    for name in get_service_model("cloudformation").operation_names:
        method = camelcase_to_underscores(name)
        operation = getattr(api, method, None)
        setattr(CloudFormationResponse, method, _answering(operation) if operation else _refusing(name))
    return stacks


class Api:
    """Operations by their moto names: parameters in, answer out; raises AwsError."""

    def __init__(self, stacks: Stacks, store: Store):
        self._stacks = stacks
        self._store = store

    def create_stack(self, params: dict) -> dict:
        documents.refuse_others(params, WANTED)
        if params.get("OnFailure", "ROLLBACK") != "ROLLBACK":
            raise invalid(f"localcloud cannot do OnFailure={params['OnFailure']}, only ROLLBACK")
        stack = self._stacks.create(params["StackName"], *documents.wanted(params, None))
        return {"StackId": stack["StackId"]}

    def update_stack(self, params: dict) -> dict:
        documents.refuse_others(params, WANTED)
        stack = self._stacks.find(params["StackName"])
        self._stacks.update(stack["StackId"], *documents.wanted(params, stack))
        return {"StackId": stack["StackId"]}

    def delete_stack(self, params: dict) -> dict:
        documents.refuse_others(params, {"StackName"})
        self._stacks.delete(params["StackName"])
        return {}

    def describe_stacks(self, params: dict) -> dict:
        if name := params.get("StackName"):
            return {"Stacks": [documents.shown(self._stacks.find(name))]}
        living = (s for s in self._stacks.all() if s["StackStatus"] != "DELETE_COMPLETE")
        return {"Stacks": [documents.shown(stack) for stack in living]}

    def list_stacks(self, params: dict) -> dict:
        wanted = params.get("StackStatusFilter")
        found = (s for s in self._stacks.all() if not wanted or s["StackStatus"] in wanted)
        return {"StackSummaries": [documents.shown(stack) for stack in found]}

    def describe_stack_events(self, params: dict) -> dict:
        stack = self._stacks.find(params["StackName"])
        names = {"StackId": stack["StackId"], "StackName": stack["StackName"]}
        return {"StackEvents": [documents.dated({**event, **names}) for event in reversed(stack["Events"])]}

    def describe_stack_resources(self, params: dict) -> dict:
        documents.refuse_others(params, {"StackName", "LogicalResourceId", "PhysicalResourceId"})
        if physical := params.get("PhysicalResourceId"):
            stack = self._owner(physical)
        else:
            stack = self._stacks.find(params["StackName"])
        wanted = params.get("LogicalResourceId")
        found = [r for r in documents.resource_list(stack) if wanted in (None, r["LogicalResourceId"])]
        return {"StackResources": found}

    def describe_stack_resource(self, params: dict) -> dict:
        stack, name = self._stacks.find(params["StackName"]), params["LogicalResourceId"]
        for resource in documents.resource_list(stack):
            if resource["LogicalResourceId"] == name:
                return {"StackResourceDetail": {**resource, "LastUpdatedTimestamp": resource["Timestamp"]}}
        raise invalid(f"Resource {name} does not exist for stack {params['StackName']}")

    def list_stack_resources(self, params: dict) -> dict:
        resources = documents.resource_list(self._stacks.find(params["StackName"]))
        return {"StackResourceSummaries": [{**r, "LastUpdatedTimestamp": r["Timestamp"]} for r in resources]}

    def get_template(self, params: dict) -> dict:
        body = self._stacks.find(params["StackName"])["TemplateBody"]
        return {"TemplateBody": body, "StagesAvailable": ["Original", "Processed"]}

    def validate_template(self, params: dict) -> dict:
        """Read and checked as far as that goes without parameters."""
        documents.refuse_others(params, {"TemplateBody"})
        return documents.summary(parse(params["TemplateBody"]))

    def get_template_summary(self, params: dict) -> dict:
        documents.refuse_others(params, {"TemplateBody", "StackName"})
        document = parse(params.get("TemplateBody") or self.get_template(params)["TemplateBody"])
        types = sorted({resource["Type"] for resource in document["Resources"].values()})
        return {**documents.summary(document), "ResourceTypes": types}

    def create_change_set(self, params: dict) -> dict:
        documents.refuse_others(params, {*WANTED, "ChangeSetName", "ChangeSetType"})
        kind, name = params.get("ChangeSetType", "UPDATE"), params["StackName"]
        if kind == "UPDATE":
            stack = self._stacks.find(name)
        elif kind == "CREATE":
            stack = self._stacks.drafted(name, params.get("Tags", []))
        else:
            raise invalid(f"localcloud cannot do ChangeSetType={kind}, only CREATE or UPDATE")
        body, given, tags, capabilities = documents.wanted(params, stack)
        template, desired = self._stacks.planner.plan(stack, body, given, tags, capabilities)
        if kind == "CREATE":
            self._stacks.keep(stack)
        planned = changes(stack, desired)
        unchanged = kind == "UPDATE" and not planned and template.document == stack.get("Template")
        change_set_id = (
            f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{params['ChangeSetName']}/{uuid.uuid4()}"
        )
        self._store.put(
            CHANGE_SET,
            change_set_id,
            {
                "ChangeSetId": change_set_id,
                "ChangeSetName": params["ChangeSetName"],
                "StackId": stack["StackId"],
                "StackName": stack["StackName"],
                "CreationTime": time.time(),
                "Status": "FAILED" if unchanged else "CREATE_COMPLETE",
                "StatusReason": UNCHANGED if unchanged else None,
                "ExecutionStatus": "UNAVAILABLE" if unchanged else "AVAILABLE",
                "Changes": [documents.change(*change) for change in planned],
                "Wanted": [body, given, tags, capabilities],
                "Kind": kind,
            },
        )
        return {"Id": change_set_id, "StackId": stack["StackId"]}

    def describe_change_set(self, params: dict) -> dict:
        found = self._change_set(params)
        _, given, tags, capabilities = found["Wanted"]
        return documents.dated({
            **found, "Parameters": documents.parameter_list(given), "Tags": tags, "Capabilities": capabilities
        })  # fmt: skip

    def list_change_sets(self, params: dict) -> dict:
        stack = self._stacks.find(params["StackName"])
        found = (c for c in self._store.all(CHANGE_SET) if c["StackId"] == stack["StackId"])
        return {"Summaries": [documents.dated(change_set) for change_set in found]}

    def execute_change_set(self, params: dict) -> dict:
        documents.refuse_others(params, {"StackName", "ChangeSetName"})
        found = self._change_set(params)
        if found["ExecutionStatus"] != "AVAILABLE":
            status = f"is in {found['Status']} status and can not be executed"
            raise AwsError("InvalidChangeSetStatus", f"ChangeSet [{found['ChangeSetId']}] {status}")
        carry_out = self._stacks.create if found["Kind"] == "CREATE" else self._stacks.update
        carry_out(found["StackName"], *found["Wanted"])
        for other in self._store.all(CHANGE_SET):  # as on AWS, they are about a state that is past
            if other["StackId"] == found["StackId"]:
                self._store.delete(CHANGE_SET, other["ChangeSetId"])
        return {}

    def delete_change_set(self, params: dict) -> dict:
        self._store.delete(CHANGE_SET, self._change_set(params)["ChangeSetId"])
        return {}

    def _change_set(self, params: dict) -> dict:
        name = params["ChangeSetName"]
        if found := self._store.get(CHANGE_SET, name):
            return found
        stack = self._stacks.find(params.get("StackName", ""))
        for found in self._store.all(CHANGE_SET):
            if found["StackId"] == stack["StackId"] and found["ChangeSetName"] == name:
                return found
        raise AwsError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", 404)

    def _owner(self, physical: str) -> dict:
        for stack in self._stacks.all():
            if any(r["PhysicalResourceId"] == physical for r in stack["Resources"].values()):
                return stack
        raise invalid(f"Stack for {physical} does not exist")


def _answering(operation: Callable[[dict], dict]) -> Callable:
    def method(response: CloudFormationResponse) -> ActionResult:
        try:
            return ActionResult(operation(response._get_params()))
        except AwsError as error:
            raise CloudFormationError(error.code, error.message) from error

    return method


def _refusing(name: str) -> Callable:
    def method(response: CloudFormationResponse):
        raise CloudFormationError("InvalidAction", f"localcloud cannot do {name}")

    return method
