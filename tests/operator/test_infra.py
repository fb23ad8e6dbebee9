"""infra/bintally.yaml: what it allows, held against what the code calls, and what it makes on localcloud."""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files

import pytest
from botocore import xform_name
from botocore.exceptions import UnknownServiceError
from botocore.session import get_session
from cfnlint import api as cfnlint

from localcloud.stack_template import Template
from services.bootstrap import TEMPLATE
from tests import ROOT

ACCOUNT, REGION = "123456789012", "us-east-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/bintally-function:latest"
# The actions that may be allowed on everything, and why.
UNLIMITED = {
    "ecr:GetAuthorizationToken": "IAM knows no resource for it",
    "application-autoscaling:DescribeScalableTargets": "IAM knows no resource for it",
    "sagemaker:ListEndpointConfigs": "IAM knows no resource for it",
    "sagemaker:ListTrainingJobs": "IAM knows no resource for it",
    "cloudwatch:PutMetricData": "limited by the condition on its namespace",
    "cloudwatch:GetMetricData": "metrics of this kind are no resource",
}


# --- what the template allows ------------------------------------------------------------------------


@cache
def resources(image: str = IMAGE) -> dict[str, dict]:
    """Every resource of the template with its properties, functions among them."""
    pseudo = {
        "AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws",
        "AWS::StackName": "bintally", "AWS::StackId": "id", "AWS::URLSuffix": "amazonaws.com",
    }  # fmt: skip
    template = Template(TEMPLATE.read_text(), {"FunctionImage": image}, pseudo)
    found: dict[str, dict] = {}
    for name, resource in template.resources.items():
        found[name] = {"Type": resource["Type"], **template.properties(name, lambda n, a: made(found[n], a))}
    return found


def made(resource: dict, attribute: str | None) -> str:
    """``Ref`` and ``Arn`` as AWS documents them for the types that the template refers to."""
    kind = resource["Type"].split("::", 1)[1]
    field = {
        "S3::Bucket": "BucketName", "IAM::Role": "RoleName", "IAM::ManagedPolicy": "ManagedPolicyName",
        "Lambda::Function": "FunctionName",
    }[kind]  # fmt: skip
    arn = {
        "S3::Bucket": "arn:aws:s3:::{}",
        "IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
        "IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{{}}",
        "Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{}}",
    }[kind].format(resource[field])
    return arn if attribute == "Arn" or kind == "IAM::ManagedPolicy" else resource[field]


def policies() -> Iterator[tuple[str, dict]]:
    """(name of a role or managed policy, policy document)."""
    for resource in resources().values():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Policies"]:
                yield resource["RoleName"], policy["PolicyDocument"]
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            yield resource["ManagedPolicyName"], resource["PolicyDocument"]


def statements(wanted: str | None = None) -> Iterator[dict]:
    for name, document in policies():
        if wanted in (None, name):
            yield from document["Statement"]


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@cache
def known_actions() -> dict[str, list[str]]:
    """``service:Action`` in lower case -> the types of resource that it can be limited to."""
    table = json.loads((files("cfnlint") / "data/AdditionalSpecs/Policies.json").read_text())
    return {
        f"{service}:{action}".lower(): about.get("Resources", [])
        for service, content in table.items()
        for action, about in content["Actions"].items()
    }


def test_cloudformation_takes_the_template_as_it_is():
    found = cfnlint.lint_file(TEMPLATE, config={"include_checks": ["I"], "regions": [REGION]})
    assert [str(match) for match in found] == []
    assert TEMPLATE.stat().st_size <= 51_200  # what fits into a request


def test_every_action_is_known_and_limited_to_ours():
    for statement in statements():
        assert statement["Effect"] == "Allow" and "NotAction" not in statement
        for action in listed(statement["Action"]):
            assert "*" not in action and action.lower() in known_actions(), action
            if "*" in listed(statement["Resource"]):
                assert action in UNLIMITED, f"{action} is allowed on everything"
                by_condition = "namespace" in json.dumps(statement.get("Condition", {}))
                assert (
                    not known_actions()[action.lower()]
                    or by_condition
                    or action == "cloudwatch:GetMetricData"
                )
        for resource in set(listed(statement["Resource"])) - {"*"}:
            assert f":{ACCOUNT}:" in resource or resource.startswith(f"arn:aws:s3:::bintally-{ACCOUNT}")


def test_roles_are_passed_to_the_service_that_takes_them_and_to_no_other():
    takes = {
        resource["RoleName"]: resource["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]
        for resource in resources().values()
        if resource["Type"] == "AWS::IAM::Role"
    }
    assert len(takes) == 7
    passing = [s for s in statements() if "iam:PassRole" in listed(s["Action"])]
    assert len(passing) == 4
    for statement in passing:
        service = statement["Condition"]["StringEquals"]["iam:PassedToService"]
        for arn in listed(statement["Resource"]):
            assert takes[arn.rpartition("/")[2]] == service


def test_sagemaker_takes_a_role_for_this_account_alone():
    for resource in resources().values():
        for statement in resource.get("AssumeRolePolicyDocument", {}).get("Statement", ()):
            service = statement["Principal"]["Service"]
            expected = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
            assert service == "lambda.amazonaws.com" or statement["Condition"] == expected


def test_policies_fit_into_what_iam_takes():
    for name, document in policies():
        size = len(json.dumps(document, separators=(",", ":")))
        assert size <= (6_144 if name in ("bintally-container", "bintally-developer") else 10_240), name


# --- held against what the code calls ----------------------------------------------------------------

# boto3's name of an operation, or of a transfer -> IAM's name of what it needs, where they differ.
NEEDS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DownloadFile": "s3:GetObject",
    "s3:UploadFile": "s3:PutObject",
    "lambda:Invoke": "lambda:InvokeFunction",
    "sts:GetCallerIdentity": None,  # needs no permission
    "s3:CreateBucket": None,  # where nobody has bootstrapped, and policies are not ours
}
# Needed without a call of that name: by AWS itself for a call, or by ecr-push.sh and docker.
IMPLIED = {
    "sagemaker:AddTags", "s3:AbortMultipartUpload", "s3:GetBucketLocation", "iam:PassRole",
    "lambda:TagResource", "cloudwatch:TagResource", "application-autoscaling:TagResource",
}  # fmt: skip
LOGGING = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
SERVICES = (
    "sagemaker", "sagemaker-runtime", "s3", "logs", "lambda", "cloudwatch", "cloudformation", "sts",
    "application-autoscaling",
)  # fmt: skip


@cache
def operations() -> dict[str, str]:
    """boto3's method or waiter -> ``service:Operation``, as no two services of ours name one alike."""
    found = {"download_file": "s3:DownloadFile", "upload_file": "s3:UploadFile"}
    session = get_session()
    for name in SERVICES:
        prefix = name.removesuffix("-runtime")
        for operation in session.get_service_model(name).operation_names:
            found.setdefault(xform_name(operation), f"{prefix}:{operation}")
        with suppress(UnknownServiceError):  # one without waiters
            waiters = session.get_waiter_model(name)
            for waiter in waiters.waiter_names:
                operation = waiters.get_waiter(waiter).operation
                found.setdefault(xform_name(waiter), f"{prefix}:{operation}")
    del found["search"]  # which is re's, too
    return found


def called(*paths: str) -> set[str]:
    """The IAM actions that the boto3 calls in these modules need."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            names = set()
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            if isinstance(node, ast.Call):  # get_paginator("list_models"), get_waiter("endpoint_deleted")
                names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
            wanted = {operations()[name] for name in names & operations().keys()}
            found |= {NEEDS.get(operation, operation) for operation in wanted}
    return found - {None}


def allowed(role: str) -> set[str]:
    return {action for s in statements(role) for action in listed(s["Action"])}


@pytest.mark.parametrize(
    ("role", "paths", "besides"),
    [
        ("bintally-count", ["containers/functions/count/app.py"], LOGGING),
        (
            "bintally-promote",
            ["containers/functions/promote/app.py", "containers/common/deployment.py"],
            LOGGING,
        ),
        (
            "bintally-processing",
            [
                "containers/common/deployment.py",
                *(f"containers/train/{name}.py" for name in ("champion", "verify", "rollout", "registry")),
            ],
            {"s3:GetObject", "s3:ListBucket", "s3:PutObject"},  # SageMaker moves inputs and outputs
        ),
        (
            "bintally-monitor",
            ["containers/train/monitor/storage.py", "containers/train/monitor/cloudwatch.py"],
            {"s3:PutObject"},
        ),
    ],
)
def test_a_role_may_do_what_its_code_calls_and_nothing_else(role, paths, besides):
    assert called(*paths) - allowed(role) == set()
    assert allowed(role) - called(*paths) - besides - IMPLIED == set()


def test_a_developer_may_do_what_the_services_call_and_nothing_else():
    made_by_others = {
        "bootstrap.py",
        "teardown.py",
        "inventory.py",
        "objects.py",
    }  # which need an administrator
    paths = [p for p in (ROOT / "services").glob("*.py") if p.name not in made_by_others]
    needed = called("containers/common/deployment.py", *(str(path.relative_to(ROOT)) for path in paths))
    assert needed - allowed("bintally-developer") == set()
    pushing = {action for action in allowed("bintally-developer") if action.startswith("ecr:")}
    besides = {
        "iam:CreateServiceLinkedRole",  # the first scaled endpoint of an account
        "sagemaker:UpdateEndpointWeightsAndCapacities",  # asked of whoever registers a scaled endpoint
        "sagemaker:StopProcessingJob",  # by the AWS CLI, as the services say when they are interrupted
        "sagemaker:StopTrainingJob",
        "logs:FilterLogEvents",
    }
    assert allowed("bintally-developer") - needed - pushing - besides - IMPLIED == set()
