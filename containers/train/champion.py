"""The model that an endpoint serves, taken from the endpoint itself."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from containers.common import aws, deployment
from containers.common.archive import unpack
from containers.common.errors import BinTallyError, ServiceError
from containers.common.graph import Graph


@dataclass(frozen=True)
class Champion:
    """What was live: ``configuration`` tells later whether it still is."""

    endpoint: str
    configuration: str  # name of the endpoint configuration
    artifact: str  # S3 address of its model.tar.gz


def deployed(endpoint: str) -> Champion | None:
    """The champion, or None where there is no such endpoint.

    Raises ServiceError where the endpoint serves no one artifact that could be scored.
    """
    sagemaker = aws.client("sagemaker")
    try:
        found = deployment.describe(sagemaker, endpoint)
        if found is None:
            return None
        if found["EndpointStatus"] != "InService":
            raise ServiceError(
                f"endpoint {endpoint} is {found['EndpointStatus']}, so no champion can be scored: wait until "
                "it is InService, or delete it"
            )
        name = found["EndpointConfigName"]
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
        if len(variants) != 1:
            raise ServiceError(
                f"endpoint {endpoint} has {len(variants)} variants, and only one can be the champion"
            )
        model = sagemaker.describe_model(ModelName=variants[0]["ModelName"])
    except (BotoCoreError, ClientError) as error:
        raise ServiceError(f"the champion of endpoint {endpoint} cannot be found: {error}") from None
    artifact = model.get("PrimaryContainer", {}).get("ModelDataUrl")
    if not artifact:
        raise ServiceError(
            f"the model of endpoint {endpoint}, {model['ModelName']}, has no artifact to score"
        )
    return Champion(endpoint, name, artifact)


def load(champion: Champion, threads: int) -> Graph:
    """Its graph that is served; raises ServiceError where it cannot be fetched or is none of ours."""
    with tempfile.TemporaryDirectory() as folder:
        packed, unpacked = Path(folder) / "model.tar.gz", Path(folder) / "model"
        unpacked.mkdir()
        try:
            aws.client("s3").download_file(*aws.location(champion.artifact), str(packed))
            unpack(packed, unpacked)
            return Graph(unpacked, threads=threads)
        except (BinTallyError, BotoCoreError, Boto3Error, ClientError, OSError) as error:
            raise ServiceError(
                f"{champion.artifact}, which endpoint {champion.endpoint} serves, cannot be scored: {error}"
            ) from None
