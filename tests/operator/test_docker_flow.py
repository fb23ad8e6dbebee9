"""The product's own images on localcloud with RUNTIME=docker: verdicts, two hosts, a stop, a restart."""

import json
import os

import pytest

from tests.engine import needs
from tests.operator.conftest import Cloud, eventually
from tests.operator.test_docker_runtime import HOME_LABEL, engine, training_log  # noqa: F401
from tests.operator.test_flow import TINY, photograph, service

IMAGES = ("bintally-train", "bintally-serve", "bintally-function")
TOLERANCE = 0.01  # of a loss: the same batches and draws, summed in another order
pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def flow(engine, tmp_path_factory):  # noqa: F811
    built = {tag.removesuffix(":latest") for image in engine.images.list() for tag in image.tags}
    needs("set of built images ('make build')", built.issuperset(IMAGES))
    folder = tmp_path_factory.mktemp("docker-flow")
    cloud = Cloud(folder / "cloud")
    cloud.environment |= {"BINTALLY_LOCAL": str(folder / "local"), "LOCALCLOUD_RUNTIME": "docker"}
    assert cloud("up").returncode == 0
    yield cloud
    cloud("down")
    assert engine.containers.list(all=True, filters={"label": f"{HOME_LABEL}={cloud.settings.home}"}) == []


@pytest.fixture(scope="module")
def deployed(flow: Cloud) -> None:
    for name, arguments in (
        ("data", ["--source", "synthetic", "--photographs", "200"]),
        ("train", TINY),
        ("deploy", []),
    ):
        done = service(flow, name, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def metrics(flow: Cloud, *arguments: str) -> dict[str, float]:
    """Final metrics of a training job on the same data."""
    done = service(flow, "train", *arguments, *TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    [name] = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("training job")]
    job = flow.client("sagemaker").describe_training_job(TrainingJobName=name)
    return {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}


def test_a_function_asks_an_endpoint_with_a_trained_model(flow: Cloud, deployed):
    done = service(flow, "predict", str(photograph(flow)), "--expected", "3", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["expected"] == 3 and answer["verdict"] in ("match", "mismatch", "unsure")


def test_two_hosts_train_as_two_processes_of_one_host_do(flow: Cloud, deployed):
    one_host = metrics(flow, "--processes", "2")
    two_hosts = metrics(flow, "--processes", "1", "--instances", "2")
    for name in ("train:loss", "validation:loss"):
        assert two_hosts[name] == pytest.approx(one_host[name], abs=TOLERANCE), (one_host, two_hosts)


def test_a_stopped_training_job_leaves_a_checkpoint(flow: Cloud, deployed):
    checkpoints = f"checkpoints/{os.getpid()}"
    bucket = "sagemaker-us-east-1-123456789012"
    started = service(
        flow, "train", "--checkpoints", f"s3://{bucket}/{checkpoints}", "--no-wait", *TINY, "epochs=500"
    )
    assert started.returncode == 0, started.stderr
    [job] = [line.split()[-1] for line in started.stdout.splitlines() if line.startswith("training job")]

    def training() -> bool:
        return any("epoch=1/500" in line for lines in training_log(flow, job).values() for line in lines)

    eventually(training, 180)
    sagemaker = flow.client("sagemaker")
    sagemaker.stop_training_job(TrainingJobName=job)

    def status() -> str:
        return sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"]

    eventually(lambda: status() in ("Stopped", "Failed"), 150)
    assert status() == "Stopped"
    keys = flow.client("s3").list_objects_v2(Bucket=bucket, Prefix=checkpoints)["Contents"]
    assert [key["Key"].rsplit("/", 1)[1] for key in keys] == ["last.pt"]


def test_what_is_deployed_survives_a_restart(flow: Cloud, deployed):
    arguments = (str(photograph(flow)), "--expected", "3", "--json")
    before = service(flow, "predict", *arguments).stdout
    flow("down")
    assert flow("up").returncode == 0
    assert service(flow, "predict", *arguments).stdout == before
