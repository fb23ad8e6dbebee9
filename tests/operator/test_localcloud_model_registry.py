"""The Model Registry, with the requests of a promotion, through boto3 and the AWS CLI."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.operator.conftest import Cloud

TAG = {"Key": "project", "Value": "bintally"}
SPECIFICATION = {
    "Containers": [{"Image": "serve:1", "ModelDataUrl": "s3://models/model.tar.gz"}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
}
METRICS = {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://models/e.json"}}}


@pytest.fixture
def client(boto):
    return boto("sagemaker")


@pytest.fixture
def group(client) -> str:
    name = f"models-{uuid.uuid4().hex[:8]}"
    client.create_model_package_group(
        ModelPackageGroupName=name, ModelPackageGroupDescription="counts", Tags=[TAG]
    )
    return name


def register(client, group: str, **members) -> str:
    return client.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification=SPECIFICATION,
        ModelMetrics=METRICS,
        CustomerMetadataProperties={"champion": "none", "job": "train-1"},
        SourceUri="s3://models/card.json",
        **members,
    )["ModelPackageArn"]


def test_a_version_says_all_that_it_was_registered_with(client, group):
    arn = register(client, group, ModelApprovalStatus="Approved", ModelPackageDescription="better")
    found = client.describe_model_package(ModelPackageName=arn)
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/1"
    assert (found["ModelPackageGroupName"], found["ModelPackageVersion"]) == (group, 1)
    assert found["InferenceSpecification"] == SPECIFICATION and found["ModelMetrics"] == METRICS
    assert found["CustomerMetadataProperties"] == {"champion": "none", "job": "train-1"}
    assert (found["ModelApprovalStatus"], found["ModelPackageStatus"]) == ("Approved", "Completed")
    assert (found["ModelPackageDescription"], found["SourceUri"]) == ("better", "s3://models/card.json")
    described = client.describe_model_package_group(ModelPackageGroupName=group)
    assert described["ModelPackageGroupDescription"] == "counts"
    assert client.list_tags(ResourceArn=described["ModelPackageGroupArn"])["Tags"] == [TAG]


def test_an_update_changes_what_it_names_and_nothing_else(client, group):
    arn = register(client, group)
    assert (
        client.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"] == "PendingManualApproval"
    )
    client.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Rejected", ApprovalDescription="answers differ"
    )
    client.update_model_package(
        ModelPackageArn=arn,
        CustomerMetadataProperties={"champion": "old"},
        CustomerMetadataPropertiesToRemove=["job"],
    )
    found = client.describe_model_package(ModelPackageName=arn)
    assert (found["ModelApprovalStatus"], found["ApprovalDescription"]) == ("Rejected", "answers differ")
    assert found["CustomerMetadataProperties"] == {"champion": "old"}
    assert found["ModelMetrics"] == METRICS
    assert found["LastModifiedTime"] > found["CreationTime"]


def test_versions_are_listed_by_status_and_never_used_again(client, group, cloud: Cloud):
    first, second = (register(client, group, ModelApprovalStatus=s) for s in ("Rejected", "Approved"))
    client.delete_model_package(ModelPackageName=second)
    token = uuid.uuid4().hex
    third = register(client, group, ModelApprovalStatus="Approved", ClientToken=token)
    assert register(client, group, ClientToken=token) == third
    newest = json.loads(cloud.aws(
        "sagemaker", "list-model-packages", "--model-package-group-name", group, "--sort-order", "Descending",
        "--query", "ModelPackageSummaryList[].[ModelPackageArn, ModelPackageVersion, ModelApprovalStatus]",
    ))  # fmt: skip
    assert newest == [[third, 3, "Approved"], [first, 1, "Rejected"]]
    approved = client.list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    assert [p["ModelPackageArn"] for p in approved["ModelPackageSummaryList"]] == [third]
    page = client.list_model_packages(ModelPackageGroupName=group, MaxResults=1)
    rest = client.list_model_packages(ModelPackageGroupName=group, NextToken=page["NextToken"])
    assert [p["ModelPackageVersion"] for p in page["ModelPackageSummaryList"]] == [1]
    assert [p["ModelPackageVersion"] for p in rest["ModelPackageSummaryList"]] == [
        3
    ] and "NextToken" not in rest
    groups = client.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
    assert [g["ModelPackageGroupName"] for g in groups] == [group]


def test_a_group_goes_when_its_versions_are_gone(client, group):
    arn = register(client, group)
    with pytest.raises(ClientError, match="ConflictException"):
        client.delete_model_package_group(ModelPackageGroupName=group)
    client.delete_model_package(ModelPackageName=arn)
    client.delete_model_package_group(ModelPackageGroupName=group)
    for call in (
        lambda: client.describe_model_package(ModelPackageName=arn),
        lambda: client.describe_model_package_group(ModelPackageGroupName=group),
        lambda: register(client, group),
    ):
        with pytest.raises(ClientError, match=r"ValidationException.*does not exist"):
            call()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"ModelPackageGroupName": None}, "ModelPackageGroupName"),
        ({"Tags": [TAG]}, "Tags belong to the model package group"),
        ({"CertifyForMarketplace": True}, "CertifyForMarketplace=True"),
        ({"SecurityConfig": {"KmsKeyId": "key"}}, "SecurityConfig.KmsKeyId=key"),
    ],
)  # fmt: skip
def test_what_the_registry_cannot_do_is_refused_by_name(client, group, members, words):
    request = {"ModelPackageGroupName": group, "InferenceSpecification": SPECIFICATION, **members}
    with pytest.raises(ClientError) as refused:
        client.create_model_package(**{k: v for k, v in request.items() if v is not None})
    assert words in refused.value.response["Error"]["Message"]
    assert client.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"] == []
    with pytest.raises(ClientError, match="already exists"):
        client.create_model_package_group(ModelPackageGroupName=group)


def test_the_registry_survives_a_restart(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    client = own_cloud.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName="bintally", Tags=[TAG])
    arn = register(client, "bintally", ModelApprovalStatus="Approved")
    before = client.describe_model_package(ModelPackageName=arn)
    group = client.describe_model_package_group(ModelPackageGroupName="bintally")
    assert own_cloud("down").returncode == 0
    assert own_cloud("up").returncode == 0
    after = client.describe_model_package(ModelPackageName=arn)
    assert {**before, "ResponseMetadata": None} == {**after, "ResponseMetadata": None}
    again = client.describe_model_package_group(ModelPackageGroupName="bintally")
    assert {**group, "ResponseMetadata": None} == {**again, "ResponseMetadata": None}
    assert client.list_tags(ResourceArn=group["ModelPackageGroupArn"])["Tags"] == [TAG]
    assert register(client, "bintally").endswith("/2")
