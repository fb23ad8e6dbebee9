"""CreateProcessingJob: what it may ask for, ``/opt/ml`` for it, and its description."""

import json
from pathlib import Path

from localcloud import contract
from localcloud.accepted import ANY, Table, check
from localcloud.errors import validation
from localcloud.objects import Objects
from localcloud.runtime import OPT_ML, PROCESS, Runtime

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
    role = PROCESS

    def __init__(self, params: dict, arn: str, folder: Path, objects: Objects, runtime: Runtime):
        self.hosts = contract.cluster(1, folder, runtime)
        [self._host] = self.hosts
        self._params = _localized(params, self._host.seen)
        self._arn = arn
        self._objects = objects
        self._runtime = runtime
        self._uploads = contract.Uploads(objects)
        self._inputs = [self._here(item["S3Input"]) for item in params.get("ProcessingInputs", [])]
        self._outputs = [self._here(output["S3Output"]) for output in _outputs(params)]
        application = self._params["AppSpecification"]
        self.image_uri = application["ImageUri"]
        self.entrypoint = application.get("ContainerEntrypoint")
        self.arguments = application.get("ContainerArguments") or []
        self.instance_type = params["ProcessingResources"]["ClusterConfig"]["InstanceType"]
        self.max_runtime = params.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", MAX_RUNTIME)

    @staticmethod
    def check(params: dict, runtime: Runtime) -> None:
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
            (self._host.base / folder).mkdir(parents=True, exist_ok=True)
        config = {
            "processingjobconfig": {**self._params, "ProcessingJobArn": self._arn},
            "resourceconfig": contract.resources(
                self._host, self.hosts, self.instance_type, self._runtime.network_interface
            ),
        }
        for name, document in config.items():
            (self._host.base / "config" / f"{name}.json").write_text(json.dumps(document))
        for source in self._inputs:
            self._objects.download(source["S3Uri"], source["LocalPath"])
        for output in self._outputs:
            output["LocalPath"].mkdir(parents=True, exist_ok=True)

    def environment(self, host: contract.Host) -> dict[str, str]:
        return {
            **self._runtime.client_environment,
            "PROCESSING_JOB_NAME": self._params["ProcessingJobName"],
            "PROCESSING_JOB_ARN": self._arn,
            **self._params.get("Environment", {}),
            "SAGEMAKER_BASE_DIR": host.seen,
        }

    def sync(self) -> None:
        self._upload({"Continuous"})

    def collect(self, failed: bool, logs: list[Path]) -> dict:
        self._upload({"Continuous"} if failed else {"Continuous", "EndOfJob"})
        exit_message = contract.message(self._host.base / "output" / "message")
        return {"ExitMessage": exit_message} if exit_message else {}

    def failure(self, host: contract.Host) -> str:
        return contract.message(host.base / "output" / "failure")

    @staticmethod
    def entering(document: dict, status: str, message: str, now: float) -> dict:
        return {}  # processing jobs have no secondary status

    def _upload(self, modes: set[str]) -> None:
        for output in self._outputs:
            if output["S3UploadMode"] in modes:
                self._uploads.sync(output["LocalPath"], output["S3Uri"])

    def _here(self, place: dict) -> dict:
        """An S3Input or S3Output whose LocalPath is a path of this machine."""
        return {**place, "LocalPath": contract.below(self._host.base, place["LocalPath"])}


def _outputs(params: dict) -> list[dict]:
    return (params.get("ProcessingOutputConfig") or {}).get("Outputs", [])


def _localized(value, seen: str):
    """A document whose strings that begin with ``/opt/ml`` are paths as the container sees them."""
    if isinstance(value, dict):
        return {key: _localized(item, seen) for key, item in value.items()}
    if isinstance(value, list):
        return [_localized(item, seen) for item in value]
    if isinstance(value, str) and (value == OPT_ML or value.startswith(f"{OPT_ML}/")):
        return seen + value.removeprefix(OPT_ML)
    return value
