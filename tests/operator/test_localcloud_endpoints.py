"""Endpoints that really serve, asked through boto3: errors, capture, blue/green, death, restart."""

import base64
import io
import json
import sys
import tarfile
import textwrap
import threading
import time
from pathlib import Path

import boto3
import psutil
import pytest
import waitress
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.logs.models import logs_backends

from localcloud import mirror
from localcloud.endpoints import Endpoints
from localcloud.errors import AwsError
from localcloud.gate import Turnstile
from localcloud.invoke import Invocations
from localcloud.objects import Objects
from localcloud.process import ProcessRuntime
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.store import Store

BUCKET = "endpoint-tests"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fake-serve:1"
SERVER = textwrap.dedent('''
    """A serving container that echoes, and does what X-Amzn-SageMaker-Custom-Attributes asks for."""
    import os, pathlib, sys, time
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
    name = os.environ.get("NAME", "")
    if os.environ.get("DIE") or os.path.exists(os.environ.get("DIE_IF", "")):
        sys.exit("RuntimeError: the model cannot be loaded")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        pings = 0
        def do_GET(self):
            Handler.pings += 1
            self.answer(200 if Handler.pings > int(os.environ.get("PINGS", "0")) else 503, b"", "text/plain")
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            verb, _, value = self.headers.get("X-Amzn-SageMaker-Custom-Attributes", "").partition("=")
            if verb == "status" or os.environ.get("STATUS"):
                status = int(os.environ.get("STATUS", value or "0"))
                return self.answer(status, b'{"error": "as asked"}', "application/json")
            if verb == "sleep":
                time.sleep(float(value))
            if verb == "exit":
                os._exit(int(value))
            if verb == "name":
                body = name.encode()
            if verb == "pid":
                body = str(os.getpid()).encode()
            if verb == "file":
                body = (base / "model" / value).read_bytes()
            if verb == "accept":
                body = self.headers["Accept"].encode()
            self.answer(200, body, self.headers["Content-Type"])
        def answer(self, status, body, content_type):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", "served-by=" + name)
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass

    print("serving", name, flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
''')


class Cloud:
    """Endpoints and their invocation front, as localcloud wires them, over moto's S3 in this process."""

    def __init__(self, folder: Path):
        script = folder / "server.py"
        script.write_text(SERVER)
        images = folder / "images.toml"
        images.write_text(f'[fake-serve]\nvenv = "{sys.prefix}"\nserve = ["python", "{script}"]\n')
        self.settings = Settings(folder / "cloud", "127.0.0.1", 1, images)
        if BUCKET not in mirror.backend().buckets:
            mirror.backend().create_bucket(BUCKET, "us-east-1")
        self.s3 = Objects(mirror.Mirror(folder / "s3"))
        self.start()

    def start(self) -> None:
        self.store = Store(self.settings.home / "store")
        self.endpoints = Endpoints(self.settings, ProcessRuntime(self.settings), self.store, self.s3)
        self.invocations = Invocations(self.endpoints)
        self.server = waitress.create_server(self.invocations, host="127.0.0.1", port=0, threads=16)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        self.runtime = boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{self.server.effective_port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=90),
        )

    def stop(self) -> None:
        self.endpoints.shutdown()
        self.server.close()

    def model(self, name: str, data: str | None = None, **environment: str) -> None:
        container = {"Image": IMAGE, "Environment": {"NAME": name, **environment}}
        if data:
            container["ModelDataUrl"] = data
        self.store.put("model", name, {"ModelName": name, "PrimaryContainer": container})

    def config(self, name: str, *variants: dict, **members) -> str:
        document = {"EndpointConfigName": name, "ProductionVariants": list(variants), **members}
        self.store.put("endpoint-config", name, document)
        return name

    def simple(self, name: str, members: dict | None = None, **environment: str) -> str:
        """A model and a configuration of one variant with one instance."""
        self.model(name, **environment)
        return self.config(name, variant("AllTraffic", name), **(members or {}))

    def deploy(self, endpoint: str, config: str) -> dict:
        self.endpoints.create({"EndpointName": endpoint, "EndpointConfigName": config})
        return self.settled(endpoint)

    def settled(self, endpoint: str) -> dict:
        """The description once nothing is going on any more."""
        return until(
            lambda: (d := self.endpoints.describe(endpoint))
            and d["EndpointStatus"] in ("InService", "Failed") and d
        )  # fmt: skip

    def invoke(self, endpoint: str, body: bytes = b"x", content_type: str = "text/plain", **members) -> dict:
        return self.runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType=content_type, **members
        )

    def ask(self, endpoint: str, verb: str, **members) -> str:
        return self.invoke(endpoint, CustomAttributes=f"{verb}=", **members)["Body"].read().decode()

    def gone(self, endpoint: str) -> bool:
        return self.store.get("endpoint", endpoint) is None


def variant(name: str, model: str, count: int = 1, weight: float = 1.0, **members) -> dict:
    return {
        "VariantName": name,
        "ModelName": model,
        "InitialInstanceCount": count,
        "InitialVariantWeight": weight,
        "InstanceType": "ml.m5.large",
        **members,
    }


def until(condition, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def echo(cloud) -> str:
    cloud.deploy("echo", cloud.simple("echo-1"))
    return "echo"


def test_a_megabyte_of_any_bytes_comes_back_unchanged(cloud, echo):
    body = bytes(range(256)) * 4096
    answer = cloud.invoke(echo, body, "application/octet-stream")
    assert answer["Body"].read() == body
    assert answer["ContentType"] == "application/octet-stream"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["CustomAttributes"] == "served-by=echo-1"


def test_accept_reaches_the_container(cloud, echo):
    assert cloud.ask(echo, "accept", Accept="text/csv") == "text/csv"


def test_description_and_listing(cloud, echo):
    description = cloud.endpoints.describe(echo)
    assert description["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/echo"
    assert description["EndpointConfigName"] == "echo-1"
    summary = description["ProductionVariants"][0]
    assert (summary["CurrentInstanceCount"], summary["CurrentWeight"]) == (1, 1.0)
    assert summary["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    listed = cloud.endpoints.list({"NameContains": "ech", "StatusEquals": "InService"})["Endpoints"]
    assert [e["EndpointName"] for e in listed] == [echo]
    assert cloud.endpoints.list({"NameContains": "nothing"}) == {"Endpoints": []}


def test_the_containers_error_is_a_model_error(cloud, echo):
    with pytest.raises(cloud.runtime.exceptions.ModelError) as caught:
        cloud.invoke(echo, CustomAttributes="status=415")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 415
    assert response["OriginalMessage"] == '{"error": "as asked"}'
    assert response["LogStreamArn"].endswith(":log-group:/aws/sagemaker/Endpoints/echo")
    assert response["Error"]["Message"].startswith("Received client error (415) from primary with message")


def test_a_container_that_answers_too_late_is_a_model_error(cloud, echo, monkeypatch):
    monkeypatch.setattr("localcloud.invoke.ANSWER_SECONDS", 0.2)
    with pytest.raises(cloud.runtime.exceptions.ModelError, match="timed out while waiting for a response"):
        cloud.invoke(echo, CustomAttributes="sleep=1")


def test_more_requests_than_there_is_room_for_are_throttled(cloud, echo, monkeypatch):
    room = Turnstile(1)
    monkeypatch.setattr(cloud.invocations, "_room", room)
    with room.enter(), pytest.raises(ClientError, match=r"ThrottlingException.*Rate exceeded"):
        cloud.ask(echo, "name")
    with pytest.raises(ClientError):
        cloud.invoke(echo, CustomAttributes="status=500")  # gives its place back, too
    assert cloud.ask(echo, "name") == "echo-1"


def test_an_unknown_endpoint(cloud):
    with pytest.raises(ClientError, match="Endpoint nowhere of account 123456789012 not found") as caught:
        cloud.invoke("nowhere")
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    for call in (cloud.endpoints.describe, lambda n: cloud.endpoints.delete({"EndpointName": n})):
        with pytest.raises(AwsError, match='Could not find endpoint "arn:aws:sagemaker'):
            call("nowhere")


def test_a_body_above_the_limit(cloud, echo):
    with pytest.raises(ClientError, match="HTTP content length exceeded 26214400 bytes") as caught:
        cloud.invoke(echo, bytes(26214401))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_the_model_is_unpacked_where_the_container_looks(cloud):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("weights.bin")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"\x00\x01\x02"))
    cloud.s3.put(BUCKET, "m/model.tar.gz", packed.getvalue())
    cloud.model("unpacked", f"s3://{BUCKET}/m/model.tar.gz")
    cloud.deploy("unpacked", cloud.config("unpacked", variant("a", "unpacked")))
    answer = cloud.invoke("unpacked", CustomAttributes="file=weights.bin")
    assert answer["Body"].read() == b"\x00\x01\x02"


@pytest.mark.parametrize(
    ("members", "data", "reason"),
    [
        ({"DIE": "1"}, None, "ended with status 1: RuntimeError: the model cannot be loaded"),
        ({"PINGS": "1000000"}, None, "did not pass the ping health check within 0.5 s"),
        ({}, f"s3://{BUCKET}/missing.tar.gz", "failed to download model data"),
        ({}, f"s3://{BUCKET}/damaged.tar.gz", "is not a usable model.tar.gz"),
    ],
)
def test_an_endpoint_that_cannot_start_fails_with_the_reason(cloud, members, data, reason):
    cloud.s3.put(BUCKET, "damaged.tar.gz", b"not an archive")
    cloud.model("broken", data, **members)
    config = cloud.config(
        "broken",
        variant("a", "broken", ContainerStartupHealthCheckTimeoutInSeconds=0.5 if "PINGS" in members else 60),
    )
    description = cloud.deploy("broken", config)
    assert description["EndpointStatus"] == "Failed"
    assert reason in description["FailureReason"]
    cloud.endpoints.delete({"EndpointName": "broken"})
    until(lambda: cloud.gone("broken"))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"AsyncInferenceConfig": {"OutputConfig": {}}}, "asynchronous inference"),
        ({"ShadowProductionVariants": [{}]}, "shadow variants"),
        (
            {"ProductionVariants": [variant("a", "echo-1", ServerlessConfig={"MemorySizeInMB": 1})]},
            "serverless",
        ),
        ({"ProductionVariants": [variant("a", "echo-1", 9)]}, "at most 8 instances"),
        ({"ProductionVariants": [{"VariantName": "a"}]}, "inference components"),
        ({"ProductionVariants": [variant("a", "multi")]}, "multi-model"),
        ({"ProductionVariants": [variant("a", "missing")]}, 'Could not find model "missing"'),
        ({"ProductionVariants": [variant("a", "unknown-image")]}, "no image named 'other'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(cloud, echo, config, named):
    multi = {"Image": IMAGE, "Mode": "MultiModel"}
    cloud.store.put("model", "multi", {"ModelName": "multi", "PrimaryContainer": multi})
    other = {"ModelName": "unknown-image", "PrimaryContainer": {"Image": "other:1"}}
    cloud.store.put("model", "unknown-image", other)
    document = {"EndpointConfigName": "refused", "ProductionVariants": [variant("a", "echo-1")], **config}
    cloud.store.put("endpoint-config", "refused", document)
    params = {"EndpointName": "refused", "EndpointConfigName": "refused"}
    with pytest.raises(AwsError, match=named) as caught:
        cloud.endpoints.create(params)
    assert caught.value.code == "ValidationException"
    with pytest.raises(AwsError, match=named):
        cloud.endpoints.update({**params, "EndpointName": echo})
    assert cloud.gone("refused") and cloud.endpoints.describe(echo)["EndpointStatus"] == "InService"


def test_a_name_cannot_lead_out_of_its_folder(cloud):
    with pytest.raises(AwsError, match="regular expression pattern"):
        cloud.endpoints.create({"EndpointName": "../../up", "EndpointConfigName": "any"})


def test_accelerators_are_accepted(cloud):
    cloud.model("accelerated")
    config = cloud.config("accelerated", variant("a", "accelerated", AcceleratorType="ml.eia2.medium"))
    assert cloud.deploy("accelerated", config)["EndpointStatus"] == "InService"


def test_variants_share_the_traffic_and_can_be_asked_for(cloud):
    cloud.model("old")
    cloud.model("new")
    config = cloud.config("split", variant("A", "old", 2), variant("B", "new", 1, weight=0.0))
    cloud.deploy("split", config)
    assert {cloud.ask("split", "name") for _ in range(20)} == {"old"}  # B has no weight
    assert len({cloud.ask("split", "pid") for _ in range(4)}) == 2  # A's two instances take turns
    assert cloud.ask("split", "name", TargetVariant="B") == "new"
    with pytest.raises(ClientError, match="Variant C of endpoint split not found"):
        cloud.ask("split", "name", TargetVariant="C")


def test_an_update_loses_no_request_and_a_failed_one_changes_nothing(cloud):
    cloud.deploy("live", cloud.simple("live-1"))
    first = psutil.Process(int(cloud.ask("live", "pid")))
    answered, failed, ended = [], [], threading.Event()

    def load() -> None:
        while not ended.is_set():
            try:
                answered.append(cloud.ask("live", "name"))
            except Exception as error:
                failed.append(error)

    slow = []
    in_flight = threading.Thread(
        target=lambda: slow.append(cloud.invoke("live", b"s", CustomAttributes="sleep=1.5"))
    )
    threads = [in_flight, *(threading.Thread(target=load) for _ in range(3))]
    for thread in threads:
        thread.start()
    config = cloud.simple("live-2", PINGS="3")
    cloud.endpoints.update({"EndpointName": "live", "EndpointConfigName": config})
    during = cloud.endpoints.describe("live")
    assert during["EndpointStatus"] == "Updating" and during["EndpointConfigName"] == "live-1"
    assert during["PendingDeploymentSummary"]["EndpointConfigName"] == "live-2"
    with pytest.raises(AwsError, match="Cannot update in-progress endpoint"):
        cloud.endpoints.update({"EndpointName": "live", "EndpointConfigName": config})
    after = cloud.settled("live")
    until(lambda: answered[-1] == "live-2")
    ended.set()
    for thread in threads:
        thread.join()
    assert failed == [] and set(answered) == {"live-1", "live-2"}
    assert slow[0]["Body"].read() == b"s"  # begun on the old fleet, which waited for it
    assert after["EndpointConfigName"] == "live-2" and "FailureReason" not in after
    assert not first.is_running()

    cloud.endpoints.update({"EndpointName": "live", "EndpointConfigName": cloud.simple("live-3", DIE="1")})
    kept = cloud.settled("live")
    assert (kept["EndpointStatus"], kept["EndpointConfigName"]) == ("InService", "live-2")
    assert "the model cannot be loaded" in kept["FailureReason"]
    assert cloud.ask("live", "name") == "live-2"


def test_a_dead_worker_is_started_again_and_requests_wait_for_it(cloud):
    cloud.deploy("mortal", cloud.simple("mortal"))
    before = cloud.ask("mortal", "pid")
    with pytest.raises(cloud.runtime.exceptions.ModelError, match="closed the connection"):
        cloud.invoke("mortal", CustomAttributes="exit=3")
    assert cloud.ask("mortal", "pid") != before
    process = psutil.Process(int(cloud.ask("mortal", "pid")))
    process.kill()
    process.wait()
    assert cloud.ask("mortal", "name") == "mortal"


def test_capture_is_written_as_sagemaker_writes_it(cloud):
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {
            "JsonContentTypes": ["application/json"],
            "CsvContentTypes": ["text/csv"],
        },
    }
    cloud.deploy("captured", cloud.simple("captured", {"DataCaptureConfig": capture}))
    photograph = bytes(range(256))
    cloud.invoke("captured", b'{"a": 1}', "application/json", InferenceId="id-7", CustomAttributes="trace=9")
    cloud.invoke("captured", b"1,2", "text/csv; charset=utf-8")
    cloud.invoke("captured", photograph, "image/jpeg")
    with pytest.raises(ClientError):
        cloud.invoke("captured", CustomAttributes="status=500")
    assert cloud.endpoints.describe("captured")["DataCaptureConfig"]["CaptureStatus"] == "Started"
    cloud.endpoints.delete({"EndpointName": "captured"})
    until(lambda: cloud.gone("captured"))

    keys = cloud.s3.list(BUCKET, "captured/captured/AllTraffic/")
    records = [json.loads(line) for k in keys for line in cloud.s3.get(BUCKET, k).decode().splitlines()]
    first, second, third = records
    assert first["eventMetadata"]["inferenceId"] == "id-7"
    assert first["eventMetadata"]["customAttributes"] == ["trace=9"]
    assert first["captureData"]["endpointInput"] == {
        "observedContentType": "application/json", "mode": "INPUT", "data": '{"a": 1}', "encoding": "JSON",
    }  # fmt: skip
    assert first["captureData"]["endpointOutput"]["mode"] == "OUTPUT" and first["eventVersion"] == "0"
    assert second["captureData"]["endpointInput"]["encoding"] == "CSV"
    assert third["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert base64.b64decode(third["captureData"]["endpointInput"]["data"]) == photograph
    hour, name = keys[0].removeprefix("captured/captured/AllTraffic/").rsplit("/", 1)
    time.strptime(hour, "%Y/%m/%d/%H")
    assert time.strptime(name[:5], "%M-%S") and name[5] == "-" and name.endswith(".jsonl")


def test_nothing_is_captured_unless_it_is_asked_for(cloud):
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 0,
        "DestinationS3Uri": f"s3://{BUCKET}/unsampled",
        "CaptureOptions": [{"CaptureMode": "Output"}],
    }
    cloud.deploy("unsampled", cloud.simple("unsampled", {"DataCaptureConfig": capture}))
    cloud.invoke("unsampled")
    disabled = {**capture, "InitialSamplingPercentage": 100, "EnableCapture": False}
    cloud.endpoints.update(
        {
            "EndpointName": "unsampled",
            "EndpointConfigName": cloud.simple("disabled", {"DataCaptureConfig": disabled}),
        }
    )
    assert cloud.settled("unsampled")["DataCaptureConfig"]["CaptureStatus"] == "Stopped"
    cloud.invoke("unsampled")
    cloud.endpoints.capture.flush()
    assert cloud.s3.list(BUCKET, "unsampled") == []


def test_deletion_answers_what_is_in_flight_and_leaves_no_process(cloud):
    cloud.deploy("doomed", cloud.simple("doomed"))
    process = psutil.Process(int(cloud.ask("doomed", "pid")))
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(cloud.invoke("doomed", CustomAttributes="sleep=0.5"))
    )
    thread.start()
    until(lambda: cloud.endpoints.fleet("doomed").in_flight)
    cloud.endpoints.delete({"EndpointName": "doomed"})
    assert cloud.endpoints.describe("doomed")["EndpointStatus"] == "Deleting"
    thread.join()
    assert answers[0]["Body"].read() == b"x"
    until(lambda: cloud.gone("doomed"))
    assert not process.is_running()
    with pytest.raises(ClientError, match="not found"):
        cloud.invoke("doomed")


def test_an_endpoint_can_be_deleted_while_it_is_being_created(cloud):
    cloud.endpoints.create(
        {"EndpointName": "early", "EndpointConfigName": cloud.simple("early", PINGS="1000000")}
    )
    cloud.endpoints.delete({"EndpointName": "early"})
    until(lambda: cloud.gone("early"))


def logged(endpoint: str) -> dict[str, list[str]]:
    """Stream -> lines, of all that an endpoint's instances wrote."""
    group = logs_backends[ACCOUNT][REGION].groups[f"/aws/sagemaker/Endpoints/{endpoint}"]
    return {name: [event.message for event in stream.events] for name, stream in group.streams.items()}


def test_what_was_in_service_comes_back_after_a_restart(tmp_path):
    cloud = Cloud(tmp_path)
    cloud.deploy("back", cloud.simple("back"))
    cloud.endpoints.update({"EndpointName": "back", "EndpointConfigName": cloud.simple("dead", DIE="1")})
    assert "the model cannot be loaded" in cloud.settled("back")["FailureReason"]
    old = psutil.Process(int(cloud.ask("back", "pid")))
    cloud.store.delete("model", "back")  # an endpoint lives on without its model's record
    cloud.store.delete("endpoint-config", "back")
    cloud.stop()
    assert not old.is_running()
    before = logged("back")
    [live] = [stream for stream, lines in before.items() if lines == ["serving back"]]
    assert sorted(map(len, before.values())) == [1, 1]
    identity = live.removeprefix("AllTraffic/i-").removesuffix("0")
    retired = cloud.settings.home / "endpoints" / "back" / identity / "AllTraffic-30" / "log"
    retired.parent.mkdir()
    retired.write_text("scaled in\n")
    before[f"AllTraffic/i-{identity}1e"] = ["scaled in"]
    logs_backends[ACCOUNT][REGION].delete_log_group("/aws/sagemaker/Endpoints/back")  # as in a new process
    cloud.start()
    cloud.endpoints.resume()
    try:
        new = psutil.Process(int(cloud.ask("back", "pid")))  # sent before it is ready: waits
        assert cloud.ask("back", "name") == "back"
        assert cloud.settled("back")["EndpointStatus"] == "InService"
        before[live] *= 2  # it has been started twice
        until(lambda: logged("back") == before)
        two = {"VariantName": "AllTraffic", "DesiredInstanceCount": 2}
        cloud.endpoints.scale({"EndpointName": "back", "DesiredWeightsAndCapacities": [two]})
        cloud.settled("back")
        before[f"AllTraffic/i-{identity}1f"] = ["serving back"]  # not one that has a log already
        until(lambda: logged("back") == before)
    finally:
        cloud.stop()
    assert not new.is_running()
