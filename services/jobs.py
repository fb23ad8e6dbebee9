"""Starting a SageMaker job, following its log, and waiting for its end."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from botocore.exceptions import ClientError

from containers.common import deployment
from containers.common.errors import ServiceError, SettingsError
from services import console
from services.aws import Aws

TRAINING = "bintally-train"  # what our training jobs' names begin with
EVALUATION = "bintally-evaluate"
EXPLORATION = "bintally-explore"
MONITORING = "bintally-monitor"
POLL = 1.0  # seconds between questions; SageMaker itself changes a status no faster
TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
PROCESSING_LOGS = "/aws/sagemaker/ProcessingJobs"


def name(prefix: str) -> str:
    """A name unique to the millisecond, and in the order of time when sorted."""
    return f"{prefix}-{datetime.now(UTC):%Y-%m-%d-%H-%M-%S-%f}"[:-3]


def is_name(text: str, prefix: str) -> bool:
    """Whether ``name(prefix)`` can have made this name."""
    return bool(re.fullmatch(rf"{re.escape(prefix)}-\d{{4}}(-\d\d){{5}}-\d{{3}}", text))


def newest_dataset(aws: Aws) -> str:
    """S3 address of what ``data`` uploaded last, from this machine to this account.

    Raises SettingsError where it never did.
    """
    folder = aws.settings.local / "data"
    files = sorted(folder.glob("*/dataset.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for file in files:
        document = json.loads(file.read_text())
        if document["account"] == aws.account:
            return document["s3_uri"]
    raise SettingsError(
        f"nothing was uploaded to account {aws.account} from here: run 'make data' first, "
        "or name a data set with --data s3://…"
    )


def training_channels(data: str, recipe: str | None = None) -> list[dict]:
    """What trains on an uploaded data set is given of it, downloaded to every instance.

    recipe: S3 address of a ``recipe.json``, a channel of its own.
    """
    places = {"train": "train/", "validation": "validation/", "manifest": "manifest.csv"}
    channels = [_channel(name, f"{data}/{place}") for name, place in places.items()]
    return [*channels, _channel("recipe", recipe)] if recipe else channels


def _channel(name: str, uri: str) -> dict:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def processing_input(name: str, uri: str) -> dict:
    """One processing input, at ``/opt/ml/processing/<name>``."""
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"/opt/ml/processing/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
        },
    }


def processing(
    aws: Aws,
    job: str,
    module: str,
    arguments: list[str],
    inputs: dict[str, str],
    outputs: dict[str, str],
    instance: str | None = None,
    work: str = "processing",
    seconds: int = 3600,
) -> dict:
    """CreateProcessingJob's parameters: a module of the training image on one instance.

    inputs, outputs: S3 addresses by name; each lies at ``/opt/ml/processing/<name>``. instance: its type,
    that of evaluations by default. work: whose role it runs as. seconds: after which SageMaker ends it.
    """
    written = [
        {
            "OutputName": name,
            "S3Output": {
                "S3Uri": uri,
                "LocalPath": f"/opt/ml/processing/{name}",
                "S3UploadMode": "EndOfJob",
            },
        }
        for name, uri in outputs.items()
    ]
    return {
        "ProcessingJobName": job,
        "RoleArn": aws.role_for(work),
        "AppSpecification": {
            "ImageUri": aws.image("train"),
            "ContainerEntrypoint": ["python", "-m", module],
            **({"ContainerArguments": arguments} if arguments else {}),
        },
        "ProcessingInputs": [processing_input(name, uri) for name, uri in inputs.items()],
        **({"ProcessingOutputConfig": {"Outputs": written}} if written else {}),
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": instance or aws.settings.evaluate_instance,
                "VolumeSizeInGB": 30,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
        "Tags": deployment.TAGS,
    }


def log_command(group: str, prefix: str = "") -> str:
    """The AWS CLI's command, of its first and its second version, that prints a log."""
    streams = f" --log-stream-name-prefix {prefix}" if prefix else ""
    return (
        f"aws logs filter-log-events --log-group-name {group}{streams} "
        "--query 'events[].[message]' --output text"
    )


def wait_for_training(aws: Aws, job: str) -> dict:
    """Show the job's log until it ends; returns its description. Raises ServiceError unless it completed."""
    sagemaker = aws.client("sagemaker")
    return _wait(aws, job, "training", lambda: sagemaker.describe_training_job(TrainingJobName=job))


def wait_for_processing(aws: Aws, job: str) -> dict:
    """The same for a processing job."""
    sagemaker = aws.client("sagemaker")
    return _wait(aws, job, "processing", lambda: sagemaker.describe_processing_job(ProcessingJobName=job))


def _wait(aws: Aws, job: str, kind: str, describe: Callable[[], dict]) -> dict:
    group = {"training": TRAINING_LOGS, "processing": PROCESSING_LOGS}[kind]
    status_field = f"{kind.title()}JobStatus"
    stop_command = f"aws sagemaker stop-{kind}-job --{kind}-job-name {job}"
    log = _Log(aws, group, job)
    try:
        while True:
            document = describe()
            log.show()
            if document[status_field] in ("Completed", "Failed", "Stopped"):
                break
            time.sleep(POLL)
    except KeyboardInterrupt:
        raise ServiceError(f"no longer watching; {job} goes on. To stop it: {stop_command}") from None
    log.show()
    if document[status_field] != "Completed":
        reason = document.get("FailureReason") or document.get("ExitMessage") or "no reason was given"
        raise ServiceError(
            f"{job} is {document[status_field]}: {reason} (its whole log: {log_command(group, job)})"
        )
    return document


class _Log:
    """The lines of a job's CloudWatch log streams that have not been shown yet."""

    def __init__(self, aws: Aws, group: str, job: str):
        self._logs = aws.client("logs")
        self._group, self._prefix = group, f"{job}/"
        self._tokens: dict[str, str | None] = {}

    def show(self) -> None:
        try:
            streams = self._logs.describe_log_streams(
                logGroupName=self._group, logStreamNamePrefix=self._prefix
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return  # nothing has been logged yet
            raise
        for stream in streams["logStreams"]:
            self._show_stream(stream["logStreamName"])

    def _show_stream(self, stream: str) -> None:
        while True:
            token = self._tokens.get(stream)
            events = self._logs.get_log_events(
                logGroupName=self._group,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": token} if token else {}),
            )
            for event in events["events"]:
                console.out.print(f"  {event['message']}", style="dim", markup=False)
            self._tokens[stream] = events["nextForwardToken"]
            if events["nextForwardToken"] == token or not events["events"]:
                return
