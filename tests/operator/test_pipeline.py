"""The pipeline from end to end, with models whose quality is known: what is promoted, kept, and rolled back.

All of it happens before one endpoint, while a client asks it without pause.
"""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import boto3
import pytest
from botocore.config import Config

from containers.common import deployment
from containers.common.errors import SettingsError
from services import pipeline, pipeline_watch
from services.aws import Aws
from services.pipeline_definition import PARAMETERS, definition, expressed
from services.settings import Settings
from tests import fake_aws
from tests.operator import brightness
from tests.operator.conftest import Cloud, eventually, service

DATA = "s3://bins/data"
FAIR, GOOD = "12354", "12345"  # 60 and 100 % of the bins


class Client(threading.Thread):
    """Asks the endpoint about one photograph, again and again, and gives no request a second chance."""

    def __init__(self, cloud: Cloud):
        super().__init__(daemon=True)
        settings = cloud.settings.client_environment
        self._runtime = boto3.client(
            "sagemaker-runtime",
            endpoint_url=settings["AWS_ENDPOINT_URL"],
            region_name=settings["AWS_REGION"],
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._done = threading.Event()
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        photograph = brightness.photograph(5)
        while not self._done.is_set():
            try:
                answer = self._runtime.invoke_endpoint(
                    EndpointName="bintally", ContentType="image/jpeg", Body=photograph
                )
                self.answers[answer["Body"].read().decode()] += 1
            except Exception as error:  # whatever it is, the client went without an answer
                self.failures.append(repr(error))
            time.sleep(0.005)  # two cores also run the pipeline

    def stop(self) -> None:
        self._done.set()
        self.join()


def endpoint(cloud: Cloud) -> dict:
    return deployment.describe(cloud.client("sagemaker"), "bintally") or {"EndpointConfigName": None}


@dataclass
class Story:
    """What happened, by the name of the challenger."""

    cloud: Cloud
    folder: Path
    done: dict[str, CompletedProcess] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)  # endpoint configuration after it

    def challenge(self, name: str, counted: str, *options: str) -> CompletedProcess:
        """Run the pipeline with a trainer that makes a model of this quality."""
        recipe = self.folder / f"{name}.json"
        recipe.write_text(json.dumps({"hyperparameters": {"name": name, "counted": counted}}))
        done = service(
            self.cloud,
            "pipeline",
            "--data",
            DATA,
            "--recipe",
            str(recipe),
            "--level",
            "0.95",
            "--bake-seconds",
            "1",
            *options,
        )
        self.done[name] = done
        self.live[name] = endpoint(self.cloud)["EndpointConfigName"]
        return done

    def mend(self, name: str) -> None:
        """Have the trainer that failed find another recipe at the same address, and retry."""
        [uri] = [
            line.split()[1] for line in self.done[name].stdout.splitlines() if line.startswith("recipe ")
        ]
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = json.dumps({"hyperparameters": {"name": "mended", "counted": FAIR}}).encode()
        self.cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
        self.done["mended"] = service(self.cloud, "pipeline", "retry")

    def execution(self, name: str) -> str:
        return self.done[name].stdout.split("execution ")[1].split()[0]

    def promoted(self, name: str) -> str:
        return deployment.promoted_name("bintally", self.execution(name))


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A localcloud with an uploaded data set and the images of these tests."""
    folder = tmp_path_factory.mktemp("pipeline")
    cloud = Cloud(folder / "cloud")
    trainer = cloud.image("brightness", "train", brightness.TRAIN, brightness.TRAIN_VENV)
    cloud.environment |= {"BINTALLY_LOCAL": str(folder / "local"), "BINTALLY_TRAIN_IMAGE": trainer}
    assert cloud("up").returncode == 0
    data = brightness.write(folder / "data", {"train": 10, "validation": 30, "test": 60})
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="bins")
    for path in data.rglob("*.*"):
        s3.upload_file(str(path), "bins", f"data/{path.relative_to(data)}")
    yield Story(cloud, folder)
    cloud("down")


@pytest.fixture(scope="module")
def first(story):
    """A first model, promoted since it beats the majority class."""
    return story.challenge("fair", FAIR)


@pytest.fixture(scope="module")
def client(story, first):
    """The client, after everything else has happened to the endpoint."""
    client = Client(story.cloud)
    client.start()
    gone = story.cloud.image("gone", "serve", brightness.CANNOT_START)
    liar = story.cloud.image("liar", "serve", brightness.LIAR, brightness.SERVE_VENV)
    story.challenge("same", FAIR)
    story.challenge("gone", GOOD, "--serve-image", gone)
    story.challenge("liar", GOOD, "--serve-image", liar)
    story.challenge("good", GOOD)
    story.challenge("fails", FAIR)
    story.mend("fails")
    client.stop()
    return client


def test_a_first_model_is_promoted_when_it_beats_the_majority_class(story, first):
    assert first.returncode == 0, first.stdout + first.stderr
    assert story.live["fair"] == story.promoted("fair")
    assert "decision  promote the challenger" in first.stdout
    assert "against 20.0 % for always answering 1: a gain of +40.0 points" in first.stdout
    for step in ("Train", "Evaluate", "Decide", "Promote", "Verify"):
        assert f"  {step:<10}Succeeded" in first.stdout


def test_an_equal_and_a_worse_challenger_leave_the_champion_with_the_reason(story, client):
    for name, champion, gain in (("same", "fair", "+0.0"), ("mended", "good", "−40.0")):
        done = story.done[name]
        assert done.returncode == 0, done.stdout + done.stderr
        assert "decision  keep what is deployed" in done.stdout and f"% for {champion}: " in done.stdout
        assert f"a gain of {gain} points, and with 95 % confidence" in done.stdout
        assert "Promote" not in done.stdout
    assert story.live["same"] == story.promoted("fair")
    assert endpoint(story.cloud)["EndpointConfigName"] == story.promoted("good")


def test_a_better_challenger_is_promoted(story, client):
    done = story.done["good"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "good counts 100.0 % of 60 test photographs exactly, against 60.0 % for fair" in done.stdout
    assert story.live["good"] == story.promoted("good")
    config = story.cloud.client("sagemaker").describe_endpoint_config(EndpointConfigName=story.live["good"])
    assert config["DataCaptureConfig"]["EnableCapture"] is True


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone", "libgone.so"), ("liar", "the endpoint counts 1 and its graph")],
)
def test_a_broken_challenger_is_rolled_back(story, client, name, reason):
    done = story.done[name]
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and "Verify: " in line and reason in line
    assert story.live[name] == story.promoted("fair")


def test_a_client_without_pause_sees_no_failure_and_no_mixed_answer(client):
    assert client.failures == []
    answers = [json.loads(answer) for answer in client.answers]
    assert sorted(answer["model"] for answer in answers) == ["fair", "good", "liar"]  # one answer each
    assert {answer["model"]: answer["count"] for answer in answers} == {"fair": 4, "good": 5, "liar": 1}
    assert sum(client.answers.values()) > 100


def test_the_registry_knows_what_was_put_live_and_what_came_of_it(story, client):
    sagemaker = story.cloud.client("sagemaker")
    listed = sagemaker.list_model_packages(ModelPackageGroupName="bintally")["ModelPackageSummaryList"]
    packages = [sagemaker.describe_model_package(ModelPackageName=p["ModelPackageArn"]) for p in listed]
    outcome = {p["CustomerMetadataProperties"]["model"]: p["ModelApprovalStatus"] for p in packages}
    assert outcome == {"fair": "Approved", "good": "Approved", "gone": "Rejected", "liar": "Rejected"}
    [good] = [p for p in packages if p["CustomerMetadataProperties"]["model"] == "good"]
    lineage = good["CustomerMetadataProperties"]
    assert lineage["champion-before"] == "fair"
    assert lineage["pipeline-execution"] == story.execution("good")
    assert lineage["endpoint-configuration"] == story.promoted("good")
    sagemaker.describe_training_job(TrainingJobName=lineage["training-job"])


def test_a_failed_execution_is_run_again_from_its_failed_step(story, client):
    done, again = story.done["fails"], story.done["mended"]
    assert done.returncode == 1 and "Train: " in done.stderr and "the verb retry" in done.stderr
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"retrying  {story.execution('fails')}" in again.stdout
    assert "mended counts 60.0 %" in again.stdout and "  Evaluate  Succeeded" in again.stdout


def test_an_execution_is_started_watched_by_nobody_and_stopped(story, first):
    started = service(
        story.cloud, "pipeline", "start", "--data", DATA, "--recipe", "none", "name=slow", f"counted={FAIR}"
    )
    assert started.returncode == 0, started.stderr
    execution = started.stdout.split("execution ")[1].split()[0]
    stopped = service(story.cloud, "pipeline", "stop", execution)
    assert stopped.returncode == 0 and f"stopping  {execution}" in stopped.stdout
    sagemaker = story.cloud.client("sagemaker")
    [newest, *_] = sagemaker.list_pipeline_executions(PipelineName="bintally")["PipelineExecutionSummaries"]
    arn = newest["PipelineExecutionArn"]
    assert arn.endswith(execution)
    eventually(
        lambda: (
            sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
            == "Stopped"
        )
    )
    watched = service(story.cloud, "pipeline", "watch", execution)
    assert watched.returncode == 1 and f"execution {execution} is Stopped" in watched.stderr


def test_an_execution_that_is_none_is_named(story, first):
    done = service(story.cloud, "pipeline", "watch", "nobody")
    assert done.returncode == 1
    assert done.stderr == "error: pipeline bintally has no execution nobody\n"


def test_texts_with_references_become_expressions():
    assert expressed("plain") == "plain"
    assert expressed("${Parameters.A}") == {"Get": "Parameters.A"}
    assert expressed(["--a=${Steps.B.C['d']}/e", 1]) == [
        {"Std:Join": {"On": "", "Values": ["--a=", {"Get": "Steps.B.C['d']"}, "/e"]}},
        1,
    ]


def test_the_definition_is_made_of_settings_alone():
    """Nothing is asked: there are no credentials, and nobody to answer."""
    settings = Settings(
        region="eu-west-1", bucket="b", role="arn:aws:iam::1:role/r", train_image="t", serve_image="s"
    )
    found = definition(Aws(settings), "arn:aws:lambda:eu-west-1:1:function:promote")
    assert found["Version"] == "2020-12-01"
    assert [p["Name"] for p in found["Parameters"]] == list(PARAMETERS)
    train, evaluate, decide = found["Steps"]
    assert (train["Name"], evaluate["Name"], decide["Name"]) == ("Train", "Evaluate", "Decide")
    assert [step["Name"] for step in decide["Arguments"]["IfSteps"]] == ["Promote", "Verify"]
    assert decide["Arguments"]["ElseSteps"] == []
    verify = decide["Arguments"]["IfSteps"][1]["Arguments"]
    assert verify["StoppingCondition"]["MaxRuntimeInSeconds"] > 2 * 3600  # the longest bake, twice
    assert "${" not in json.dumps(found)
    channels = [channel["ChannelName"] for channel in train["Arguments"]["InputDataConfig"]]
    assert channels == ["train", "validation", "manifest", "recipe"]


@pytest.fixture
def account(monkeypatch) -> fake_aws.FakeAws:
    """Endpoint bintally has autoscaling, and every endpoint is on ml.m5.xlarge."""
    account = fake_aws.FakeAws(fake_aws.endpoint("live"))
    account.scaled = ["bintally"]
    monkeypatch.setattr(Aws, "_client", lambda self, service: account)
    return account


def start(*options: str) -> None:
    settings = Settings(region="eu-west-1", bucket="b", serve_instance="ml.c5.large")
    arguments = ["start", "--data", DATA, "--recipe", "none", *options]
    pipeline.start(Aws(settings), pipeline.parser().parse_args(arguments))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--bake-seconds", "3601", "AWS waits for 0 to 3600 seconds"),
        ("--bake-seconds", "-1", "AWS waits for 0 to 3600 seconds"),
        ("--serve-instance-type", "ml.c5.large", "autoscaling keeps endpoint bintally on ml.m5.xlarge"),
    ],
)
def test_what_aws_would_refuse_after_the_training_is_refused_before_it(account, option, value, said):
    with pytest.raises(SettingsError, match=f"{option} {value}: {said}"):
        start(option, value)
    assert account.calls == []


@pytest.mark.parametrize(
    ("options", "instance_type"),
    [
        ((), "ml.m5.xlarge"),
        (("--serve-instance-type", "ml.m5.xlarge"), "ml.m5.xlarge"),
        (("--endpoint-name", "unscaled"), None),  # the definition's default
        (("--endpoint-name", "unscaled", "--serve-instance-type", "ml.c5.large"), "ml.c5.large"),
    ],
)
def test_an_endpoint_with_autoscaling_keeps_its_instance_type(account, options, instance_type):
    start(*options)
    [started] = account.made("start")
    given = {p["Name"]: p["Value"] for p in started["PipelineParameters"]}
    assert given.get("ServeInstanceType") == instance_type


@pytest.mark.parametrize(
    ("steps", "advice"),
    [
        (("Train",), "run it again from there: the verb retry"),
        (("Train", "Evaluate", "Decide", "Promote", "Verify"), "start the pipeline again"),
    ],
)
def test_an_execution_that_failed_comes_with_what_helps(steps, advice):
    succeeded = {name: {"StepStatus": "Succeeded"} for name in steps}
    failed = {steps[-1]: {"StepStatus": "Failed", "FailureReason": "so it is"}}
    execution = {"PipelineExecutionStatus": "Failed", "PipelineExecutionArn": "arn/abc123"}
    view = pipeline_watch.View(execution, {}, succeeded | failed)
    assert pipeline_watch.why(view) == f"execution abc123 is Failed: {steps[-1]}: so it is ({advice})"
