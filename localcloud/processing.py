"""CreateProcessingJob: what it may ask for, ``/opt/ml`` for it, and its description."""

import json
from pathlib import Path

from localcloud import contract
from localcloud.accepted import ANY, Table, check
from localcloud.errors import validation
from localcloud.objects import Objects
from localcloud.process import Image
from localcloud.settings import Settings

ACCEPTED: Table = {
    "ProcessingJobName": ANY,
    "ProcessingInputs.InputName": ANY,
    "ProcessingInputs.AppManaged": (False,),
    "ProcessingInputs.S3Input.S3Uri": ANY,
    "ProcessingInputs.S3Input.LocalPath": ANY,
    "ProcessingInputs.S3Input.S3DataType": ("S3Prefix",),
    "ProcessingInputs.S3Input.S3InputMode": ("File",),
    "ProcessingInputs.S3Input.S3DataDistributionType": ANY,  # alike on one instance
    "ProcessingInputs.S3Input.S3CompressionType": ("None",),
    "ProcessingOutputConfig.KmsKeyId": ("",),
    "ProcessingOutputConfig.Outputs.OutputName": ANY,
    "ProcessingOutputConfig.Outputs.AppManaged": (False,),
    "ProcessingOutputConfig.Outputs.S3Output.S3Uri": ANY,
    "ProcessingOutputConfig.Outputs.S3Output.LocalPath": ANY,
    "ProcessingOutputConfig.Outputs.S3Output.S3UploadMode": ("EndOfJob", "Continuous"),
    "ProcessingResources.ClusterConfig.InstanceCount": (1,),
    "ProcessingResources.ClusterConfig.InstanceType": ANY,
    "ProcessingResources.ClusterConfig.VolumeSizeInGB": ANY,
    "StoppingCondition.MaxRuntimeInSeconds": ANY,
    "AppSpecification.ImageUri": ANY,
    "AppSpecification.ContainerEntrypoint": ANY,
    "AppSpecification.ContainerArguments": ANY,
    "Environment": ANY,
    "NetworkConfig.EnableInterContainerTrafficEncryption": ANY,  # one container has nobody to talk to
    "NetworkConfig.EnableNetworkIsolation": (False,),
    "NetworkConfig.VpcConfig": ANY,
    "RoleArn": ANY,
    "Tags": ANY,
}
MAX_RUNTIME = 86400  # seconds, SageMaker's default


class ProcessingContract:
    """One processing job: ``params`` is the body of CreateProcessingJob."""

    prefix = "Processing"
    kind = "processing-job"
    log_group = "/aws/sagemaker/ProcessingJobs"

    def __init__(self, params: dict, arn: str, base: Path, objects: Objects):
        self._params = _localized(params, base)
        self._arn = arn
        self._base = base
        self._objects = objects
        self._uploads = contract.Uploads(objects)
        self._outputs = [output["S3Output"] for output in _outputs(self._params)]
        self.image_uri = params["AppSpecification"]["ImageUri"]
        self.max_runtime = params.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", MAX_RUNTIME)
        self.working_directory = base

    @staticmethod
    def check(params: dict) -> None:
        check("CreateProcessingJob", params, "ProcessingJobName", ACCEPTED)
        inputs = [(item["InputName"], item.get("S3Input")) for item in params.get("ProcessingInputs", [])]
        outputs = [(item["OutputName"], item.get("S3Output")) for item in _outputs(params)]
        for name, place in [*inputs, *outputs]:
            if not place or "LocalPath" not in place:
                raise validation(f"localcloud needs S3 and a LocalPath for {name!r}")
            try:
                contract.below(Path(), place["LocalPath"])
            except ValueError as error:
                raise validation(f"localcloud cannot do LocalPath={place['LocalPath']}: {error}") from error

    def prepare(self) -> None:
        for folder in ("config", "processing", "output"):
            (self._base / folder).mkdir(parents=True, exist_ok=True)
        config = {
            "processingjobconfig": {**self._params, "ProcessingJobArn": self._arn},
            "resourceconfig": contract.hosts(
                self._params["ProcessingResources"]["ClusterConfig"]["InstanceType"]
            ),
        }
        for name, document in config.items():
            (self._base / "config" / f"{name}.json").write_text(json.dumps(document))
        for item in self._params.get("ProcessingInputs", []):
            self._objects.download(item["S3Input"]["S3Uri"], Path(item["S3Input"]["LocalPath"]))
        for output in self._outputs:
            Path(output["LocalPath"]).mkdir(parents=True, exist_ok=True)

    def command(self, image: Image) -> list[str]:
        return contract.command(self._params["AppSpecification"], image, "process")

    def environment(self, settings: Settings) -> dict[str, str]:
        return {
            **settings.client_environment,
            "PROCESSING_JOB_NAME": self._params["ProcessingJobName"],
            "PROCESSING_JOB_ARN": self._arn,
            **self._params.get("Environment", {}),
            "SAGEMAKER_BASE_DIR": str(self._base),
        }

    def sync(self) -> None:
        self._upload({"Continuous"})

    def collect(self, failed: bool, log: Path) -> dict:
        self._upload({"Continuous"} if failed else {"Continuous", "EndOfJob"})
        exit_message = contract.message(self._base / "output" / "message")
        return {"ExitMessage": exit_message} if exit_message else {}

    def failure(self) -> str:
        return contract.message(self._base / "output" / "failure")

    @staticmethod
    def entering(document: dict, status: str, message: str, now: float) -> dict:
        return {}  # processing jobs have no secondary status

    def _upload(self, modes: set[str]) -> None:
        for output in self._outputs:
            if output["S3UploadMode"] in modes:
                self._uploads.sync(Path(output["LocalPath"]), output["S3Uri"])


def _outputs(params: dict) -> list[dict]:
    return (params.get("ProcessingOutputConfig") or {}).get("Outputs", [])


def _localized(value, base: Path):
    """A document whose strings that begin with ``/opt/ml`` are paths below ``base``."""
    if isinstance(value, dict):
        return {key: _localized(item, base) for key, item in value.items()}
    if isinstance(value, list):
        return [_localized(item, base) for item in value]
    if isinstance(value, str) and (value == str(contract.OPT_ML) or value.startswith(f"{contract.OPT_ML}/")):
        return str(base) + value.removeprefix(str(contract.OPT_ML))
    return value
