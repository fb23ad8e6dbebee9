"""An AWS with one endpoint, for what looks at it: what becomes of the endpoint is written down in advance."""

import io
import json
import shutil
from pathlib import Path

from botocore.exceptions import ClientError


def refused(message: str, operation: str = "Any") -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


class FakeAws:
    """Stands for ``aws.client`` of every service. ``calls`` has what was changed, in order."""

    def __init__(self, *described: dict | None):
        """described: what DescribeEndpoint answers, one after the other; the last stays. None: it is gone."""
        self.described = list(described)
        self.calls: list[tuple[str, dict]] = []
        self.answer: dict = {}  # of the endpoint
        self.objects: dict[str, dict] = {}  # JSON documents by S3 address
        self.files: dict[str, Path] = {}  # what lies at an S3 address
        self.alarms: dict[str, str] = {}  # states by name
        self.taken = False  # whether the names of models and configurations are
        self.instance_types: dict[str, str] = {}  # by configuration, where not ml.m5.xlarge
        self.scaled: list[str] = []  # endpoints whose variant is a scalable target

    def __call__(self, service: str) -> "FakeAws":
        return self

    def describe_endpoint(self, EndpointName: str) -> dict:
        found = self.described.pop(0) if len(self.described) > 1 else self.described[0]
        if found is None:
            raise refused(f'Could not find endpoint "{EndpointName}".')
        return found

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict:
        model = f"model-of-{EndpointConfigName}"
        instance_type = self.instance_types.get(EndpointConfigName, "ml.m5.xlarge")
        variant = {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": instance_type}
        return {
            "ProductionVariants": [variant],
            "DataCaptureConfig": {"InitialSamplingPercentage": 25},
        }

    def describe_model(self, ModelName: str) -> dict:
        return {"ModelName": ModelName, "PrimaryContainer": {"ModelDataUrl": f"s3://b/{ModelName}.tar.gz"}}

    def update_endpoint(self, **parameters) -> None:
        self.calls.append(("update", parameters))

    def create_endpoint(self, **parameters) -> None:
        self.calls.append(("create", parameters))

    def create_model(self, **parameters) -> None:
        self._create("model", parameters)

    def create_endpoint_config(self, **parameters) -> None:
        self._create("configuration", parameters)

    def _create(self, what: str, parameters: dict) -> None:
        if self.taken:
            raise refused(f"Cannot create already existing {what}")
        self.calls.append((what, parameters))

    def describe_alarms(self, AlarmNames: list[str]) -> dict:
        found = [name for name in AlarmNames if name in self.alarms]
        return {"MetricAlarms": [{"AlarmName": n, "StateValue": self.alarms[n]} for n in found]}

    def describe_scalable_targets(self, ResourceIds: list[str], **_) -> dict:
        targets = [f"endpoint/{name}/variant/AllTraffic" for name in self.scaled]
        return {"ScalableTargets": [{"ResourceId": target} for target in targets if target in ResourceIds]}

    def head_bucket(self, **_) -> None:
        pass  # it is there

    def put_object(self, **parameters) -> None:
        self.calls.append(("object", parameters))

    def get_object(self, Bucket: str, Key: str) -> dict:
        return {"Body": io.BytesIO(json.dumps(self.objects[f"s3://{Bucket}/{Key}"]).encode())}

    def download_file(self, Bucket: str, Key: str, Filename: str) -> None:
        shutil.copy(self.files[f"s3://{Bucket}/{Key}"], Filename)

    def delete_endpoint(self, **parameters) -> None:
        self.calls.append(("delete", parameters))

    def create_model_package_group(self, **parameters) -> None:
        self.calls.append(("group", parameters))
        raise refused("Model Package Group already exists: arn")

    def create_model_package(self, **parameters) -> dict:
        if "\n" in parameters["ModelPackageDescription"]:
            raise refused("Member must satisfy regular expression pattern")
        self.calls.append(("package", parameters))
        return {"ModelPackageArn": "arn:aws:sagemaker:…:model-package/bintally/1"}

    def invoke_endpoint(self, **parameters) -> dict:
        return {"Body": io.BytesIO(json.dumps(self.answer).encode())}

    def start_pipeline_execution(self, **parameters) -> dict:
        self.calls.append(("start", parameters))
        return {"PipelineExecutionArn": "arn:aws:sagemaker:…:pipeline/bintally/execution/abc123"}

    def made(self, what: str) -> list[dict]:
        return [parameters for name, parameters in self.calls if name == what]


def endpoint(configuration: str, status: str = "InService", **more) -> dict:
    return {"EndpointConfigName": configuration, "EndpointStatus": status, **more}
