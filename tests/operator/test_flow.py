"""The whole product on one localcloud: the real images' environments, a small data set, every service."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.jobs import TRAINING_LOGS, log_command
from tests import ROOT
from tests.operator.conftest import Cloud, eventually, service

TINY = ["epochs=2", "image_size=32", "batch_size=16", "learning_rate=0.003"]
pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """A localcloud of its own, and a function that runs a service against it."""
    folder = tmp_path_factory.mktemp("flow")
    cloud = Cloud(folder / "cloud")
    assert cloud("up").returncode == 0
    cloud.environment["BINTALLY_LOCAL"] = str(folder / "local")
    yield cloud
    cloud("down")


def local(cloud: Cloud) -> Path:
    return Path(cloud.environment["BINTALLY_LOCAL"])


@pytest.fixture(scope="module")
def demo(flow):
    done = service(flow, "demo", "--photographs", "200", *TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_goes_from_photographs_to_verdicts(flow, demo):
    summary = json.loads((local(flow) / "demo" / "summary.json").read_text())
    assert {
        "accuracy",
        "accuracy_ci",
        "majority_baseline",
        "rmse",
        "test_photographs",
        "predictions",
        "seconds",
    } <= (set(summary))
    low, high = summary["accuracy_ci"]
    assert 0 <= low <= summary["accuracy"] <= high <= 1 and summary["test_photographs"] == 20
    assert len(summary["predictions"]) == 10
    for prediction in summary["predictions"]:
        assert prediction["record_is_right"] == (prediction["expected"] == prediction["true"])
        assert prediction["verdict"] in ("match", "mismatch", "unsure")
        assert prediction["photograph"] in demo
    assert {p["record_is_right"] for p in summary["predictions"]} == {True, False}
    assert "target: localcloud at" in demo and "for always answering" in demo


def test_the_evaluation_is_told_in_a_table_and_on_a_page(flow, demo):
    [folder] = (local(flow) / "evaluations").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json",
        "evaluation.html",
        "predictions.csv",
    }
    evaluation = json.loads((folder / "evaluation.json").read_text())
    [dataset] = (local(flow) / "data").glob("*/dataset.json")
    validation = sum(json.loads(dataset.read_text())["counts"]["validation"].values())
    assert evaluation["trained_on_this_data"]
    assert evaluation["data"]["validation_photographs"] == validation > 30
    assert evaluation["detection"]["wrong_records"] == 0.05
    for said in (
        "neighbouring names",
        "published elsewhere",
        "wrong records caught",
        "bins unsure",
        "5 % of",
    ):
        assert said in demo
    assert f"the page        {folder / 'evaluation.html'}" in demo


def test_the_training_job_says_what_it_did(flow, demo):
    sagemaker = flow.client("sagemaker")
    [summary] = sagemaker.list_training_jobs(NameContains="bintally-train-", MaxResults=1)[
        "TrainingJobSummaries"
    ]
    job = sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
    assert job["ProfilerConfig"]["ProfilingIntervalInMilliseconds"] == 500
    metrics = {m["MetricName"] for m in job["FinalMetricDataList"]}
    assert metrics >= {"train:loss", "validation:loss", "validation:accuracy", "best:validation_accuracy"}
    log = flow.run(
        "bash",
        "-c",
        f"PATH={Path(sys.executable).parent}:$PATH {log_command(TRAINING_LOGS, job['TrainingJobName'])}",
    )
    assert log.returncode == 0 and "epoch=2/2" in log.stdout


def test_the_endpoint_keeps_what_it_was_asked_and_what_it_answered(flow, demo):
    s3 = flow.client("s3")
    bucket = "sagemaker-us-east-1-123456789012"

    def captured() -> list[dict]:
        keys = s3.list_objects_v2(Bucket=bucket, Prefix="bintally/capture/bintally/AllTraffic/").get(
            "Contents", []
        )
        bodies = [s3.get_object(Bucket=bucket, Key=k["Key"])["Body"].read().decode() for k in keys]
        records = [json.loads(line) for body in bodies for line in body.splitlines()]
        return records if len(records) >= 10 else []

    record = eventually(captured)[0]["captureData"]
    assert record["endpointInput"]["encoding"] == "BASE64"
    assert base64.b64decode(record["endpointInput"]["data"]).startswith(b"\xff\xd8\xff")
    assert record["endpointInput"]["observedContentType"] == "image/jpeg"
    assert json.loads(record["endpointOutput"]["data"])["verdict"] in ("match", "mismatch", "unsure")


def photograph(flow) -> Path:
    return next((local(flow) / "data" / "synthetic-0" / "dataset" / "test").glob("*/*.jpg"))


def test_predict_asks_about_files_and_s3_addresses(flow, demo):
    data = json.loads((local(flow) / "data" / "synthetic-0" / "dataset.json").read_text())
    path = photograph(flow)
    uri = f"{data['s3_uri']}/test/{path.parent.name}/{path.name}"
    done = service(flow, "predict", str(path), uri, "--expected", "3", "--json")
    assert done.returncode == 0, done.stderr
    from_file, from_s3 = map(json.loads, done.stdout.splitlines())
    assert from_file == from_s3 and from_file["expected"] == 3


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("predict", ["nowhere.jpg"], "nowhere.jpg: No such file or directory"),
        ("predict", ["README.md"], "application/octet-stream"),
        ("predict", ["s3://elsewhere/a.jpg"], "bucket_not_allowed"),
        ("predict", ["README.md", "--function", "absent"], "run 'make deploy' first"),
        ("train", ["epochs"], "'epochs' is not name=value"),
        ("train", ["--recipe", "README.md"], "README.md is not a recipe"),
        ("train", ["--data", "s3://nowhere/at/all"], "nowhere"),
        ("train", ["epoch=3"], "unknown hyperparameter epoch"),
        ("evaluate", ["--model", "s3://nowhere/model.tar.gz"], "nowhere"),
        ("evaluate", ["--wrong-records", "2"], "it is a share of all records, between 0 and 1"),
        ("deploy", ["--model", "s3://nowhere/model.tar.gz"], "nowhere"),
    ],
)
def test_plain_mistakes_end_with_one_clear_line(flow, demo, name, arguments, said):
    done = service(flow, name, *arguments)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()[-1:]
    assert line.startswith("error: ") and said in line
    assert "Traceback" not in done.stderr


def test_an_accelerator_is_asked_for_with_a_warning(flow, demo):
    """The serving environment has no torch, and says so: it does not serve on the cores in secret."""
    done = service(flow, "deploy", "--endpoint", "accelerated", "--accelerator", "ml.eia2.medium")
    assert done.returncode == 1
    assert "warning: AWS closed Elastic Inference in April 2024" in done.stderr
    assert "accelerator eia needs torch, which this image does not have" in done.stderr
    sagemaker = flow.client("sagemaker")
    [config] = sagemaker.list_endpoint_configs(NameContains="accelerated-")["EndpointConfigs"]
    config = sagemaker.describe_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    assert config["ProductionVariants"][0]["AcceleratorType"] == "ml.eia2.medium"
    assert (
        service(flow, "deploy", "--endpoint", "accelerated", "--function", "none", "--delete").returncode == 0
    )


def test_a_model_is_released_and_reproduced(flow, demo):
    shipped = local(flow) / "shipped"
    done = service(flow, "release", "--to", str(shipped))
    assert done.returncode != 0 and "report.html holds photographs" in done.stderr and not shipped.exists()
    recipe = ["architecture=tf_efficientnet_lite0", "report_pictures=false"]
    quiet = service(flow, "train", *TINY, "--processes", "1", *recipe)
    assert quiet.returncode == 0, quiet.stderr
    done = service(flow, "release", "--to", str(shipped))
    assert done.returncode != 0 and "has not been evaluated here" in done.stderr
    assert service(flow, "evaluate").returncode == 0
    done = service(flow, "release", "--to", str(shipped))
    assert done.returncode == 0, done.stderr
    card = json.loads((shipped / "card.json").read_text())
    assert card["metrics"]["test"]["accuracy"]["low"] < card["metrics"]["test"]["accuracy"]["high"]
    again = ["--source", "synthetic", "--without-extras", "--model", str(shipped)]
    assert "make reproduce SOURCE=folder" in service(flow, "reproduce", *again).stderr
    again += ["--photographs", "200"]
    done = service(flow, "reproduce", *again)
    assert done.returncode == 0 and "reproduced: accuracy" in done.stdout, done.stdout + done.stderr
    card["metrics"]["test"]["accuracy"] |= {"low": 0.999, "high": 1.0}
    (shipped / "card.json").write_text(json.dumps(card))
    training = json.loads((shipped / "training.json").read_text())
    (shipped / "training.json").write_text(json.dumps(training | {"processes": 2}))
    done = service(flow, "reproduce", *again)
    assert "2 process(es) on cpu" in done.stdout
    trained = re.search(r"s3://\S+/model.tar.gz", done.stdout)[0]
    assert done.returncode != 0 and "error: not reproduced: accuracy" in done.stderr
    done = service(flow, "reproduce", *again, "--trained", trained)
    assert "training job" not in done.stdout and "error: not reproduced: accuracy" in done.stderr
    card["recipe"]["seed"] = 1
    (shipped / "card.json").write_text(json.dumps(card))
    done = service(flow, "reproduce", *again, "--trained", trained)
    assert "is of another recipe or data set than" in done.stderr


def test_nothing_is_created_on_aws_unasked(flow):
    outside = {k: v for k, v in flow.environment.items() if k != "AWS_ENDPOINT_URL"}
    for name in ("data", "explore", "train", "evaluate", "deploy", "predict", "pipeline"):
        arguments = {"data": ["--source", "synthetic"], "predict": ["a.jpg"]}.get(name, [])
        done = subprocess.run(
            [sys.executable, "-m", f"services.{name}", *arguments],
            cwd=ROOT, env=outside, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1 and "add --aws" in done.stderr, name


def test_a_stopped_training_job_leaves_a_checkpoint_and_a_reason(flow, demo):
    data = json.loads((local(flow) / "data" / "synthetic-0" / "dataset.json").read_text())["s3_uri"]
    checkpoints = f"s3://sagemaker-us-east-1-123456789012/checkpoints/{os.getpid()}"
    started = service(
        flow, "train", "--data", data, "--processes", "2", "--checkpoints", checkpoints, "--no-wait",
        "--profiler", "off", *TINY, "epochs=500",
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    [job] = [line.split()[-1] for line in started.stdout.splitlines() if line.startswith("training job")]
    sagemaker, logs = flow.client("sagemaker"), flow.client("logs")

    def training() -> bool:
        streams = logs.describe_log_streams(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job}/"
        )["logStreams"]
        return any(
            "epoch=1/500" in event["message"]
            for s in streams
            for event in logs.get_log_events(
                logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=s["logStreamName"]
            )["events"]
        )

    eventually(training, 120)
    sagemaker.stop_training_job(TrainingJobName=job)

    def ended() -> dict | None:
        document = sagemaker.describe_training_job(TrainingJobName=job)
        return document if document["TrainingJobStatus"] in ("Stopped", "Failed") else None

    stopped = eventually(ended, 120)
    assert stopped["TrainingJobStatus"] == "Stopped" and "ProfilerConfig" not in stopped
    keys = flow.client("s3").list_objects_v2(
        Bucket="sagemaker-us-east-1-123456789012", Prefix=f"checkpoints/{os.getpid()}/"
    )["Contents"]
    assert [k["Key"].rsplit("/", 1)[1] for k in keys] == ["last.pt"]


def test_all_of_it_survives_a_restart(flow, demo):
    before = service(flow, "predict", str(photograph(flow)), "--expected", "3", "--json").stdout
    flow("down")
    down = service(flow, "predict", str(photograph(flow)))
    assert down.returncode == 1 and "localcloud is not running" in down.stderr and "make up" in down.stderr
    assert flow("up").returncode == 0
    assert service(flow, "predict", str(photograph(flow)), "--expected", "3", "--json").stdout == before
    evaluated = service(flow, "evaluate")  # the last model that was trained, though a job was stopped since
    assert evaluated.returncode == 0 and "the model that ships" not in evaluated.stdout


def test_deploying_again_replaces_the_model_and_delete_leaves_nothing(flow, demo):
    sagemaker = flow.client("sagemaker")
    first = sagemaker.describe_endpoint(EndpointName="bintally")["EndpointConfigName"]
    assert service(flow, "deploy").returncode == 0
    assert sagemaker.describe_endpoint(EndpointName="bintally")["EndpointConfigName"] != first
    assert service(flow, "deploy", "--delete").returncode == 0
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert flow.client("lambda").list_functions()["Functions"] == []
    assert sagemaker.list_models()["Models"] == sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert service(flow, "deploy", "--delete").returncode == 0
