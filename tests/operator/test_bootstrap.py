"""make bootstrap, teardown and cost, each as an operator calls it."""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator

import pytest

from services import cost, functions
from services.aws import Aws
from services.settings import Settings
from tests import ROOT
from tests.engine import NO_REGISTRY
from tests.operator.conftest import Cloud, eventually, service
from tests.operator.test_localcloud_endpoints import SERVER

BUCKET = "bintally-123456789012-us-east-1"
NOTHING = """
    import time
    time.sleep(3600)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Cloud]:
    """A localcloud of this module's own, which teardown empties."""
    own = Cloud(tmp_path_factory.mktemp("bootstrap") / "own")
    own.environment |= {"BINTALLY_LOCAL": str(own.scripts / "local"), **NO_REGISTRY}
    started = own("up")
    assert started.returncode == 0, started.stderr
    yield own
    own("down")


@pytest.fixture(scope="module")
def boto(cloud: Cloud) -> Callable:
    return cloud.client


@pytest.fixture
def aws(cloud: Cloud, monkeypatch) -> Callable[[], Aws]:
    """``aws()``: what a service of this shell sees."""
    for name, value in cloud.environment.items():
        if name.startswith(("AWS_", "BINTALLY_")):
            monkeypatch.setenv(name, value)
    return lambda: Aws(Settings.load())


def said(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("target: localcloud at ")
    return " ".join(done.stdout.split())


def test_what_is_in_the_way_is_named_and_the_next_try_begins_anew(cloud, boto):
    boto("ecr").create_repository(repositoryName="bintally-serve")
    done = service(cloud, "bootstrap")
    assert done.returncode == 1 and "ServeRepository: " in done.stderr and "already exists" in done.stderr
    assert boto("iam").list_roles()["Roles"] == [] and boto("s3").list_buckets()["Buckets"] == []
    boto("ecr").delete_repository(repositoryName="bintally-serve")
    assert "what is left of it is deleted" in said(service(cloud, "bootstrap"))


def test_bootstrap_shows_what_changes_and_does_it_once(cloud, boto, aws):
    image = f"{aws().account}.dkr.ecr.us-east-1.amazonaws.com/bintally-function:latest"
    shown = said(service(cloud, "bootstrap", "CaptureDays=7", "--function-image", image))
    assert "add │ CountFunction" in shown and "modify │ DataBucket" in shown
    assert f"Bucket │ {BUCKET}" in shown
    again = said(service(cloud, "bootstrap", "--function-image", image))  # CaptureDays stays as it was
    assert "stack bintally is as it should be" in again
    done = service(cloud, "bootstrap", "Colour=red")
    assert done.returncode == 1 and "Colour" in done.stderr and len(done.stderr.splitlines()) == 1


def test_each_kind_of_work_has_a_role_of_its_own(aws, monkeypatch):
    stacked = aws()
    assert stacked.default_bucket() == BUCKET
    for work in ("training", "processing", "monitor", "endpoint", "pipeline", "count", "promote"):
        assert stacked.role_for(work) == f"arn:aws:iam::123456789012:role/bintally-{work}"
    monkeypatch.setenv("BINTALLY_STACK", "bintally-absent")
    without = aws()
    assert without.role_for("training") == "arn:aws:iam::123456789012:role/bintally-execution"
    assert without.bucket == "sagemaker-us-east-1-123456789012"
    monkeypatch.setenv("BINTALLY_ROLE", "arn:aws:iam::123456789012:role/mine")
    assert aws().role_for("training") == "arn:aws:iam::123456789012:role/mine"


def test_deploying_finds_the_stack_s_function_as_it_would_make_it(aws, boto):
    def shown() -> dict:
        configuration = boto("lambda").get_function_configuration(FunctionName="bintally-count")
        return configuration | dict.fromkeys(("LastModified", "RevisionId", "ResponseMetadata"))

    before = shown()
    functions.put(
        aws(), "bintally-count", "count", "containers.functions.count.app.handler",
        {"BINTALLY_ENDPOINT": "bintally"},
    )  # fmt: skip
    assert shown() == before


def test_functions_that_others_made_are_left_to_them(cloud, boto):
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/bintally-function:latest"
    by_hand = {"FunctionName": "bintally-by-hand", "Role": "arn:aws:iam::123456789012:role/mine"}
    boto("lambda").create_function(**by_hand, PackageType="Image", Code={"ImageUri": image})
    shown = said(service(cloud, "bootstrap", "--function-image", f"{image.split(':')[0]}:other"))
    assert "as it should be" in shown
    assert boto("lambda").get_function(FunctionName="bintally-count")["Code"]["ImageUri"] == image


@pytest.fixture(scope="module")
def used(cloud: Cloud, boto) -> None:
    """Something of every kind, made as the services make it, and something of somebody else's."""
    sagemaker, s3 = boto("sagemaker"), boto("s3")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz"):
        pass
    s3.put_object(Bucket=BUCKET, Key="bintally/training/model.tar.gz", Body=packed.getvalue())
    s3.create_bucket(Bucket="somebody")
    s3.put_object(Bucket="somebody", Key="bintally/else", Body=b"x")
    cloud.environment["BINTALLY_SERVE_IMAGE"] = cloud.image("tiny-serve", "serve", SERVER)
    said(service(cloud, "deploy", "--model", f"s3://{BUCKET}/bintally/training/model.tar.gz"))
    sleeper = cloud.image("sleeper", "train", NOTHING)
    training = {
        "AlgorithmSpecification": {"TrainingImage": sleeper, "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/bintally-training",
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/bintally/training"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }  # fmt: skip
    sagemaker.create_training_job(TrainingJobName="bintally-train-1", **training)
    steps = [{"Name": "Train", "Type": "Training", "Arguments": training}]
    definition = {"Version": "2020-12-01", "Steps": steps}
    sagemaker.create_pipeline(
        PipelineName="bintally", PipelineDefinition=json.dumps(definition), ClientRequestToken="t" * 32,
        RoleArn="arn:aws:iam::123456789012:role/bintally-pipeline",
    )  # fmt: skip
    sagemaker.start_pipeline_execution(PipelineName="bintally", ClientRequestToken="t" * 32)
    sagemaker.create_model_package_group(ModelPackageGroupName="bintally")
    sagemaker.create_model_package(ModelPackageGroupName="bintally", ModelApprovalStatus="Approved")
    eventually(lambda: len(in_progress(boto)) == 2)


def in_progress(boto) -> list[str]:
    jobs = boto("sagemaker").list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    return [job["TrainingJobName"] for job in jobs]


def test_teardown_shows_all_of_it_and_deletes_nothing_unasked(cloud, boto, used):
    done = service(cloud, "teardown")
    assert done.returncode == 1 and "nothing was deleted: add ARGS=--yes" in done.stderr
    kinds = {row.split("│")[1].strip() for row in done.stdout.splitlines() if row.startswith("│")} - {""}
    assert kinds == {
        "running executions", "pipelines", "running training jobs", "scaled endpoints", "endpoints",
        "endpoint configurations", "models", "model packages", "model package groups", "alarms", "functions",
        "objects", "stack", "logs",
    }  # fmt: skip
    assert "somebody" not in done.stdout
    assert len(in_progress(boto)) == 2
    assert boto("sagemaker").describe_endpoint(EndpointName="bintally")["EndpointStatus"] == "InService"


def test_teardown_leaves_nothing_behind(cloud, boto, used):
    pushed = cloud.scripts / "local" / "images.json"
    pushed.parent.mkdir(exist_ok=True)
    known = {"123456789012/us-east-1": {"bintally-serve": "gone"}, "other/us-east-1": {}}
    pushed.write_text(json.dumps(known))
    assert "deleted" in said(service(cloud, "teardown", "--yes"))
    sagemaker, scaling = boto("sagemaker"), boto("application-autoscaling")
    left = {
        "pipelines": sagemaker.list_pipelines()["PipelineSummaries"],
        "endpoints": sagemaker.list_endpoints()["Endpoints"],
        "configurations": sagemaker.list_endpoint_configs()["EndpointConfigs"],
        "models": sagemaker.list_models()["Models"],
        "packages": sagemaker.list_model_packages()["ModelPackageSummaryList"],
        "groups": sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"],
        "targets": scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"],
        "policies": scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"],
        "alarms": boto("cloudwatch").describe_alarms()["MetricAlarms"],
        "functions": boto("lambda").list_functions()["Functions"],
        "repositories": boto("ecr").describe_repositories()["repositories"],
        "roles": boto("iam").list_roles()["Roles"],
        "managed policies": boto("iam").list_policies(Scope="Local")["Policies"],
        "stacks": boto("cloudformation").describe_stacks()["Stacks"],
        "buckets": [b["Name"] for b in boto("s3").list_buckets()["Buckets"] if b["Name"] != "somebody"],
        "logs": [
            group["logGroupName"]
            for group in boto("logs").describe_log_groups()["logGroups"]
            if group["logGroupName"] != "/aws/sagemaker/TrainingJobs"  # which all training jobs share
        ],
        "running jobs": in_progress(boto),
    }
    assert {kind: found for kind, found in left.items() if found} == {}
    assert boto("s3").get_object(Bucket="somebody", Key="bintally/else")["Body"].read() == b"x"
    assert json.loads(pushed.read_text()) == {"other/us-east-1": {}}
    assert "nothing of BinTally is there" in said(service(cloud, "teardown", "--yes"))


@pytest.mark.parametrize("name", ["bootstrap", "teardown"])
def test_nothing_is_done_on_aws_unasked(cloud, name):
    outside = {k: v for k, v in cloud.environment.items() if k != "AWS_ENDPOINT_URL"}
    done = subprocess.run(
        [sys.executable, "-m", f"services.{name}", "--yes"][: 4 if name == "teardown" else 3],
        cwd=ROOT, env=outside, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "add --aws" in done.stderr


# --- cost ----------------------------------------------------------------------------------------------


def cost_of(capsys, *arguments: str) -> str:
    cost.main(arguments)
    return " ".join(capsys.readouterr().out.split())


def test_what_has_no_price_is_said_and_nothing_is_made_up(capsys, monkeypatch):
    monkeypatch.setenv("BINTALLY_SERVE_INSTANCE", "ml.c7i.xlarge")
    shown = cost_of(capsys)
    assert "no price for ml.c7i.xlarge, ml.m5.xlarge" in shown
    assert "deploy endpoint, 1 to 3 × ml.c7i.xlarge make undeploy ?" in shown
    assert all(price is None for price in cost.read_prices(cost.PRICES).values())


def test_dollars_follow_from_price_and_measured_throughput(capsys, tmp_path):
    prices = tmp_path / "prices.csv"
    with prices.open("w", newline="") as stream:
        csv.writer(stream).writerows([["instance_type", "usd_per_hour"], ["ml.m5.xlarge", "1.5"]])
    shown = cost_of(capsys, "--prices", str(prices))
    speed = cost.throughput()["ml.m5.xlarge"]
    assert f"{speed:.0f} {1e6 / speed / 3600:.2f} {1.5e6 / speed / 3600:.2f} 1,095" in shown
    assert "train training job ml.m5.xlarge it ends (≤ 24 h) 1.500" in shown and "no price" not in shown


def test_a_price_that_is_none_is_refused(tmp_path):
    prices = tmp_path / "prices.csv"
    prices.write_text("instance_type,usd_per_hour\nml.m5.xlarge,cheap\n")
    done = subprocess.run(
        [sys.executable, "-m", "services.cost", "--prices", str(prices)],
        cwd=ROOT, env=os.environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "'cheap' is no price of ml.m5.xlarge" in done.stderr
