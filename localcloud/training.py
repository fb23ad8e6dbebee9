"""CreateTrainingJob: what it may ask for, ``/opt/ml`` for it, and its description."""

import json
import math
import re
import tarfile
import time
from pathlib import Path

from localcloud import contract
from localcloud.accepted import ANY, Table, check
from localcloud.errors import validation
from localcloud.objects import Objects
from localcloud.process import Image
from localcloud.settings import REGION, Settings

ACCEPTED: Table = {
    "TrainingJobName": ANY,
    "HyperParameters": ANY,
    "AlgorithmSpecification.TrainingImage": ANY,
    "AlgorithmSpecification.TrainingInputMode": ("File", "FastFile"),
    "AlgorithmSpecification.MetricDefinitions": ANY,
    "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": (False,),
    "AlgorithmSpecification.ContainerEntrypoint": ANY,
    "AlgorithmSpecification.ContainerArguments": ANY,
    "RoleArn": ANY,
    "InputDataConfig.ChannelName": ANY,
    "InputDataConfig.ContentType": ANY,
    "InputDataConfig.CompressionType": ("None",),
    "InputDataConfig.RecordWrapperType": ("None",),
    "InputDataConfig.InputMode": ("File", "FastFile"),
    "InputDataConfig.DataSource.S3DataSource.S3DataType": ("S3Prefix",),
    "InputDataConfig.DataSource.S3DataSource.S3Uri": ANY,
    "InputDataConfig.DataSource.S3DataSource.S3DataDistributionType": ANY,  # alike on one instance
    "OutputDataConfig.S3OutputPath": ANY,
    "OutputDataConfig.KmsKeyId": ("",),
    "OutputDataConfig.CompressionType": ("GZIP",),
    "ResourceConfig.InstanceType": ANY,
    "ResourceConfig.InstanceCount": (1,),
    "ResourceConfig.VolumeSizeInGB": ANY,
    "ResourceConfig.KeepAlivePeriodInSeconds": ANY,
    "VpcConfig": ANY,
    "StoppingCondition.MaxRuntimeInSeconds": ANY,
    "StoppingCondition.MaxWaitTimeInSeconds": ANY,
    "Tags": ANY,
    "EnableNetworkIsolation": (False,),
    "EnableInterContainerTrafficEncryption": ANY,  # one container has nobody to talk to
    "EnableManagedSpotTraining": ANY,  # never interrupted
    "CheckpointConfig": ANY,
    "ProfilerConfig.DisableProfiler": (True,),
    "RetryStrategy": ANY,
    "Environment": ANY,
}
MAX_RUNTIME = 86400  # seconds, SageMaker's default


class TrainingContract:
    """One training job: ``params`` is the body of CreateTrainingJob."""

    prefix = "Training"
    kind = "training-job"
    log_group = "/aws/sagemaker/TrainingJobs"

    def __init__(self, params: dict, arn: str, base: Path, objects: Objects):
        self._params = params
        self._arn = arn
        self._base = base
        self._objects = objects
        self._uploads = contract.Uploads(objects)
        checkpoints = params.get("CheckpointConfig") or {}
        self._checkpoint_uri = checkpoints.get("S3Uri")
        self._checkpoints = contract.below(base, checkpoints.get("LocalPath") or "/opt/ml/checkpoints")
        path = params["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        self._output = f"{path}/{params['TrainingJobName']}/output"
        self.image_uri = params["AlgorithmSpecification"]["TrainingImage"]
        self.max_runtime = params["StoppingCondition"].get("MaxRuntimeInSeconds", MAX_RUNTIME)
        self.working_directory = base / "code"

    @staticmethod
    def check(params: dict) -> None:
        check("CreateTrainingJob", params, "TrainingJobName", ACCEPTED)
        if "TrainingImage" not in params["AlgorithmSpecification"]:
            raise validation("localcloud runs images only: give AlgorithmSpecification.TrainingImage")
        for definition in params["AlgorithmSpecification"].get("MetricDefinitions", []):
            _pattern(definition)
        for channel in params.get("InputDataConfig", []):
            if (
                not re.fullmatch(r"[A-Za-z0-9.\-_]+", channel["ChannelName"])
                or channel["ChannelName"][0] == "."
            ):
                raise validation(f"the channel name {channel['ChannelName']!r} cannot name a folder")
        if local := (params.get("CheckpointConfig") or {}).get("LocalPath"):
            try:
                contract.below(Path(), local)
            except ValueError as error:
                raise validation(
                    f"localcloud cannot do CheckpointConfig.LocalPath={local}: {error}"
                ) from error

    def prepare(self) -> None:
        for folder in ("input/config", "input/data", "model", "output/data", "code"):
            (self._base / folder).mkdir(parents=True, exist_ok=True)
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        channels = self._params.get("InputDataConfig", [])
        mode = self._params["AlgorithmSpecification"]["TrainingInputMode"]
        config = {
            "hyperparameters": self._params.get("HyperParameters", {}),
            "inputdataconfig": {c["ChannelName"]: _channel(c, mode) for c in channels},
            "resourceconfig": contract.hosts(self._params["ResourceConfig"]["InstanceType"]),
        }
        for name, document in config.items():
            (self._base / "input" / "config" / f"{name}.json").write_text(json.dumps(document))
        for channel in channels:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            self._objects.download(uri, self._base / "input" / "data" / channel["ChannelName"])
        if self._checkpoint_uri and self._objects.exists(self._checkpoint_uri):
            self._objects.download(self._checkpoint_uri, self._checkpoints)

    def command(self, image: Image) -> list[str]:
        return contract.command(self._params["AlgorithmSpecification"], image, "train")

    def environment(self, settings: Settings) -> dict[str, str]:
        return {
            **settings.client_environment,
            "SAGEMAKER_REGION": REGION,
            "TRAINING_JOB_NAME": self._params["TrainingJobName"],
            "TRAINING_JOB_ARN": self._arn,
            **self._params.get("Environment", {}),
            "SAGEMAKER_BASE_DIR": str(self._base),
        }

    def sync(self) -> None:
        if self._checkpoint_uri:
            self._uploads.sync(self._checkpoints, self._checkpoint_uri)

    def collect(self, failed: bool, log: Path) -> dict:
        self.sync()
        if any((self._base / "output" / "data").iterdir()):
            self._upload_archive("output/data", "output.tar.gz")
        fields = {"FinalMetricDataList": self._metrics(log)}
        if not failed:
            fields["ModelArtifacts"] = {"S3ModelArtifacts": self._upload_archive("model", "model.tar.gz")}
        return fields

    def failure(self) -> str:
        return contract.message(self._base / "output" / "failure")

    @staticmethod
    def entering(document: dict, status: str, message: str, now: float) -> dict:
        transitions = document.get("SecondaryStatusTransitions", [])
        if transitions:
            transitions[-1].setdefault("EndTime", now)
        entry = {"Status": status, "StartTime": now, "StatusMessage": message}
        return {"SecondaryStatus": status, "SecondaryStatusTransitions": [*transitions, entry]}

    def _upload_archive(self, folder: str, name: str) -> str:
        """Pack the folder's contents at the archive's root; returns its S3 URI."""
        archive = self._base / name
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:  # weights hardly compress
            for path in sorted((self._base / folder).iterdir()):
                tar.add(path, arcname=path.name)
        self._objects.upload(archive, f"{self._output}/{name}")
        return f"{self._output}/{name}"

    def _metrics(self, log: Path) -> list[dict]:
        """The last value that each MetricDefinition finds in the log."""
        text = log.read_text(errors="replace") if log.exists() else ""
        found = []
        for definition in self._params["AlgorithmSpecification"].get("MetricDefinitions", []):
            values = [
                value
                for match in _pattern(definition).finditer(text)
                if (value := _number(match)) is not None
            ]
            if values:
                found.append(
                    {"MetricName": definition["Name"], "Value": values[-1], "Timestamp": time.time()}
                )
        return found


def _pattern(definition: dict) -> re.Pattern:
    try:
        pattern = re.compile(definition["Regex"])
    except re.error as error:
        raise validation(f"the Regex of metric {definition['Name']} is not one: {error}") from error
    if pattern.groups < 1:
        raise validation(f"the Regex of metric {definition['Name']} has no group for the value")
    return pattern


def _number(match: re.Match) -> float | None:
    try:
        value = float(match[1])
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _channel(channel: dict, mode: str) -> dict:
    return {
        "TrainingInputMode": channel.get("InputMode") or mode,
        "ContentType": channel.get("ContentType"),
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
