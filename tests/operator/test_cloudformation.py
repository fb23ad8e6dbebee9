"""CloudFormation on localcloud: all of a template is really there, or nothing of it is."""

import json
from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import ClientError, WaiterError

from containers.common.deployment import TAGS
from services.bootstrap import TEMPLATE
from tests.engine import NO_REGISTRY
from tests.operator.conftest import Cloud
from tests.operator.test_infra import resources

NAMED = {"Capabilities": ["CAPABILITY_NAMED_IAM"]}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/echo:latest"
ALARM = """
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties: {AlarmName: other-alarm, ComparisonOperator: GreaterThanThreshold, EvaluationPeriods: 1,
                 Namespace: N, MetricName: M, Statistic: Sum, Period: 60, Threshold: 0}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Cloud]:
    """A localcloud of this module's own: it is restarted."""
    own = Cloud(tmp_path_factory.mktemp("cloudformation") / "own")
    own.environment |= NO_REGISTRY
    started = own("up")
    assert started.returncode == 0, started.stderr
    own.image(
        "echo",
        "function",
        """
        import json, os, urllib.request
        api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
        while True:
            with urllib.request.urlopen(f"{api}/next") as event:
                request, body = event.headers["Lambda-Runtime-Aws-Request-Id"], event.read()
            answer = json.dumps({"got": json.loads(body), "endpoint": os.environ.get("BINTALLY_ENDPOINT")})
            urllib.request.urlopen(f"{api}/{request}/response", data=answer.encode()).close()
        """,
    )
    yield own
    own("down")


@pytest.fixture(scope="module")
def boto(cloud: Cloud) -> Callable:
    return cloud.client


@pytest.fixture(scope="module")
def deployed(boto) -> dict:
    """The project's own template, with functions; the stack's description."""
    cloudformation = boto("cloudformation")
    cloudformation.create_stack(
        StackName="bintally",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "FunctionImage", "ParameterValue": IMAGE}],
        Tags=TAGS,
        **NAMED,
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName="bintally")
    return cloudformation.describe_stacks(StackName="bintally")["Stacks"][0]


def template(body: str) -> str:
    return f"Resources:\n{body}"


def test_every_resource_and_property_is_read_back(boto, deployed):
    listed = boto("cloudformation").describe_stack_resources(StackName="bintally")["StackResources"]
    expected = resources(IMAGE)
    assert {r["LogicalResourceId"]: r["ResourceType"] for r in listed} == {
        name: resource["Type"] for name, resource in expected.items()
    }
    assert {r["ResourceStatus"] for r in listed} == {"CREATE_COMPLETE"}
    for resource in listed:
        kind, name = resource["ResourceType"], resource["PhysicalResourceId"]
        wanted = dict(expected[resource["LogicalResourceId"]])
        del wanted["Type"]
        if kind not in ("AWS::S3::BucketPolicy", "AWS::IAM::ManagedPolicy"):  # which take no tags
            wanted["Tags"] = TAGS
        assert READ[kind](boto, name) == wanted, resource["LogicalResourceId"]


def test_its_functions_are_invoked(boto, deployed):
    answer = boto("lambda").invoke(FunctionName="bintally-count", Payload=b'{"n": 1}')
    assert json.load(answer["Payload"]) == {"got": {"n": 1}, "endpoint": "bintally"}
    outputs = {output["OutputKey"]: output["OutputValue"] for output in deployed["Outputs"]}
    assert outputs["Bucket"] == "bintally-123456789012-us-east-1"
    assert outputs["CountRole"] == "arn:aws:iam::123456789012:role/bintally-count"


def test_a_bucket_that_wants_tls_is_used_over_localcloud_s_http(boto, deployed):
    bucket = {"Bucket": "bintally-123456789012-us-east-1"}
    boto("s3").put_object(**bucket, Key="other", Body=b"x")
    assert boto("s3").get_object(**bucket, Key="other")["Body"].read() == b"x"
    boto("s3").delete_object(**bucket, Key="other")


def test_an_update_changes_adds_and_removes_and_a_restart_forgets_nothing(cloud, boto, deployed):
    cloudformation = boto("cloudformation")
    change = {"StackName": "bintally", "UsePreviousTemplate": True, **NAMED}
    without = [
        {"ParameterKey": "FunctionImage", "ParameterValue": ""},
        {"ParameterKey": "CaptureDays", "ParameterValue": "7"},
    ]
    cloudformation.update_stack(**change, Parameters=without)
    assert boto("lambda").list_functions()["Functions"] == []
    assert [a["AlarmName"] for a in boto("cloudwatch").describe_alarms()["MetricAlarms"]] == [
        "bintally-pipeline-failures"
    ]
    rules = boto("s3").get_bucket_lifecycle_configuration(Bucket="bintally-123456789012-us-east-1")["Rules"]
    assert {rule["ID"]: rule.get("Expiration", {}).get("Days") for rule in rules}["capture"] == 7
    with pytest.raises(ClientError, match="No updates are to be performed"):
        cloudformation.update_stack(**change, Parameters=without)

    before = cloudformation.describe_stacks(StackName="bintally")["Stacks"]
    assert before[0]["StackStatus"] == "UPDATE_COMPLETE"
    assert cloud("down").returncode == 0 and cloud("up").returncode == 0
    assert cloudformation.describe_stacks(StackName="bintally")["Stacks"] == before
    cloudformation.update_stack(
        **change, Parameters=[{"ParameterKey": "FunctionImage", "ParameterValue": IMAGE}]
    )
    answer = boto("lambda").invoke(FunctionName="bintally-count", Payload=b"{}")
    assert json.load(answer["Payload"])["endpoint"] == "bintally"


def test_what_fails_is_taken_back(boto, deployed):
    cloudformation = boto("cloudformation")
    before = cloudformation.describe_stacks(StackName="bintally")["Stacks"][0]
    cloudformation.update_stack(
        StackName="bintally",
        UsePreviousTemplate=True,
        Parameters=[
            {"ParameterKey": "FunctionImage", "ParameterValue": IMAGE.replace("echo", "absent")},
            {"ParameterKey": "CaptureDays", "ParameterValue": "3"},
        ],
        **NAMED,
    )
    after = cloudformation.describe_stacks(StackName="bintally")["Stacks"][0]
    assert after["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE" and "absent" in after["StackStatusReason"]
    assert after["Parameters"] == before["Parameters"]
    assert boto("lambda").get_function(FunctionName="bintally-count")["Code"]["ImageUri"] == IMAGE
    with pytest.raises(WaiterError):
        waiter = cloudformation.get_waiter("stack_update_complete")
        waiter.wait(StackName="bintally", WaiterConfig={"Delay": 1, "MaxAttempts": 1})

    twice = template(
        "  Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: other-log}}\n"
        "  Same: {Type: 'AWS::Logs::LogGroup', DependsOn: Log, Properties: {LogGroupName: other-log}}\n"
    )
    cloudformation.create_stack(StackName="other-twice", TemplateBody=twice)
    failed = cloudformation.describe_stacks(StackName="other-twice")["Stacks"][0]
    assert failed["StackStatus"] == "ROLLBACK_COMPLETE" and "already exists" in failed["StackStatusReason"]
    assert boto("logs").describe_log_groups(logGroupNamePrefix="other-log")["logGroups"] == []
    events = cloudformation.describe_stack_events(StackName="other-twice")["StackEvents"]
    assert [(e["LogicalResourceId"], e["ResourceStatus"]) for e in reversed(events)][3:6] == [
        ("Same", "CREATE_IN_PROGRESS"),
        ("Same", "CREATE_FAILED"),
        ("other-twice", "ROLLBACK_IN_PROGRESS"),
    ]


def test_what_is_there_already_is_not_deleted_by_a_rollback(boto):
    boto("logs").create_log_group(logGroupName="other-mine")
    body = template("  Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: other-mine}}\n")
    boto("cloudformation").create_stack(StackName="other-mine", TemplateBody=body)
    stack = boto("cloudformation").describe_stacks(StackName="other-mine")["Stacks"][0]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert len(boto("logs").describe_log_groups(logGroupNamePrefix="other-mine")["logGroups"]) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("  Topic: {Type: 'AWS::SNS::Topic'}", "AWS::SNS::Topic"),
        ("  Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: x, KmsKeyId: k}}", "KmsKeyId"),
        ("  Log: {Type: 'AWS::Logs::LogGroup'}", "LogGroupName"),
        ("  Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !Select [0, [a]]}}", "Fn::Select"),
        ("  Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !Ref Nobody}}", "Nobody"),
        ("  Log: {Type: 'AWS::Logs::LogGroup', CreationPolicy: {}}", "CreationPolicy"),
        ("  Log: {Type: 'AWS::Logs::LogGroup', Condition: Never}", "Never"),
        (
            "  A: {Type: 'AWS::Logs::LogGroup', DependsOn: B}\n"
            "  B: {Type: 'AWS::Logs::LogGroup', DependsOn: A}",
            "Circular dependency",
        ),
        (
            "  R: {Type: 'AWS::IAM::Role', Properties: {RoleName: r, AssumeRolePolicyDocument: {}}}",
            "CAPABILITY_NAMED_IAM",
        ),
        ("  Log: {Type: [", "Template format error"),
    ],
)
def test_what_localcloud_cannot_honour_is_refused_before_anything_is_made(boto, body, said):
    with pytest.raises(ClientError, match=said):
        boto("cloudformation").create_stack(StackName="other-refused", TemplateBody=template(ALARM + body))
    with pytest.raises(ClientError, match="does not exist"):
        boto("cloudformation").describe_stacks(StackName="other-refused")
    assert boto("cloudwatch").describe_alarms(AlarmNames=["other-alarm"])["MetricAlarms"] == []


def test_a_parameter_is_held_against_its_declaration(boto):
    def create(**given: str) -> None:
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
        boto("cloudformation").create_stack(
            StackName="other-refused", TemplateBody=TEMPLATE.read_text(), Parameters=parameters, **NAMED
        )

    with pytest.raises(ClientError, match=r"Parameter Endpoint .* begins with bintally"):
        create(Endpoint="counter")
    with pytest.raises(ClientError, match="Parameter CaptureDays"):
        create(CaptureDays="0")
    with pytest.raises(ClientError, match=r"\[Colour\] do not exist"):
        create(Colour="red")


def test_the_aws_cli_deploys_by_change_sets(cloud, boto, tmp_path):
    file = tmp_path / "template.yaml"
    file.write_text(template(ALARM))
    deploy = ("cloudformation", "deploy", "--stack-name", "other-cli", "--template-file", str(file))
    assert "Successfully created" in cloud.aws(*deploy)
    file.write_text(template(ALARM.replace("Threshold: 0", "Threshold: 5")))
    changes = json.loads(
        cloud.aws(
            "cloudformation", "create-change-set", "--stack-name", "other-cli", "--change-set-name", "five",
            "--template-body", f"file://{file}", "--query", "Id", "--output", "json",
        )
    )  # fmt: skip
    described = boto("cloudformation").describe_change_set(ChangeSetName=changes)
    assert [c["ResourceChange"]["Action"] for c in described["Changes"]] == ["Modify"]
    alarms = boto("cloudwatch").describe_alarms
    assert alarms(AlarmNames=["other-alarm"])["MetricAlarms"][0]["Threshold"] == 0  # only described so far
    boto("cloudformation").execute_change_set(ChangeSetName=changes)
    assert alarms(AlarmNames=["other-alarm"])["MetricAlarms"][0]["Threshold"] == 5
    assert "Waiting for changeset" in cloud.aws(*deploy, "--no-fail-on-empty-changeset")


def test_deleting_leaves_nothing_and_says_what_it_cannot_delete(boto, deployed):
    cloudformation = boto("cloudformation")
    bucket = {"Bucket": "bintally-123456789012-us-east-1", "Key": "photograph"}
    boto("s3").put_object(**bucket, Body=b"x")
    cloudformation.delete_stack(StackName="bintally")
    stack = cloudformation.describe_stacks(StackName="bintally")["Stacks"][0]
    assert stack["StackStatus"] == "DELETE_FAILED" and "not empty" in stack["StackStatusReason"]
    boto("s3").delete_object(**bucket)
    cloudformation.delete_stack(StackName="bintally")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="bintally")
    assert cloudformation.describe_stacks(StackName=stack["StackId"])["Stacks"][0]["StackStatus"] == (
        "DELETE_COMPLETE"
    )
    assert (
        boto("lambda").list_functions()["Functions"]
        == boto("ecr").describe_repositories()["repositories"]
        == []
    )
    assert boto("iam").list_roles()["Roles"] == boto("iam").list_policies(Scope="Local")["Policies"] == []
    assert boto("s3").list_buckets()["Buckets"] == []
    assert boto("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda")["logGroups"] == []


# --- what is there, by the API of each service, in CloudFormation's words ------------------------------


def read_bucket(boto, name: str) -> dict:
    s3, bucket = boto("s3"), {"Bucket": name}
    encryption = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    lifecycle = []
    for rule in s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]:
        prefix = rule.pop("Filter").get("Prefix")
        rule = {"Id": rule.pop("ID"), **rule, **({"Prefix": prefix} if prefix else {})}
        if "Expiration" in rule:
            rule["ExpirationInDays"] = rule.pop("Expiration")["Days"]
        lifecycle.append(rule)
    return {
        "BucketName": name,
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {"ServerSideEncryptionByDefault": rule["ApplyServerSideEncryptionByDefault"]}
                for rule in encryption
            ]
        },
        "PublicAccessBlockConfiguration": s3.get_public_access_block(**bucket)[
            "PublicAccessBlockConfiguration"
        ],
        "OwnershipControls": s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"],
        "LifecycleConfiguration": {"Rules": lifecycle},
        "Tags": s3.get_bucket_tagging(**bucket)["TagSet"],
    }


def read_bucket_policy(boto, name: str) -> dict:
    return {"Bucket": name, "PolicyDocument": json.loads(boto("s3").get_bucket_policy(Bucket=name)["Policy"])}


def read_role(boto, name: str) -> dict:
    iam, role = boto("iam"), {"RoleName": name}
    found = iam.get_role(**role)["Role"]
    attached = iam.list_attached_role_policies(**role)["AttachedPolicies"]
    return {
        "RoleName": name,
        "Description": found["Description"],
        "AssumeRolePolicyDocument": found["AssumeRolePolicyDocument"],
        "Policies": [
            {
                "PolicyName": policy,
                "PolicyDocument": iam.get_role_policy(**role, PolicyName=policy)["PolicyDocument"],
            }
            for policy in iam.list_role_policies(**role)["PolicyNames"]
        ],
        "Tags": found["Tags"],
        **({"ManagedPolicyArns": [policy["PolicyArn"] for policy in attached]} if attached else {}),
    }


def read_managed_policy(boto, arn: str) -> dict:
    iam = boto("iam")
    found = iam.get_policy(PolicyArn=arn)["Policy"]
    version = iam.get_policy_version(PolicyArn=arn, VersionId=found["DefaultVersionId"])["PolicyVersion"]
    return {
        "ManagedPolicyName": found["PolicyName"],
        "Description": found["Description"],
        "PolicyDocument": version["Document"],
    }


def read_repository(boto, name: str) -> dict:
    ecr, repository = boto("ecr"), {"repositoryName": name}
    found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    try:
        policy = json.loads(ecr.get_repository_policy(**repository)["policyText"])
    except ecr.exceptions.RepositoryPolicyNotFoundException:
        policy = None
    return {
        "RepositoryName": name,
        "ImageTagMutability": found["imageTagMutability"],
        "ImageScanningConfiguration": {"ScanOnPush": found["imageScanningConfiguration"]["scanOnPush"]},
        "LifecyclePolicy": {
            "LifecyclePolicyText": ecr.get_lifecycle_policy(**repository)["lifecyclePolicyText"]
        },
        "EmptyOnDelete": True,  # CloudFormation's own, and no property of a repository
        "Tags": ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"],
        **({"RepositoryPolicyText": policy} if policy else {}),
    }


def read_log_group(boto, name: str) -> dict:
    [found] = boto("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    tags = boto("logs").list_tags_for_resource(resourceArn=found["arn"].removesuffix(":*"))["tags"]
    return {
        "LogGroupName": name,
        "RetentionInDays": found["retentionInDays"],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


def read_function(boto, name: str) -> dict:
    found = boto("lambda").get_function(FunctionName=name)
    configuration = found["Configuration"]
    same = ("FunctionName", "Description", "PackageType", "Role", "Timeout", "MemorySize")
    return {
        **{member: configuration[member] for member in same},
        "Code": {"ImageUri": found["Code"]["ImageUri"]},
        "ImageConfig": configuration["ImageConfigResponse"]["ImageConfig"],
        "Tags": [{"Key": key, "Value": value} for key, value in found["Tags"].items()],
        **({"Environment": configuration["Environment"]} if "Environment" in configuration else {}),
    }


def read_alarm(boto, name: str) -> dict:
    [found] = boto("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    same = (
        "AlarmName", "AlarmDescription", "Namespace", "MetricName", "Dimensions", "Statistic", "Period",
        "EvaluationPeriods", "Threshold", "ComparisonOperator", "TreatMissingData",
    )  # fmt: skip
    tags = boto("cloudwatch").list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]
    return {**{member: found[member] for member in same}, "Tags": tags}


READ = {
    "AWS::S3::Bucket": read_bucket,
    "AWS::S3::BucketPolicy": read_bucket_policy,
    "AWS::IAM::Role": read_role,
    "AWS::IAM::ManagedPolicy": read_managed_policy,
    "AWS::ECR::Repository": read_repository,
    "AWS::Logs::LogGroup": read_log_group,
    "AWS::Lambda::Function": read_function,
    "AWS::CloudWatch::Alarm": read_alarm,
}
