"""Lambda functions in real awslambdaric processes, asked through boto3."""

import base64
import json
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import psutil
import pytest
import waitress
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.logs.models import logs_backends

from localcloud.errors import AwsError
from localcloud.functions import Functions
from localcloud.invoke import MOST_AT_ONCE
from localcloud.pool import MOST_SANDBOXES, MOST_WAITING
from localcloud.process import ProcessRuntime
from localcloud.settings import ACCOUNT, PROJECT, REGION, Settings
from localcloud.store import Store
from localcloud.transport import THREADS

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/bintally-function:1"
ROLE = "arn:aws:iam::123456789012:role/function"
HANDLERS = textwrap.dedent('''
    import os, pathlib, threading, time

    def echo(event, context):
        print("seen", event)
        return {"event": event, "pid": os.getpid(), "greeting": os.environ.get("GREETING"),
                "name": context.function_name, "arn": context.invoked_function_arn,
                "left": context.get_remaining_time_in_millis(),
                "client": context.client_context and context.client_context.custom,
                "region": os.environ["AWS_REGION"], "endpoint": os.environ["AWS_ENDPOINT_URL"]}

    def fail(event, context):
        raise ValueError("no such bin")

    def crash(event, context):
        os._exit(event)

    def sleep(event, context):
        pathlib.Path(event["pid"]).write_text(str(os.getpid()))
        time.sleep(60)

    def large(event, context):
        return "x" * event

    def meet(event, context):
        """Returns once as many processes as ``event`` says are in here together."""
        folder = pathlib.Path(event["folder"])
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < event["parties"]:
            time.sleep(0.01)
        return os.getpid()

    def write(event, context):
        pathlib.Path(event).write_text("done")
''')


class Cloud:
    def __init__(self, folder: Path):
        (folder / "handlers.py").write_text(HANDLERS)
        (folder / "unloadable.py").write_text("import a_module_that_is_missing\n")
        self.folder = folder
        self.settings = Settings(folder / "cloud", "127.0.0.1", 1, PROJECT / "docker" / "images.toml")
        self.start()

    def start(self) -> None:
        self.functions = Functions(
            self.settings, ProcessRuntime(self.settings), Store(self.settings.home / "store")
        )
        self.functions.resume()
        self.server = waitress.create_server(self.functions, host="127.0.0.1", port=0, threads=16)
        threading.Thread(target=self.server.run, daemon=True).start()
        self.client = boto3.client(
            "lambda",
            endpoint_url=f"http://127.0.0.1:{self.server.effective_port}",
            region_name=REGION,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def stop(self) -> None:
        self.functions.shutdown()
        self.server.close()

    def create(self, name: str, handler: str, **members) -> dict:
        variables = {"PYTHONPATH": str(self.folder), **members.pop("variables", {})}
        return self.client.create_function(
            FunctionName=name,
            PackageType="Image",
            Code={"ImageUri": IMAGE},
            Role=ROLE,
            ImageConfig={"Command": [handler]},
            Environment={"Variables": variables},
            **members,
        )

    def invoke(self, name: str, event=None, **members) -> tuple[object, str | None]:
        """(answer, FunctionError)"""
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(event), **members)
        assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
        return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def until(condition, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("functions"))
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def echo(cloud) -> str:
    cloud.create("echo", "handlers.echo", variables={"GREETING": "hello"}, Timeout=30)
    return "echo"


def test_creation_describes_the_function(cloud):
    created = cloud.create("described", "handlers.echo", MemorySize=256, Description="d", Tags={"a": "b"})
    assert created["FunctionArn"] == "arn:aws:lambda:us-east-1:123456789012:function:described"
    assert (created["State"], created["LastUpdateStatus"]) == ("Active", "Successful")
    assert (created["Timeout"], created["MemorySize"]) == (3, 256)
    for waiter in ("function_exists", "function_active_v2", "function_updated_v2"):
        cloud.client.get_waiter(waiter).wait(FunctionName="described")
    got = cloud.client.get_function(FunctionName=created["FunctionArn"])
    assert got["Code"]["ImageUri"] == IMAGE and got["Tags"] == {"a": "b"}
    assert got["Configuration"]["ImageConfigResponse"]["ImageConfig"] == {"Command": ["handlers.echo"]}
    assert got["Configuration"]["RevisionId"] == created["RevisionId"]
    assert "described" in [f["FunctionName"] for f in cloud.client.list_functions()["Functions"]]
    pages = cloud.client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    assert sum(len(page["Functions"]) for page in pages) >= 1
    cloud.client.delete_function(FunctionName="described")
    with pytest.raises(
        cloud.client.exceptions.ResourceNotFoundException, match="Function not found: arn:aws"
    ):
        cloud.client.get_function(FunctionName="described")


def test_an_invocation_reaches_the_handler_and_its_process_is_kept_warm(cloud, echo):
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    answer, error = cloud.invoke(echo, {"bin": "01044"}, ClientContext=context)
    assert error is None
    assert answer["event"] == {"bin": "01044"} and answer["greeting"] == "hello"
    assert answer["name"] == "echo" and answer["arn"].endswith(":function:echo")
    assert answer["client"] == {"k": "v"} and 0 < answer["left"] <= 30_000
    assert answer["endpoint"] == cloud.settings.url and answer["region"] == REGION
    again, _ = cloud.invoke("arn:aws:lambda:us-east-1:123456789012:function:echo:$LATEST")
    assert again["pid"] == answer["pid"]


def test_the_log_comes_with_the_answer_and_goes_to_cloudwatch(cloud, echo):
    answer = cloud.client.invoke(FunctionName=echo, Payload=b'"in the log"', LogType="Tail")
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert "seen in the log" in tail and "START RequestId: " in tail and "REPORT RequestId: " in tail
    group = logs_backends[ACCOUNT][REGION].groups["/aws/lambda/echo"]
    until(lambda: any("seen in the log" in e.message for s in group.streams.values() for e in s.events))


def test_an_exception_is_an_unhandled_function_error(cloud):
    cloud.create("fail", "handlers.fail", Timeout=30)
    answer, error = cloud.invoke("fail")
    assert error == "Unhandled"
    assert (answer["errorType"], answer["errorMessage"]) == ("ValueError", "no such bin")
    assert any("handlers.py" in line for line in answer["stackTrace"])


def test_a_crash_is_reported_and_the_next_invocation_gets_a_new_process(cloud):
    cloud.create("crash", "handlers.crash", Timeout=30)
    for status in (1, 3):
        answer, error = cloud.invoke("crash", status)
        assert error == "Unhandled" and answer["errorType"] == "Runtime.ExitError"
        assert answer["errorMessage"].endswith(f"Error: Runtime exited with error: exit status {status}")


def test_a_process_that_died_while_idle_swallows_no_invocation(cloud, echo):
    before, _ = cloud.invoke(echo)
    process = psutil.Process(before["pid"])
    process.kill()
    process.wait()
    after, error = cloud.invoke(echo, "still here")
    assert error is None and after["event"] == "still here" and after["pid"] != before["pid"]


def test_the_timeout_ends_the_process(cloud, tmp_path):
    cloud.create("sleep", "handlers.sleep", Timeout=1)
    answer, error = cloud.invoke("sleep", {"pid": str(tmp_path / "pid")})
    assert error == "Unhandled" and answer["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_module_that_cannot_be_imported_is_reported(cloud):
    cloud.create("unloadable", "unloadable.handler", Timeout=30)
    answer, error = cloud.invoke("unloadable")
    assert error == "Unhandled" and answer["errorType"] == "Runtime.ImportModuleError"
    assert "a_module_that_is_missing" in answer["errorMessage"]


def test_a_command_that_does_not_exist_is_reported(cloud):
    entry = {"EntryPoint": ["/nowhere/bootstrap"], "Command": ["handlers.echo"]}
    cloud.create("entry", "handlers.echo")
    cloud.client.update_function_configuration(FunctionName="entry", ImageConfig=entry)
    answer, error = cloud.invoke("entry")
    assert error == "Unhandled" and answer["errorType"] == "Runtime.InvalidEntrypoint"


def test_concurrent_invocations_run_in_processes_of_their_own(cloud, tmp_path):
    cloud.create("meet", "handlers.meet", Timeout=60)
    event = {"folder": str(tmp_path), "parties": 4}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: cloud.invoke("meet", event), range(6)))
    assert all(error is None for _, error in answers)
    assert len({pid for pid, _ in answers}) == 4  # two waited for a process to be free


def test_invocations_beyond_those_that_may_wait_are_throttled_and_events_are_not(
    cloud, tmp_path, monkeypatch
):
    monkeypatch.setattr("localcloud.pool.MOST_WAITING", 1)
    cloud.create("crowd", "handlers.meet", Timeout=60)
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    event = {"folder": str(together), "parties": 5}  # the fifth is this test
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(cloud.invoke, "crowd", event) for _ in range(5)]
        try:
            until(lambda: len(list(together.iterdir())) == 4 and cloud.functions._pools["crowd"]._waiting)
            with pytest.raises(cloud.client.exceptions.TooManyRequestsException, match="Rate Exceeded"):
                cloud.invoke("crowd", event)
            later = json.dumps({"folder": str(alone), "parties": 1})
            cloud.client.invoke(FunctionName="crowd", Payload=later, InvocationType="Event")
        finally:
            (together / "test").touch()
        assert all(answer.result()[1] is None for answer in answers)
    until(lambda: list(alone.iterdir()))


def test_requests_that_wait_for_others_leave_a_thread_to_answer_these():
    assert MOST_AT_ONCE + 3 * (MOST_SANDBOXES + MOST_WAITING) < THREADS


def test_limits_of_payloads(cloud, echo):
    with pytest.raises(ClientError, match="Request must be smaller than 6291456 bytes") as caught:
        cloud.client.invoke(FunctionName=echo, Payload=b'"' + b"x" * 6291456 + b'"')
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    with pytest.raises(cloud.client.exceptions.InvalidRequestContentException, match="Could not parse"):
        cloud.client.invoke(FunctionName=echo, Payload=b"{not json")
    cloud.create("large", "handlers.large", Timeout=30)
    answer, error = cloud.invoke("large", 6291456)
    assert error == "Unhandled" and answer["errorType"] == "Function.ResponseSizeTooLarge"
    assert cloud.invoke("large", 5_000_000) == ("x" * 5_000_000, None)


def test_event_and_dry_run(cloud, tmp_path):
    cloud.create("write", "handlers.write", Timeout=30)
    path = tmp_path / "written"
    answer = cloud.client.invoke(FunctionName="write", Payload=json.dumps(str(path)), InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    answer = cloud.client.invoke(FunctionName="write", Payload=json.dumps(str(path)), InvocationType="Event")
    assert answer["StatusCode"] == 202
    until(path.exists)


def test_other_services_start_a_function(cloud, tmp_path):
    path = tmp_path / "started"
    arn = cloud.create("started", "handlers.write")["FunctionArn"]
    cloud.functions.start(arn, str(path))
    until(path.exists)
    with pytest.raises(AwsError, match="Function not found"):
        cloud.functions.start(arn + "-not", {})


def test_an_update_takes_effect_with_the_next_invocation(cloud):
    created = cloud.create("changing", "handlers.echo", variables={"GREETING": "old"}, Timeout=30)
    before, _ = cloud.invoke("changing")
    variables = {"PYTHONPATH": str(cloud.folder), "GREETING": "new"}
    updated = cloud.client.update_function_configuration(
        FunctionName="changing", Environment={"Variables": variables}, MemorySize=512
    )
    assert updated["MemorySize"] == 512 and updated["RevisionId"] != created["RevisionId"]
    after, _ = cloud.invoke("changing")
    assert (before["greeting"], after["greeting"]) == ("old", "new")
    assert not psutil.pid_exists(before["pid"])
    code = cloud.client.update_function_code(FunctionName="changing", ImageUri=IMAGE.replace(":1", ":2"))
    assert code["CodeSha256"] != created["CodeSha256"]
    assert cloud.invoke("changing")[0]["pid"] != after["pid"]
    with pytest.raises(cloud.client.exceptions.PreconditionFailedException):
        cloud.client.update_function_code(FunctionName="changing", ImageUri=IMAGE, RevisionId="stale")
    cloud.client.delete_function(FunctionName="changing")


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"PackageType": "Zip", "Code": {"ZipFile": b"x"}}, "PackageType=Image only"),
        ({"Code": {"ImageUri": "nobody:1"}}, "Source image nobody:1 does not exist"),
        ({"Publish": True}, "does not provide Publish"),
        ({"Layers": ["arn:aws:lambda:us-east-1:1:layer:a:1"]}, "does not provide Layers"),
        ({"Timeout": 901}, "Timeout must be from 1 to 900"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "reserved keys"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(cloud, members, named):
    params = {"FunctionName": "refused", "PackageType": "Image", "Code": {"ImageUri": IMAGE}, "Role": ROLE}
    with pytest.raises(cloud.client.exceptions.InvalidParameterValueException, match=named):
        cloud.client.create_function(**{**params, **members})


def test_conflicts_unknown_functions_and_versions(cloud, echo):
    with pytest.raises(cloud.client.exceptions.ResourceConflictException, match="already exist: echo"):
        cloud.create("echo", "handlers.echo")
    with pytest.raises(cloud.client.exceptions.ResourceNotFoundException):
        cloud.invoke("nowhere")
    with pytest.raises(ClientError, match="no versions or aliases"):
        cloud.invoke(echo, Qualifier="live")
    with pytest.raises(ClientError, match="does not provide POST"):
        cloud.client.publish_version(FunctionName=echo)


def test_functions_survive_a_restart_and_no_process_does(tmp_path):
    cloud = Cloud(tmp_path)
    cloud.create("kept", "handlers.echo", Timeout=30)
    cloud.create("busy", "handlers.sleep", Timeout=60)
    before, _ = cloud.invoke("kept")
    answers = []
    event = {"pid": str(tmp_path / "pid")}
    thread = threading.Thread(target=lambda: answers.append(cloud.invoke("busy", event)))
    thread.start()
    busy = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    cloud.functions.shutdown()
    thread.join()
    assert answers[0][1] == "Unhandled"
    assert not psutil.pid_exists(before["pid"]) and not psutil.pid_exists(busy)
    cloud.server.close()
    cloud.start()
    try:
        after, error = cloud.invoke("kept", 7)
        assert error is None and after["event"] == 7
    finally:
        cloud.stop()
