"""The monitor against localcloud: an endpoint that is a few lines, captured records that the test writes."""

import dataclasses
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from containers.common import card as cards
from containers.common import photograph as photographs
from containers.common.errors import ServiceError, SettingsError
from containers.train.monitor import baseline
from containers.train.monitor.appearance import measure
from services import alarms, artifacts, console, monitor, retraining, rollout
from services import pipeline as pipelines
from services.aws import Aws
from services.settings import Settings
from services.windows import Windows
from tests.captured import answer, key, lines, photograph, record
from tests.operator.conftest import ACCOUNT_ROLE, Cloud, eventually, service

BUCKET = "sagemaker-us-east-1-123456789012"
CAPTURE = "bintally/capture/bintally"
CLASSES = [1, 2, 3, 4, 5]
SERVER = """
    import http.server, json, os

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = os.environ["ANSWER"].encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
ENDLESS = "import time; time.sleep(600)"


def artifact(name: str, with_baseline: bool) -> bytes:
    """``model.tar.gz`` with a card alone: the monitor reads no more of it."""
    card = cards.read(artifacts.SHIPPED)
    described = None
    if with_baseline:
        images = [photographs.decode(photograph(seed)) for seed in range(150)]
        seen = [measure(photographs.resize(image, card.resize), image.size) for image in images]
        probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 400)
        described = baseline.describe(seen, probabilities, CLASSES, [10] * 5)
    card = dataclasses.replace(card, name=name, baseline=described)
    text = json.dumps(dataclasses.asdict(card)).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo(cards.FILE)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return stream.getvalue()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A localcloud with an endpoint that captures, whose model's card has a baseline."""
    folder = tmp_path_factory.mktemp("monitor")
    cloud = Cloud(folder / "cloud")
    serve = cloud.image("tiny-serve", "serve", SERVER)
    endless = cloud.image("endless", "train", ENDLESS)
    assert cloud("up").returncode == 0
    cloud.environment["BINTALLY_LOCAL"] = str(folder / "local")
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    for name in ("with", "without"):
        put(cloud, f"{name}/model.tar.gz", artifact(name, name == "with"))
        deploy(cloud, name, serve)
    cloud.client("sagemaker").create_pipeline(
        PipelineName="bintally",
        RoleArn=ACCOUNT_ROLE,
        ClientRequestToken="p" * 32,
        PipelineDefinition=json.dumps(pipeline(endless)),
    )
    yield cloud
    cloud("down")


def deploy(cloud: Cloud, model: str, image: str) -> None:
    """An endpoint of the model's name, ``with`` being ``bintally``."""
    sagemaker, name = cloud.client("sagemaker"), {"with": "bintally"}.get(model, model)
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ACCOUNT_ROLE,
        PrimaryContainer={
            "Image": image,
            "ModelDataUrl": f"s3://{BUCKET}/{model}/model.tar.gz",
            "Environment": {"ANSWER": json.dumps(answer(model=model))},
        },
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1,
             "InstanceType": "ml.m5.large"}
        ],
        DataCaptureConfig={
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{BUCKET}/bintally/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        },
    )  # fmt: skip
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})


def pipeline(image: str) -> dict:
    """One step that does not end by itself."""
    step = {
        "Name": "Train",
        "Type": "Processing",
        "Arguments": {
            "RoleArn": ACCOUNT_ROLE,
            "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": ["python", "-c", ENDLESS]},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
            },
        },
    }
    parameters = [{"Name": name, "Type": "String"} for name in ("DataUri", "RecipeUri", "EndpointName")]
    return {"Version": "2020-12-01", "Parameters": parameters, "Steps": [step]}


def put(cloud: Cloud, name: str, body: bytes) -> None:
    cloud.client("s3").put_object(Bucket=BUCKET, Key=name, Body=body)


def captured(cloud: Cloud, hour: datetime, name: str, seed: int, light: float, variant: str = "AllTraffic"):
    """120 requests in that hour, answered as on validation."""
    rows = np.random.default_rng(seed).dirichlet(np.ones(5), 120)
    body = lines(
        record(f"{name}-{n}", hour, answer(int(row.argmax()) + 1, float(row.max()), model="with"),
               photograph(seed * 1000 + n, light))
        for n, row in enumerate(rows)
    )  # fmt: skip
    put(cloud, key(CAPTURE, variant, hour, name), body)


@pytest.fixture(scope="module")
def now() -> datetime:
    """The start of this hour; what the test writes lies in whole hours before it."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def ahead(now: datetime) -> str:
    """An end that does not move should the hour turn, nor is in the past, of which there are no alarms."""
    return (now + timedelta(hours=2)).isoformat()


@pytest.fixture(scope="module")
def usual(cloud, now) -> str:
    """What the monitor printed of two hours of ordinary requests to two variants."""
    captured(cloud, now - timedelta(hours=3), "early", seed=1, light=1)
    captured(cloud, now - timedelta(hours=2), "late", seed=2, light=1, variant="Canary")
    hour = now - timedelta(hours=2)
    put(cloud, key(CAPTURE, "AllTraffic", hour, "damaged"), b"{\n" + record("x", hour)[:40] + b"\n")
    feedback = [{"event_id": f"early-{n}", "count": 3} for n in range(110)] + [{"event_id": "?", "count": 1}]
    put(cloud, "bintally/feedback/bintally/monday.jsonl", "\n".join(map(json.dumps, feedback)).encode())
    done = service(cloud, "monitor", "--since", "5h", "--until", ahead(now), "--sample", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def newest(cloud: Cloud) -> tuple[dict, str]:
    """(document, page) of the last reading."""
    folder = max((Path(cloud.environment["BINTALLY_LOCAL"]) / "monitor").iterdir())
    return json.loads((folder / "monitor.json").read_text()), (folder / "monitor.html").read_text()


def states(cloud: Cloud) -> dict[str, str]:
    found = cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix="bintally-bintally-")["MetricAlarms"]
    return {a["AlarmName"].removeprefix("bintally-bintally-"): a["StateValue"] for a in found}


def test_a_reading_of_several_variants_hours_and_damage(cloud, usual):
    document, page = newest(cloud)
    assert document["records"]["by_variant"] == {"AllTraffic": 120, "Canary": 120}
    assert document["records"]["unusable"] == {"not a capture record": 2}
    assert [w["records"] for w in document["windows"]] == [120, 120]
    assert document["records"]["photographs_measured"] == 120
    assert document["recent"]["drift"]["brightness"] < 0.25 and document["metrics"]["Drift"] < 0.25
    assert document["feedback"] | {"place": ""} == {
        "place": "", "counts": 111, "joined": 110, "unknown": 1, "unreadable": 0,
    }  # fmt: skip
    assert "much has changed" not in page and "little has changed" in page and page.count("<svg") == 7
    assert "unusable        2 records" in usual and "1 counts name events that were not read" in usual


def test_what_it_says_is_published_and_watched(cloud, usual):
    document, _ = newest(cloud)
    cloudwatch = cloud.client("cloudwatch")
    start = datetime.now(UTC) - timedelta(hours=1)
    for name, value in document["metrics"].items():
        found = cloudwatch.get_metric_statistics(
            Namespace="BinTally", MetricName=name, Dimensions=[{"Name": "EndpointName", "Value": "bintally"}],
            StartTime=start, EndTime=start + timedelta(hours=2), Period=7200, Statistics=["Average"],
        )["Datapoints"]  # fmt: skip
        assert [d["Average"] for d in found] == [pytest.approx(value)], name
    assert set(document["metrics"]) == {
        "CapturedRequests", "InputDrift", "PredictionDrift", "Drift", "MeanConfidence", "MismatchRate",
        "UnsureRate", "Accuracy", "AccuracyAtBest",
    }  # fmt: skip
    expected = {
        "mismatch": "OK",
        "drift": "OK",
        "confidence": "OK",
        "accuracy": "ALARM",
        "no-traffic": "ALARM",
    }
    eventually(lambda: states(cloud) == expected)
    [alarm] = cloudwatch.describe_alarms(AlarmNames=["bintally-bintally-accuracy"])["MetricAlarms"]
    tested = cards.read(artifacts.SHIPPED).metrics["test"]["accuracy"]["value"]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("AccuracyAtBest", pytest.approx(tested - 0.05))
    assert "even at best" in alarm["AlarmDescription"]
    tags = cloudwatch.list_tags_for_resource(
        ResourceARN="arn:aws:cloudwatch:us-east-1:123456789012:alarm:bintally-bintally-drift"
    )["Tags"]
    assert tags == [{"Key": "project", "Value": "bintally"}]


def test_darkened_photographs_set_the_alarm_off_and_start_the_pipeline_once(cloud, usual, now, aws, capsys):
    captured(cloud, now - timedelta(hours=1), "dark", seed=3, light=0.6)
    # The reading before published an accuracy, perhaps within the minute that an alarm looks at: no drop of
    # it is to be what the pipeline is started for.
    only_drift = ("--accuracy-drop", "1", "--recent", "3h")
    data = ("--data", f"s3://{BUCKET}/data")
    arguments = ("--since", "3h", "--until", ahead(now), *only_drift, "--retrain", *data)
    done = service(cloud, "monitor", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "retraining      for alarm bintally-bintally-drift" in done.stdout
    document, page = newest(cloud)
    assert document["metrics"]["InputDrift"] > 0.25 and "much has changed" in page
    assert document["recent"]["records"] == 120 and states(cloud)["drift"] == "ALARM"
    assert retraining.retrain(aws, alarms.states(aws, "bintally"), starter(aws)) is None
    assert "is under way" in capsys.readouterr().out and len(executions(cloud)) == 1


def test_a_model_without_a_baseline_is_monitored(cloud):
    runtime = cloud.client("sagemaker-runtime")
    for _ in range(3):
        runtime.invoke_endpoint(EndpointName="without", Body=photograph(1), ContentType="image/jpeg")

    def seen() -> bool:
        listed = cloud.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="bintally/capture/without/")
        return listed["KeyCount"] > 0

    eventually(seen)
    done = service(
        cloud, "monitor", "--endpoint", "without", "--since", "1h", "--window", "1m", "--recent", "1h"
    )
    assert done.returncode == 0, done.stderr
    assert "no baseline     in the model's card" in done.stdout
    document, page = newest(cloud)
    assert document["records"]["read"] >= 1 and document["metrics"] == {
        "CapturedRequests": document["records"]["read"]
    }
    assert "carries no baseline" in page
    found = cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix="bintally-without-")["MetricAlarms"]
    assert {a["AlarmName"] for a in found} == {
        "bintally-without-mismatch", "bintally-without-accuracy", "bintally-without-no-traffic",
    }  # fmt: skip


@pytest.fixture
def aws(cloud, monkeypatch) -> Iterator[Aws]:
    """As the cloud's own; what was started is stopped in the end, since a later test asks what runs."""
    for name, value in cloud.environment.items():
        if name.startswith(("AWS_", "BINTALLY_")):
            monkeypatch.setenv(name, value)
    yield Aws(Settings.load())
    stop(cloud)


def executions(cloud: Cloud) -> list[dict]:
    return cloud.client("sagemaker").list_pipeline_executions(PipelineName="bintally")[
        "PipelineExecutionSummaries"
    ]


def stop(cloud: Cloud) -> None:
    """Every execution that runs."""
    for execution in executions(cloud):
        if execution["PipelineExecutionStatus"] == "Executing":
            cloud.client("sagemaker").stop_pipeline_execution(
                PipelineExecutionArn=execution["PipelineExecutionArn"], ClientRequestToken="s" * 32
            )
    eventually(lambda: {e["PipelineExecutionStatus"] for e in executions(cloud)} <= {"Stopped"})


def starter(aws: Aws) -> Callable[..., str]:
    """What the monitor has ``retrain`` start."""
    asked = ["start", "--endpoint-name", "bintally", "--data", "s3://b/data"]
    return partial(pipelines.start, aws, pipelines.parser().parse_args(asked))


def test_an_alarm_is_answered_once_each_time_that_it_goes_off(cloud, aws, capsys):
    """``retrain`` alone, with alarms that are set by hand."""
    alarms.put(aws, "once", alarms.wanted(alarms.Thresholds(), {"answers": {"mean_confidence": 0.5}}, 0.5))

    def go(state: str) -> str | None:
        aws.client("cloudwatch").set_alarm_state(
            AlarmName="bintally-once-confidence", StateValue=state, StateReason="by hand"
        )
        return retraining.retrain(aws, alarms.states(aws, "once"), starter(aws))

    assert go("OK") is None and "not needed" in capsys.readouterr().out
    first = go("ALARM")
    assert first and retraining.retrain(aws, alarms.states(aws, "once"), starter(aws)) is None
    assert "is under way" in capsys.readouterr().out
    stop(cloud)
    assert retraining.retrain(aws, alarms.states(aws, "once"), starter(aws)) is None
    assert "has answered this alarm" in capsys.readouterr().out
    assert go("OK") is None
    assert go("ALARM") not in (None, first)


def test_without_a_pipeline_it_says_so(aws, monkeypatch):
    monkeypatch.setenv("BINTALLY_PIPELINE", "absent")
    alarm = {"AlarmName": "a", "StateValue": "ALARM", "StateUpdatedTimestamp": datetime.now(UTC)}
    with pytest.raises(ServiceError, match="no pipeline absent to retrain with: run 'make pipeline' first"):
        retraining.retrain(Aws(Settings.load()), {"drift": alarm}, lambda **named: "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "absent"], "no endpoint absent that serves: run 'make deploy' first"),
    ],
)
def test_plain_mistakes_end_with_one_clear_line(cloud, arguments, said):
    done = service(cloud, "monitor", "--since", "1h", *arguments)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()[-1:]
    assert line.startswith("error: ") and said in line and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "soon"], "--since: 'soon' is no time"),
        (["--window", "90s"], "whole minutes"),
        (["--recent", "90m"], "whole windows"),
        (["--since", "1h", "--until", "2h"], "is not before"),
        (["--window", "1m"], "windows, and a page shows 1,000"),
        (["--retrain", "--no-alarms"], "leave --no-alarms out"),
        (["--retrain", "--until", "1h"], "leave --until 1h out"),
        (["--sample", "-1"], "--sample -1 is no number of photographs"),
    ],
)
def test_times_that_make_no_sense_are_refused_before_anything_starts(arguments, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        monitor.main(arguments)


@pytest.mark.parametrize(("until", "moved"), [("now", ["put", "put_no_traffic", "publish"]), ("1h", [])])
def test_a_reading_of_the_past_leaves_the_alarms_of_today(monkeypatch, tmp_path, capsys, until, moved):
    document = {
        "live": {"baseline": None, "accuracy": 0.4},
        "metrics": {"MismatchRate": 0.9},
        "recent": {"records": 100},
        "records": {"read": 100, "unusable": {}},
        "feedback": {"unknown": 0},
    }
    monkeypatch.setattr(console, "target", lambda *_: None)
    monkeypatch.setattr(rollout, "describe", lambda *_: {"ProductionVariants": [{}]})
    monkeypatch.setattr(monitor, "read", lambda *_: (document, tmp_path))
    done = []
    for name in ("put", "put_no_traffic", "publish"):
        monkeypatch.setattr(alarms, name, lambda *_, name=name: done.append(name))
    monitor.main(["--until", until])
    assert done == moved
    assert ("no metrics published, no alarms put" in capsys.readouterr().out) == (until != "now")


def test_no_more_is_recent_than_is_read():
    assert Windows.parse("2026-07-01T12:00", "2026-07-01T13:00", "1h", "24h").recent == 3600


def test_nothing_is_created_on_aws_unasked(cloud):
    outside = {k: v for k, v in cloud.environment.items() if k != "AWS_ENDPOINT_URL"}
    done = service(type("Outside", (), {"environment": outside}), "monitor")
    assert done.returncode == 1 and "add --aws" in done.stderr
