"""An AWS with one endpoint, for jobs that look at it: what a rollout does is written down in advance."""

import io
import json

from botocore.exceptions import ClientError


def refused(message: str, operation: str = "Any") -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


class FakeAws:
    """Stands for ``aws.client`` of every service. ``calls`` has what was changed, in order."""

    def __init__(self, *described: dict | None):
        """described: what DescribeEndpoint answers, one after the other; the last stays. None: it is gone."""
        self.described = list(described)
        self.calls: list[tuple[str, dict]] = []
        self.answer: dict = {}

    def __call__(self, service: str) -> "FakeAws":
        return self

    def describe_endpoint(self, EndpointName: str) -> dict:
        found = self.described.pop(0) if len(self.described) > 1 else self.described[0]
        if found is None:
            raise refused(f'Could not find endpoint "{EndpointName}".')
        return found

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict:
        return {"ProductionVariants": [{"ModelName": f"model-of-{EndpointConfigName}"}]}

    def describe_model(self, ModelName: str) -> dict:
        return {"ModelName": ModelName, "PrimaryContainer": {"ModelDataUrl": f"s3://b/{ModelName}.tar.gz"}}

    def update_endpoint(self, **parameters) -> None:
        self.calls.append(("update", parameters))

    def delete_endpoint(self, **parameters) -> None:
        self.calls.append(("delete", parameters))

    def create_model_package_group(self, **parameters) -> None:
        self.calls.append(("group", parameters))
        raise refused("Model Package Group already exists: arn")

    def create_model_package(self, **parameters) -> dict:
        self.calls.append(("package", parameters))
        return {"ModelPackageArn": "arn:aws:sagemaker:…:model-package/bintally/1"}

    def invoke_endpoint(self, **parameters) -> dict:
        return {"Body": io.BytesIO(json.dumps(self.answer).encode())}

    def made(self, what: str) -> list[dict]:
        return [parameters for name, parameters in self.calls if name == what]


def endpoint(configuration: str, status: str = "InService", **more) -> dict:
    return {"EndpointConfigName": configuration, "EndpointStatus": status, **more}
