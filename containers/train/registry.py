"""The Model Registry's record of a promotion: what was put live, how good it is, and what it came from."""

import re

from botocore.exceptions import ClientError

from containers.common import aws, deployment

APPROVED, REJECTED = "Approved", "Rejected"
CONTENT_TYPES = ["image/jpeg", "image/png", "application/json"]
LONGEST = {"description": 1024, "property": 256}  # characters that SageMaker takes


def record(
    group: str,
    status: str,
    reason: str,
    container: dict,
    instance_type: str,
    evaluation: str,
    properties: dict[str, str],
    token: str,
) -> str:
    """Register a version of the group, which is created where it is missing; returns its ARN.

    status: APPROVED or REJECTED, for ``reason``. container: Image and ModelDataUrl. evaluation: S3 address
    of evaluation.json. properties: the lineage. token: of one version, however often it is recorded.
    """
    sagemaker = aws.client("sagemaker")
    try:
        sagemaker.create_model_package_group(
            ModelPackageGroupName=group,
            ModelPackageGroupDescription="Models of BinTally that its pipeline put before an endpoint",
            Tags=deployment.TAGS,
        )
    except ClientError as error:
        if not deployment.already_there(error):
            raise
    return sagemaker.create_model_package(
        ModelPackageGroupName=group,  # which also gives the tags
        # SageMaker takes one line, and a reason that quotes other programs may have several.
        ModelPackageDescription=" ".join(reason.split())[: LONGEST["description"]],
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": CONTENT_TYPES,
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": [instance_type],
        },
        ModelMetrics={
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation}}
        },
        CustomerMetadataProperties={name: _property(value) for name, value in properties.items()},
        ClientToken=token,
    )["ModelPackageArn"]


def _property(value: str) -> str:
    """SageMaker takes few characters in a property: others become spaces."""
    return re.sub(r"[^\w\s.:/=+\-@]", " ", value)[: LONGEST["property"]] or "none"
