"""The types of resource that a stack may have, each made by the same API calls as by hand."""

import json
from typing import ClassVar

from localcloud.settings import ACCOUNT, REGION
from localcloud.stack_buckets import Bucket, BucketPolicy
from localcloud.stack_kinds import Kind, only_member, renamed
from localcloud.stack_roles import ManagedPolicy, Role
from localcloud.stack_template import invalid


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
            **name, imageScanningConfiguration=renamed(scanning, {"ScanOnPush": "scanOnPush"})
        )
        ecr.put_image_tag_mutability(**name, imageTagMutability=p.get("ImageTagMutability", "MUTABLE"))
        if "LifecyclePolicy" in p:
            text = only_member(p["LifecyclePolicy"], "LifecyclePolicyText")
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
        image = only_member(p["Code"], "ImageUri")
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
