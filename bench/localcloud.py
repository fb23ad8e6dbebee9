"""What localcloud itself costs: an empty training job, and InvokeEndpoint against the container alone.

    .local/venv/operator/bin/python -m bench.localcloud

It starts a localcloud of its own with two images of a few lines each, so that what is measured is not
the container. Direct and proxied requests alternate in one run; what counts is their difference.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

from bench import machine
from tests.operator.conftest import ACCOUNT_ROLE, Cloud, eventually

JOBS, REQUESTS, BODY = 20, 2000, 50_000  # 50 kB: a photograph at full size

TRAIN = """
import os, pathlib, time
began = time.time()
(pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model" / "began").write_text(str(began))
"""
SERVE = """
import os
from flask import Flask, request
from waitress import serve
app = Flask("echo")
app.add_url_rule("/ping", "ping", lambda: "")
app.add_url_rule("/invocations", "invocations", lambda: request.get_data(), methods=["POST"])
print("port", os.environ["SAGEMAKER_BIND_TO_PORT"], flush=True)
serve(app, host="127.0.0.1", port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
"""


def training(cloud: Cloud) -> dict:
    """Seconds from CreateTrainingJob to a status of Completed, beyond a bare run of the same process."""
    image = cloud.image("empty", "train", TRAIN)
    sagemaker = cloud.client("sagemaker")
    cloud.client("s3").create_bucket(Bucket="bench")
    script, seconds, bare = cloud.scripts / "empty.py", [], []
    for number in range(JOBS):
        name, start = f"empty-{number}", time.perf_counter()
        sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ACCOUNT_ROLE,
            AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
            OutputDataConfig={"S3OutputPath": "s3://bench/out"},
            ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        eventually(
            lambda name=name: (
                sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "Completed"
            )
        )
        seconds.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model").mkdir()
            start = time.perf_counter()
            subprocess.run([sys.executable, script], env={"SAGEMAKER_BASE_DIR": folder}, check=True)
            bare.append(time.perf_counter() - start)
    return row("training job", "seconds", seconds, bare, target=4.0)


def invocation(cloud: Cloud) -> list[dict]:
    """Milliseconds of InvokeEndpoint and of the container itself, with data capture off and on."""
    image = cloud.image("echo", "serve", SERVE)
    sagemaker = cloud.client("sagemaker")
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz"):
        pass
    cloud.client("s3").put_object(Bucket="bench", Key="model.tar.gz", Body=archive.getvalue())
    sagemaker.create_model(
        ModelName="echo",
        ExecutionRoleArn=ACCOUNT_ROLE,
        PrimaryContainer={"Image": image, "ModelDataUrl": "s3://bench/model.tar.gz"},
    )
    rows = []
    for capture in (False, True):
        name = f"echo-{'capture' if capture else 'plain'}"
        options = {
            "DataCaptureConfig": {
                "EnableCapture": True,
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": "s3://bench/capture",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            }
        }
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {"VariantName": "all", "ModelName": "echo", "InitialInstanceCount": 1,
                 "InstanceType": "ml.m5.large"}
            ],
            **(options if capture else {}),
        )  # fmt: skip
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
        logs = sorted((cloud.settings.home / "endpoints" / name).rglob("*log*"))
        port = next(
            int(line.split()[1])
            for log in logs
            if log.is_file()
            for line in log.read_text().splitlines()
            if line.startswith("port ")
        )
        direct = http.client.HTTPConnection("127.0.0.1", port)
        proxied = http.client.HTTPConnection("127.0.0.1", cloud.settings.port)
        body, times = bytes(BODY), {"direct": [], "proxied": []}
        for number in range(REQUESTS):
            for kind, connection, path in (
                ("direct", direct, "/invocations"),
                ("proxied", proxied, f"/endpoints/{name}/invocations"),
            ):
                start = time.perf_counter()
                connection.request("POST", path, body, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                assert answer.read() == body and answer.status == 200, number
                times[kind].append((time.perf_counter() - start) * 1000)
        what = "InvokeEndpoint with capture" if capture else "InvokeEndpoint"
        rows.append(row(what, "milliseconds", times["proxied"], times["direct"], target=3.0))
    return rows


def row(what: str, unit: str, through: list[float], alone: list[float], target: float) -> dict:
    p99 = statistics.quantiles(through, n=100)[98]
    middle, bare = statistics.median(through), statistics.median(alone)
    return {
        "what": what,
        "unit": unit,
        "runs": len(through),
        "p50": f"{middle:.3f}",
        "p99": f"{p99:.3f}",
        "p50_without_localcloud": f"{bare:.3f}",
        "overhead_p50": f"{middle - bare:.3f}",
        "allowed": target,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder) / "cloud")
        cloud("up")
        try:
            rows = [training(cloud), *invocation(cloud)]
        finally:
            cloud("down")
    print(json.dumps(rows, indent=1))
    machine.write("localcloud", rows, "moto", "waitress", "boto3")


if __name__ == "__main__":
    main()
