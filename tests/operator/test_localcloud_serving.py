"""The whole localcloud in a process of its own: a function asks an endpoint, before and after a restart."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import time

import boto3
import psutil
import pytest

from localcloud.settings import PROJECT
from tests.operator.test_localcloud_endpoints import SERVER, variant

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/any"
HANDLER = textwrap.dedent("""
    import boto3

    runtime = boto3.client("sagemaker-runtime")

    def handler(event, context):
        answer = runtime.invoke_endpoint(
            EndpointName="served", Body=event["body"], ContentType="text/csv", CustomAttributes=event["ask"]
        )
        return {"body": answer["Body"].read().decode(), "variant": answer["InvokedProductionVariant"]}
""")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("localcloud")
    (folder / "server.py").write_text(SERVER)
    (folder / "asking.py").write_text(HANDLER)
    images = folder / "images.toml"
    images.write_text(
        f'[fake-serve]\nvenv = "{sys.prefix}"\nserve = ["python", "{folder / "server.py"}"]\n'
        '[ask]\nvenv = ".local/venv/function"\nfunction = ["python", "-m", "awslambdaric"]\n'
        f'env = {{ PYTHONPATH = "{folder}" }}\n'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "LOCALCLOUD_HOME": str(folder / "home"),
        "LOCALCLOUD_PORT": str(port),
        "LOCALCLOUD_IMAGES": str(images),
    }
    localcloud(environment, "up")
    yield environment
    localcloud(environment, "down")


def localcloud(environment: dict[str, str], verb: str) -> None:
    command = [sys.executable, "-m", "localcloud", verb]
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, timeout=120, capture_output=True)


def client(environment: dict[str, str], service: str):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{environment['LOCALCLOUD_PORT']}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


def wait_in_service(sagemaker) -> dict:
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="served", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    return sagemaker.describe_endpoint(EndpointName="served")


def ask(environment: dict[str, str], what: str) -> dict:
    event = json.dumps({"body": "1,2", "ask": what})
    answer = client(environment, "lambda").invoke(FunctionName="ask", Payload=event)
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload


def containers(environment: dict[str, str]) -> list[int]:
    """Pids of what runs for this localcloud, itself included."""
    found = []
    for process in psutil.process_iter():
        try:
            if environment["LOCALCLOUD_HOME"] in " ".join(process.environ().values()):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_a_function_asks_an_endpoint_before_and_after_a_restart(environment):
    sagemaker, s3 = client(environment, "sagemaker"), client(environment, "s3")
    s3.create_bucket(Bucket="serving")
    container = {"Image": f"{REGISTRY}/fake-serve:1", "Environment": {"NAME": "m"}}
    sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    sagemaker.create_endpoint_config(
        EndpointConfigName="c",
        ProductionVariants=[variant("AllTraffic", "m", 2)],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://serving/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )
    sagemaker.create_endpoint(EndpointName="served", EndpointConfigName="c")
    description = wait_in_service(sagemaker)
    assert description["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]] == ["served"]
    client(environment, "lambda").create_function(
        FunctionName="ask",
        PackageType="Image",
        Code={"ImageUri": f"{REGISTRY}/ask:1"},
        Role=ROLE,
        ImageConfig={"Command": ["asking.handler"]},
        Timeout=60,
    )
    assert ask(environment, "echo") == {"body": "1,2", "variant": "AllTraffic"}
    assert ask(environment, "name")["body"] == "m"

    sagemaker.create_endpoint_config(EndpointConfigName="d", ProductionVariants=[variant("Two", "m")])
    sagemaker.update_endpoint(EndpointName="served", EndpointConfigName="d")
    assert wait_in_service(sagemaker)["EndpointConfigName"] == "d"
    assert ask(environment, "echo")["variant"] == "Two"

    localcloud(environment, "down")
    assert containers(environment) == []
    localcloud(environment, "up")

    assert ask(environment, "echo") == {"body": "1,2", "variant": "Two"}
    records = []
    for entry in s3.list_objects_v2(Bucket="serving", Prefix="captured/served/AllTraffic/")["Contents"]:
        body = s3.get_object(Bucket="serving", Key=entry["Key"])["Body"].read().decode()
        records += [json.loads(line) for line in body.splitlines()]
    assert [r["captureData"]["endpointInput"]["data"] for r in records] == ["1,2", "1,2"]
    logs = client(environment, "logs")
    streams = logs.describe_log_streams(logGroupName="/aws/lambda/ask")["logStreams"]
    assert len(streams) == 2  # of before and after the restart

    sagemaker.delete_endpoint(EndpointName="served")
    deadline = time.monotonic() + 60
    while sagemaker.list_endpoints()["Endpoints"]:
        assert time.monotonic() < deadline, "the endpoint is not deleted"
        time.sleep(0.05)
    with pytest.raises(sagemaker.exceptions.ClientError, match="Could not find endpoint"):
        sagemaker.describe_endpoint(EndpointName="served")
