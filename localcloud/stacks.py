"""CloudFormation's stacks: resources moved from what they are to what a template says, or back.

All of an operation is planned and checked before its first call. It is carried out before its request is
answered, which AWS does in the background: a client that waits for the end finds it at once.
"""

import copy
import threading
import time
import uuid

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.errors import AwsError
from localcloud.settings import ACCOUNT, REGION
from localcloud.stack_kinds import Client, is_gone
from localcloud.stack_plan import Desired, Planner, changes
from localcloud.stack_resources import KINDS
from localcloud.stack_template import Template, invalid
from localcloud.store import Store

KIND = "stack"
STACK = "AWS::CloudFormation::Stack"
UPDATABLE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}
FAILURES = (AwsError, BotoCoreError, ClientError)


class Stacks:
    """Stacks are documents of the store. Operations come one after the other; reading waits for none."""

    def __init__(self, store: Store, client: Client):
        self._store = store
        self._kinds = {name: kind(client) for name, kind in KINDS.items()}
        self.planner = Planner(self._kinds)
        self._lock = threading.RLock()

    def resume(self) -> None:
        """After a start-up: what was cut off has failed, and can only be deleted."""
        for stack in self._store.all(KIND):
            if stack["StackStatus"].endswith("_IN_PROGRESS") and stack["StackStatus"] != "REVIEW_IN_PROGRESS":
                verb = stack["StackStatus"].removesuffix("_IN_PROGRESS")
                self._note(stack, f"{verb}_FAILED", "localcloud was stopped meanwhile")

    def all(self) -> list[dict]:
        """The newest first, deleted ones too."""
        return sorted(self._store.all(KIND), key=lambda stack: -stack["CreationTime"])

    def find(self, name: str) -> dict:
        """By name, unless it is deleted, or by id. Raises AwsError."""
        stack = self._store.get(KIND, name) or self._living(name)
        if stack is None:
            raise invalid(f"Stack with id {name} does not exist")
        return stack

    def _living(self, name: str) -> dict | None:
        found = (s for s in self.all() if s["StackName"] == name and s["StackStatus"] != "DELETE_COMPLETE")
        return next(found, None)

    def drafted(self, name: str, tags: list[dict]) -> dict:
        """A stack without resources, not kept yet; raises AwsError where there is one that has some."""
        if stack := self._living(name):
            if stack["StackStatus"] != "REVIEW_IN_PROGRESS":
                raise AwsError("AlreadyExistsException", f"Stack [{name}] already exists")
            return stack
        stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{uuid.uuid4()}"
        return {
            "StackId": stack_id,
            "StackName": name,
            "TemplateBody": "",
            "Parameters": {},
            "Tags": tags,
            "CreationTime": time.time(),
            "Resources": {},
            "Outputs": [],
            "Events": [],
        }

    def keep(self, draft: dict) -> None:
        """What a change set of type CREATE makes of a stack."""
        if "StackStatus" not in draft:
            self._note(draft, "REVIEW_IN_PROGRESS", "User Initiated")

    def create(self, name: str, body: str, given: dict, tags: list[dict], capabilities: list[str]) -> dict:
        with self._lock:
            stack = self.drafted(name, tags)
            planned = self.planner.plan(stack, body, given, tags, capabilities)
            return self._carry_out(stack, "CREATE", *planned, tags)

    def update(self, name: str, body: str, given: dict, tags: list[dict], capabilities: list[str]) -> dict:
        with self._lock:
            stack = self.find(name)
            if (state := stack["StackStatus"]) not in UPDATABLE:
                raise invalid(f"Stack:{stack['StackId']} is in {state} state and can not be updated.")
            template, desired = self.planner.plan(stack, body, given, tags, capabilities)
            if not changes(stack, desired) and template.document == stack["Template"]:
                raise invalid("No updates are to be performed.")
            return self._carry_out(stack, "UPDATE", template, desired, tags)

    def delete(self, name: str) -> None:
        with self._lock:
            stack = self._store.get(KIND, name) or self._living(name)
            if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
                return  # as on AWS, which does not say that there was none
            self._note(stack, "DELETE_IN_PROGRESS", "User Initiated")
            try:
                self._move(stack, {})
            except FAILURES as error:
                self._note(stack, "DELETE_FAILED", _text(error))
            else:
                stack["DeletionTime"] = time.time()
                self._note(stack, "DELETE_COMPLETE")

    def _carry_out(
        self, stack: dict, verb: str, template: Template, desired: Desired, tags: list[dict]
    ) -> dict:
        before = copy.deepcopy(stack["Resources"])
        outputs = template.outputs(desired, self.planner.lookup(desired))
        self._note(stack, f"{verb}_IN_PROGRESS", "User Initiated")
        try:
            self._move(stack, desired)
        except FAILURES as error:
            rollback = "ROLLBACK" if verb == "CREATE" else "UPDATE_ROLLBACK"
            self._note(stack, f"{rollback}_IN_PROGRESS", _text(error))
            try:
                self._move(stack, before)
            except FAILURES as second:
                return self._note(stack, f"{rollback}_FAILED", _text(second))
            return self._note(stack, f"{rollback}_COMPLETE", _text(error))
        stack |= {
            "TemplateBody": template.body,
            "Template": template.document,
            "Parameters": template.values,
            "Tags": tags,
            "Outputs": outputs,
            **({"LastUpdatedTime": time.time()} if verb == "UPDATE" else {}),
        }
        return self._note(stack, f"{verb}_COMPLETE")

    def _move(self, stack: dict, desired: Desired) -> None:
        """Create, change and delete until the stack's resources are the desired ones; raises FAILURES."""
        there = stack["Resources"]
        for name, wanted in desired.items():
            kind, old = self._kinds[wanted["ResourceType"]], there.get(name)
            if old and old["Properties"] == wanted["Properties"]:
                there[name] = {**wanted, **{key: old[key] for key in ("ResourceStatus", "Timestamp")}}
                continue
            verb = "UPDATE" if old else "CREATE"
            with _Step(self, stack, name, wanted, verb):
                if not old:
                    kind.create(wanted["Properties"])
                there[name] = {**wanted, "ResourceStatus": f"{verb}_IN_PROGRESS", "Timestamp": time.time()}
                kind.configure(wanted["Properties"], old["Properties"] if old else {})
        for name, resource in reversed(list(there.items())):
            if name in desired:
                continue
            if resource["DeletionPolicy"] == "Delete":
                with _Step(self, stack, name, resource, "DELETE"):
                    try:
                        self._kinds[resource["ResourceType"]].delete(resource["Properties"])
                    except ClientError as error:
                        if not is_gone(error):
                            raise
            del there[name]

    def _note(self, stack: dict, status: str, reason: str = "") -> dict:
        """The stack's own status, and its event."""
        stack["StackStatus"], stack["StackStatusReason"] = status, reason
        self.record(stack, stack["StackName"], stack["StackId"], STACK, status, reason)
        return stack

    def record(self, stack: dict, name: str, physical: str, kind: str, status: str, reason: str) -> None:
        """Add an event, and write the whole document."""
        stack["Events"].append(
            {
                "EventId": str(uuid.uuid4()),
                "LogicalResourceId": name,
                "PhysicalResourceId": physical,
                "ResourceType": kind,
                "ResourceStatus": status,
                "Timestamp": time.time(),
                **({"ResourceStatusReason": reason} if reason else {}),
            }
        )
        self._store.put(KIND, stack["StackId"], stack)


class _Step:
    """What happens to one resource, with its events, and its status in the stack's document."""

    def __init__(self, stacks: Stacks, stack: dict, name: str, resource: dict, verb: str):
        self._stacks, self._stack, self._name = stacks, stack, name
        self._resource, self._verb = resource, verb

    def __enter__(self) -> None:
        self._note("IN_PROGRESS")

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, FAILURES):
            self._note("FAILED", _text(error))
        elif error is None:
            self._note("COMPLETE")

    def _note(self, end: str, reason: str = "") -> None:
        status = f"{self._verb}_{end}"
        if self._name in self._stack["Resources"]:
            self._stack["Resources"][self._name] |= {"ResourceStatus": status, "Timestamp": time.time()}
        physical, kind = self._resource["PhysicalResourceId"], self._resource["ResourceType"]
        self._stacks.record(self._stack, self._name, physical, kind, status, reason)


def _text(error: Exception) -> str:
    return error.message if isinstance(error, AwsError) else str(error)
