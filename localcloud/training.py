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
from localcloud.runtime import OPT_ML, TRAIN, Runtime
from localcloud.settings import REGION

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
    "InputDataConfig.DataSource.S3DataSource.S3DataDistributionType": ANY,
    "OutputDataConfig.S3OutputPath": ANY,
    "OutputDataConfig.KmsKeyId": ("",),
    "OutputDataConfig.CompressionType": ("GZIP",),
    "ResourceConfig.InstanceType": ANY,
    "ResourceConfig.VolumeSizeInGB": ANY,
    "ResourceConfig.KeepAlivePeriodInSeconds": ANY,
    "VpcConfig": ANY,
    "StoppingCondition.MaxRuntimeInSeconds": ANY,
    "StoppingCondition.MaxWaitTimeInSeconds": ANY,
    "Tags": ANY,
    "EnableNetworkIsolation": (False,),
    "EnableInterContainerTrafficEncryption": ANY,  # what talks to each other is on this machine
    "EnableManagedSpotTraining": ANY,  # never interrupted
    "CheckpointConfig": ANY,
    "ProfilerConfig": ANY,  # AWS's own profiler, which is not here: ProfilingStatus says so
    "RetryStrategy": ANY,
    "Environment": ANY,
}
MAX_RUNTIME = 86400  # seconds, SageMaker's default


class TrainingContract:
    """One training job: ``params`` is the body of CreateTrainingJob."""

    prefix = "Training"
    kind = "training-job"
    log_group = "/aws/sagemaker/TrainingJobs"
    role = TRAIN

    def __init__(self, params: dict, arn: str, folder: Path, objects: Objects, runtime: Runtime):
        self._params = params
        self._arn = arn
        self._objects = objects
        self._runtime = runtime
        self._uploads = contract.Uploads(objects)
        self._folder = folder
        self.hosts = contract.cluster(params["ResourceConfig"]["InstanceCount"], folder, runtime)
        checkpoints = params.get("CheckpointConfig") or {}
        self._checkpoint_uri = checkpoints.get("S3Uri")
        local = checkpoints.get("LocalPath") or f"{OPT_ML}/checkpoints"
        self._checkpoints = [contract.below(host.base, local) for host in self.hosts]
        path = params["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        self._output = f"{path}/{params['TrainingJobName']}/output"
        algorithm = params["AlgorithmSpecification"]
        self.image_uri = algorithm["TrainingImage"]
        self.entrypoint = algorithm.get("ContainerEntrypoint")
        self.arguments = algorithm.get("ContainerArguments") or []
        self.instance_type = params["ResourceConfig"]["InstanceType"]
        self.max_runtime = params["StoppingCondition"].get("MaxRuntimeInSeconds", MAX_RUNTIME)

    @staticmethod
    def check(params: dict, runtime: Runtime) -> None:
        counts = {"ResourceConfig.InstanceCount": runtime.instance_counts}
        check("CreateTrainingJob", params, "TrainingJobName", {**ACCEPTED, **counts})
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
            distribution = channel["DataSource"]["S3DataSource"].get("S3DataDistributionType")
            if distribution == "ShardedByS3Key" and params["ResourceConfig"]["InstanceCount"] > 1:
                raise validation(
                    "localcloud cannot do S3DataDistributionType=ShardedByS3Key, only FullyReplicated"
                )
        if local := (params.get("CheckpointConfig") or {}).get("LocalPath"):
            try:
                contract.below(Path(), local)
            except ValueError as error:
                raise validation(
                    f"localcloud cannot do CheckpointConfig.LocalPath={local}: {error}"
                ) from error

    def prepare(self) -> None:
        for host, checkpoints in zip(self.hosts, self._checkpoints, strict=True):
            self._prepare(host, checkpoints)

    def _prepare(self, host: contract.Host, checkpoints: Path) -> None:
        for folder in ("input/config", "input/data", "model", "output/data", "code"):
            (host.base / folder).mkdir(parents=True, exist_ok=True)
        checkpoints.mkdir(parents=True, exist_ok=True)
        channels = self._params.get("InputDataConfig", [])
        mode = self._params["AlgorithmSpecification"]["TrainingInputMode"]
        config = {
            "hyperparameters": self._params.get("HyperParameters", {}),
            "inputdataconfig": {c["ChannelName"]: _channel(c, mode) for c in channels},
            "resourceconfig": contract.resources(
                host, self.hosts, self.instance_type, self._runtime.network_interface
            ),
        }
        for name, document in config.items():
            (host.base / "input" / "config" / f"{name}.json").write_text(json.dumps(document))
        for channel in channels:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            self._objects.download(uri, host.base / "input" / "data" / channel["ChannelName"])
        if self._checkpoint_uri and self._objects.exists(self._checkpoint_uri):
            self._objects.download(self._checkpoint_uri, checkpoints)

    def environment(self, host: contract.Host) -> dict[str, str]:
        return {
            **self._runtime.client_environment,
            "SAGEMAKER_REGION": REGION,
            "TRAINING_JOB_NAME": self._params["TrainingJobName"],
            "TRAINING_JOB_ARN": self._arn,
            **self._params.get("Environment", {}),
            "SAGEMAKER_BASE_DIR": host.seen,
        }

    def sync(self) -> None:
        if self._checkpoint_uri:
            for checkpoints in reversed(self._checkpoints):  # the chief's is what stays of two alike
                self._uploads.sync(checkpoints, self._checkpoint_uri)

    def collect(self, failed: bool, logs: list[Path]) -> dict:
        self.sync()
        if any(any((host.base / "output" / "data").iterdir()) for host in self.hosts):
            self._upload_archive("output/data", "output.tar.gz")
        fields = {"FinalMetricDataList": self._metrics(logs)}
        if not failed:
            fields["ModelArtifacts"] = {"S3ModelArtifacts": self._upload_archive("model", "model.tar.gz")}
        return fields

    def failure(self, host: contract.Host) -> str:
        return contract.message(host.base / "output" / "failure")

    @staticmethod
    def entering(document: dict, status: str, message: str, now: float) -> dict:
        transitions = document.get("SecondaryStatusTransitions", [])
        if transitions:
            transitions[-1].setdefault("EndTime", now)
        entry = {"Status": status, "StartTime": now, "StatusMessage": message}
        return {
            "SecondaryStatus": status,
            "SecondaryStatusTransitions": [*transitions, entry],
            "ProfilingStatus": "Disabled",
        }

    def _upload_archive(self, folder: str, name: str) -> str:
        """Pack what the hosts have in the folder at the archive's root; returns its S3 URI.

        As in SageMaker they end in one tree; of two alike the chief's is kept.
        """
        found = {}
        for host in reversed(self.hosts):
            root = host.base / folder
            found |= {path.relative_to(root): path for path in root.rglob("*")}
        archive = self._folder / name
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:  # weights hardly compress
            for inside, path in sorted(found.items()):
                tar.add(path, arcname=str(inside), recursive=False)
        self._objects.upload(archive, f"{self._output}/{name}")
        return f"{self._output}/{name}"

    def _metrics(self, logs: list[Path]) -> list[dict]:
        """The last value that each MetricDefinition finds in the logs, the chief's before all others."""
        text = "\n".join(log.read_text(errors="replace") for log in reversed(logs) if log.exists())
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
