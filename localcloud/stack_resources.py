"""The types of resource that a stack may have, each made by the same API calls as by hand.

Every property is carried out or refused by name. A kind's ``create`` makes the resource, and fails if it
is there; ``configure`` does the rest, for an update too; ``delete`` takes what is gone for deleted.
"""

import json
from collections.abc import Callable
from typing import ClassVar

from botocore.exceptions import ClientError

from localcloud.errors import AwsError
from localcloud.settings import ACCOUNT, REGION
from localcloud.stack_template import invalid

Client = Callable[[str], object]  # boto3's clients, by service
GONE = {
    "NoSuchBucket", "NoSuchEntity", "RepositoryNotFoundException", "ResourceNotFoundException",
    "NoSuchBucketPolicy",
}  # fmt: skip


class Kind:
    """One type. ``fixed`` properties cannot change without replacing the resource."""

    required: ClassVar[set[str]]
    optional: ClassVar[set[str]]
    fixed: ClassVar[set[str]]
    tagged = True  # the stack's own tags become the resource's

    def __init__(self, client: Client):
        self._client = client

    def check(self, name: str, properties: dict) -> None:
        """Raises AwsError for properties that are missing or not honoured, before anything is created."""
        if missing := sorted(self.required - properties.keys()):
            raise invalid(f"localcloud needs {missing[0]} of {name}: it makes up no names, and no defaults")
        if unknown := sorted(properties.keys() - self.required - self.optional):
            raise invalid(f"localcloud cannot do {unknown[0]} of {name}: leave it out")

    def check_change(self, name: str, old: dict, new: dict) -> None:
        for member in sorted(self.fixed):
            if old.get(member) != new.get(member):
                raise invalid(f"localcloud cannot replace {name} for another {member}: delete it first")

    def create(self, p: dict) -> None:
        raise NotImplementedError

    def configure(self, p: dict, old: dict) -> None:
        """``old``: the properties so far, none of a resource that has just been created."""

    def delete(self, p: dict) -> None:
        raise NotImplementedError

    def id(self, p: dict) -> str:
        """The physical id, which ``Ref`` gives."""
        raise NotImplementedError

    def attributes(self, p: dict) -> dict[str, str]:
        """What ``Fn::GetAtt`` gives."""
        return {}


class Bucket(Kind):
    required: ClassVar = {"BucketName"}
    optional: ClassVar = {
        "BucketEncryption", "PublicAccessBlockConfiguration", "LifecycleConfiguration", "OwnershipControls",
        "Tags",
    }  # fmt: skip
    fixed: ClassVar = {"BucketName"}

    def create(self, p: dict) -> None:
        self._client("s3").create_bucket(Bucket=p["BucketName"])

    def configure(self, p: dict, old: dict) -> None:
        s3, bucket = self._client("s3"), {"Bucket": p["BucketName"]}
        put_or_delete = {
            "BucketEncryption": (
                lambda value: s3.put_bucket_encryption(
                    **bucket, ServerSideEncryptionConfiguration={"Rules": _encryption(value)}
                ),
                s3.delete_bucket_encryption,
            ),
            "PublicAccessBlockConfiguration": (
                lambda value: s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=value),
                s3.delete_public_access_block,
            ),
            "LifecycleConfiguration": (
                lambda value: s3.put_bucket_lifecycle_configuration(
                    **bucket, LifecycleConfiguration={"Rules": [_expiry(rule) for rule in value["Rules"]]}
                ),
                s3.delete_bucket_lifecycle,
            ),
            "OwnershipControls": (
                lambda value: s3.put_bucket_ownership_controls(**bucket, OwnershipControls=value),
                s3.delete_bucket_ownership_controls,
            ),
            "Tags": (
                lambda value: s3.put_bucket_tagging(**bucket, Tagging={"TagSet": value}),
                s3.delete_bucket_tagging,
            ),
        }
        for member, (put, delete) in put_or_delete.items():
            if member in p:
                put(p[member])
            elif member in old:
                delete(**bucket)

    def delete(self, p: dict) -> None:
        self._client("s3").delete_bucket(Bucket=p["BucketName"])

    def id(self, p: dict) -> str:
        return p["BucketName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:s3:::{p['BucketName']}"}


def _encryption(value: dict) -> list[dict]:
    return [
        _renamed(rule, {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"})
        for rule in value["ServerSideEncryptionConfiguration"]
    ]


def _expiry(rule: dict) -> dict:
    """A rule as S3's API has it. Members that are not translated go as they are, and S3 refuses them."""
    rule = _renamed(rule, {"Id": "ID"})
    rule["Filter"] = {"Prefix": rule.pop("Prefix", "")}
    if "ExpirationInDays" in rule:
        rule["Expiration"] = {"Days": rule.pop("ExpirationInDays")}
    return rule


def _renamed(members: dict, names: dict[str, str]) -> dict:
    return {names.get(key, key): value for key, value in members.items()}


class BucketPolicy(Kind):
    required: ClassVar = {"Bucket", "PolicyDocument"}
    optional: ClassVar = set()
    fixed: ClassVar = {"Bucket"}
    tagged = False

    def create(self, p: dict) -> None:
        s3 = self._client("s3")
        try:
            s3.get_bucket_policy(Bucket=p["Bucket"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
                raise
        else:
            raise invalid(f"The bucket policy already exists on bucket {p['Bucket']}.")

    def configure(self, p: dict, old: dict) -> None:
        self._client("s3").put_bucket_policy(Bucket=p["Bucket"], Policy=json.dumps(p["PolicyDocument"]))

    def delete(self, p: dict) -> None:
        self._client("s3").delete_bucket_policy(Bucket=p["Bucket"])

    def id(self, p: dict) -> str:
        return p["Bucket"]


class Role(Kind):
    required: ClassVar = {"RoleName", "AssumeRolePolicyDocument"}
    optional: ClassVar = {"Description", "ManagedPolicyArns", "MaxSessionDuration", "Policies", "Tags"}
    fixed: ClassVar = {"RoleName", "Tags"}

    def create(self, p: dict) -> None:
        made_with = ("RoleName", "Description", "MaxSessionDuration", "Tags")
        trust = json.dumps(p["AssumeRolePolicyDocument"])
        self._client("iam").create_role(**_some(p, made_with), AssumeRolePolicyDocument=trust)

    def configure(self, p: dict, old: dict) -> None:
        iam, role = self._client("iam"), {"RoleName": p["RoleName"]}
        if old:
            iam.update_role(**role, **_some(p, ("Description", "MaxSessionDuration")))
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
            **_some(p, ("Description",)),
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


class Repository(Kind):
    required: ClassVar = {"RepositoryName"}
    optional: ClassVar = {
        "ImageScanningConfiguration", "ImageTagMutability", "LifecyclePolicy", "RepositoryPolicyText",
        "EmptyOnDelete", "Tags",
    }  # fmt: skip
    fixed: ClassVar = {"RepositoryName", "Tags"}

    def create(self, p: dict) -> None:
        self._client("ecr").create_repository(
            repositoryName=p["RepositoryName"], **({"tags": p["Tags"]} if "Tags" in p else {})
        )

    def configure(self, p: dict, old: dict) -> None:
        ecr, name = self._client("ecr"), {"repositoryName": p["RepositoryName"]}
        scanning = p.get("ImageScanningConfiguration", {"ScanOnPush": False})
        ecr.put_image_scanning_configuration(
            **name, imageScanningConfiguration=_renamed(scanning, {"ScanOnPush": "scanOnPush"})
        )
        ecr.put_image_tag_mutability(**name, imageTagMutability=p.get("ImageTagMutability", "MUTABLE"))
        if "LifecyclePolicy" in p:
            text = _only_member(p["LifecyclePolicy"], "LifecyclePolicyText")
            ecr.put_lifecycle_policy(**name, lifecyclePolicyText=text)
        elif "LifecyclePolicy" in old:
            ecr.delete_lifecycle_policy(**name)
        if "RepositoryPolicyText" in p:
            ecr.set_repository_policy(**name, policyText=json.dumps(p["RepositoryPolicyText"]))
        elif "RepositoryPolicyText" in old:
            ecr.delete_repository_policy(**name)

    def delete(self, p: dict) -> None:
        force = p.get("EmptyOnDelete", False)
        self._client("ecr").delete_repository(repositoryName=p["RepositoryName"], force=force)

    def id(self, p: dict) -> str:
        return p["RepositoryName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{p['RepositoryName']}"}


class Function(Kind):
    required: ClassVar = {"FunctionName", "PackageType", "Code", "Role"}
    optional: ClassVar = {"Description", "Timeout", "MemorySize", "ImageConfig", "Environment", "Tags"}
    fixed: ClassVar = {"FunctionName", "PackageType", "Tags"}

    def create(self, p: dict) -> None:
        tags = {tag["Key"]: tag["Value"] for tag in p.get("Tags", ())}
        self._client("lambda").create_function(**{**p, "Tags": tags})

    def configure(self, p: dict, old: dict) -> None:
        if not old:
            return
        lambda_, name = self._client("lambda"), p["FunctionName"]
        image = _only_member(p["Code"], "ImageUri")
        defaults = {"Description": "", "Timeout": 3, "MemorySize": 128, "ImageConfig": {}, "Environment": {}}
        settings = {member: p.get(member, default) for member, default in defaults.items()}
        lambda_.update_function_code(FunctionName=name, ImageUri=image)
        lambda_.update_function_configuration(FunctionName=name, Role=p["Role"], **settings)

    def delete(self, p: dict) -> None:
        self._client("lambda").delete_function(FunctionName=p["FunctionName"])

    def id(self, p: dict) -> str:
        return p["FunctionName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{p['FunctionName']}"}


class LogGroup(Kind):
    required: ClassVar = {"LogGroupName"}
    optional: ClassVar = {"RetentionInDays", "Tags"}
    fixed: ClassVar = {"LogGroupName", "Tags"}

    def create(self, p: dict) -> None:
        tags = {tag["Key"]: tag["Value"] for tag in p.get("Tags", ())}
        self._client("logs").create_log_group(logGroupName=p["LogGroupName"], tags=tags)

    def configure(self, p: dict, old: dict) -> None:
        logs, group = self._client("logs"), {"logGroupName": p["LogGroupName"]}
        if "RetentionInDays" in p:
            logs.put_retention_policy(**group, retentionInDays=p["RetentionInDays"])
        elif "RetentionInDays" in old:
            logs.delete_retention_policy(**group)

    def delete(self, p: dict) -> None:
        self._client("logs").delete_log_group(logGroupName=p["LogGroupName"])

    def id(self, p: dict) -> str:
        return p["LogGroupName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{p['LogGroupName']}:*"}


class Alarm(Kind):
    """CloudFormation and PutMetricAlarm name their members alike."""

    required: ClassVar = {"AlarmName", "ComparisonOperator", "EvaluationPeriods"}
    optional: ClassVar = {
        "ActionsEnabled", "AlarmActions", "AlarmDescription", "DatapointsToAlarm", "Dimensions", "MetricName",
        "Namespace", "OKActions", "Period", "Statistic", "Tags", "Threshold", "TreatMissingData", "Unit",
    }  # fmt: skip
    fixed: ClassVar = {"AlarmName", "Tags"}

    def create(self, p: dict) -> None:
        if self._client("cloudwatch").describe_alarms(AlarmNames=[p["AlarmName"]])["MetricAlarms"]:
            raise invalid(f"{p['AlarmName']} already exists")

    def configure(self, p: dict, old: dict) -> None:
        self._client("cloudwatch").put_metric_alarm(**p)

    def delete(self, p: dict) -> None:
        self._client("cloudwatch").delete_alarms(AlarmNames=[p["AlarmName"]])

    def id(self, p: dict) -> str:
        return p["AlarmName"]

    def attributes(self, p: dict) -> dict[str, str]:
        return {"Arn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{p['AlarmName']}"}


KINDS: dict[str, type[Kind]] = {
    "AWS::S3::Bucket": Bucket,
    "AWS::S3::BucketPolicy": BucketPolicy,
    "AWS::IAM::Role": Role,
    "AWS::IAM::ManagedPolicy": ManagedPolicy,
    "AWS::ECR::Repository": Repository,
    "AWS::Lambda::Function": Function,
    "AWS::Logs::LogGroup": LogGroup,
    "AWS::CloudWatch::Alarm": Alarm,
}


def is_gone(error: Exception) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE


def _some(p: dict, members: tuple[str, ...]) -> dict:
    return {member: p[member] for member in members if member in p}


def _only_member(value: dict, member: str):
    if value.keys() != {member}:
        raise AwsError("ValidationError", f"localcloud cannot do {sorted(value)}, only {member}")
    return value[member]
