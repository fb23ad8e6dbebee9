"""Roles and policies of a stack."""

import json
from typing import ClassVar

from localcloud.settings import ACCOUNT
from localcloud.stack_kinds import Kind, some


class Role(Kind):
    required: ClassVar = {"RoleName", "AssumeRolePolicyDocument"}
    optional: ClassVar = {"Description", "ManagedPolicyArns", "MaxSessionDuration", "Policies", "Tags"}
    fixed: ClassVar = {"RoleName", "Tags"}

    def create(self, p: dict) -> None:
        made_with = ("RoleName", "Description", "MaxSessionDuration", "Tags")
        trust = json.dumps(p["AssumeRolePolicyDocument"])
        self._client("iam").create_role(**some(p, made_with), AssumeRolePolicyDocument=trust)

    def configure(self, p: dict, old: dict) -> None:
        iam, role = self._client("iam"), {"RoleName": p["RoleName"]}
        if old:
            iam.update_role(**role, **some(p, ("Description", "MaxSessionDuration")))
            iam.update_assume_role_policy(**role, PolicyDocument=json.dumps(p["AssumeRolePolicyDocument"]))
        policies = {policy["PolicyName"]: policy["PolicyDocument"] for policy in p.get("Policies", ())}
        for name, document in policies.items():
            iam.put_role_policy(**role, PolicyName=name, PolicyDocument=json.dumps(document))
        for policy in old.get("Policies", ()):
            if policy["PolicyName"] not in policies:
                iam.delete_role_policy(**role, PolicyName=policy["PolicyName"])
        attached, before = set(p.get("ManagedPolicyArns", ())), set(old.get("ManagedPolicyArns", ()))
        for arn in sorted(attached - before):
            iam.attach_role_policy(**role, PolicyArn=arn)
        for arn in sorted(before - attached):
            iam.detach_role_policy(**role, PolicyArn=arn)

    def delete(self, p: dict) -> None:
        iam, role = self._client("iam"), {"RoleName": p["RoleName"]}
        for arn in p.get("ManagedPolicyArns", ()):
            iam.detach_role_policy(**role, PolicyArn=arn)
        for name in iam.list_role_policies(**role)["PolicyNames"]:
            iam.delete_role_policy(**role, PolicyName=name)
        iam.delete_role(**role)

    def id(self, p: dict) -> str:
        return p["RoleName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{p['RoleName']}"}


class ManagedPolicy(Kind):
    required: ClassVar = {"ManagedPolicyName", "PolicyDocument"}
    optional: ClassVar = {"Description"}
    fixed: ClassVar = {"ManagedPolicyName", "Description"}
    tagged = False

    def create(self, p: dict) -> None:
        self._client("iam").create_policy(
            PolicyName=p["ManagedPolicyName"],
            PolicyDocument=json.dumps(p["PolicyDocument"]),
            **some(p, ("Description",)),
        )

    def configure(self, p: dict, old: dict) -> None:
        if not old:
            return
        iam, policy = self._client("iam"), {"PolicyArn": self.id(p)}
        for version in iam.list_policy_versions(**policy)["Versions"]:  # IAM keeps five at most
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(**policy, VersionId=version["VersionId"])
        document = json.dumps(p["PolicyDocument"])
        iam.create_policy_version(**policy, PolicyDocument=document, SetAsDefault=True)

    def delete(self, p: dict) -> None:
        iam, policy = self._client("iam"), {"PolicyArn": self.id(p)}
        for version in iam.list_policy_versions(**policy)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(**policy, VersionId=version["VersionId"])
        iam.delete_policy(**policy)

    def id(self, p: dict) -> str:
        return f"arn:aws:iam::{ACCOUNT}:policy/{p['ManagedPolicyName']}"
