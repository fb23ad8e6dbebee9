"""localcloud with RUNTIME=docker: jobs, endpoints and functions as containers of a small image."""

import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError
from docker.errors import DockerException

import docker
from localcloud import docker_options, docker_runtime
from localcloud.docker_options import split_uri
from localcloud.docker_runtime import HOME_LABEL, DockerRuntime
from localcloud.instances import GIB, Limits, limits
from localcloud.runtime import FUNCTION, TRAIN, Spec
from localcloud.settings import Settings
from tests.engine import needs
from tests.operator.conftest import ACCOUNT_ROLE, Cloud, eventually, gone

IMAGE = "bintally-test-runtime"
URI = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{IMAGE}:latest"
PROGRAM = '''
import json, os, pathlib, signal, socket, sys, time, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

ml = pathlib.Path("/opt/ml")

def health():
    url = os.environ["AWS_ENDPOINT_URL"] + "/_localcloud/health"
    return json.load(urllib.request.urlopen(url, timeout=20))

def look():
    config = {f.stem: json.loads(f.read_text()) for f in (ml / "input/config").iterdir()}
    names = sorted(p.relative_to(ml / "input/data").as_posix() for p in ml.glob("input/data/**/*.txt"))
    (ml / "model/seen.json").write_text(json.dumps({
        "argv": sys.argv, "config": config, "names": names, "uid": os.getuid(),
        "runtime": health()["runtime"],
        "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
        "init": open("/proc/1/cmdline").read().split("\\0")[0], "name": os.environ["TRAINING_JOB_NAME"]}))
    (ml / "output/data/curve.csv").write_text("1,2")
    (ml / "checkpoints/last.ckpt").write_text("3")
    print("accuracy=0.5")

def wait():
    def leave(*_):
        (ml / "model/partial.bin").write_text("partial")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    print("waiting", flush=True)
    time.sleep(600)

def fail():
    (ml / "output/failure").write_text("DataError: no bins")
    sys.exit(2)

def meet():
    """Every host sends its name to the chief, over the network that the hosts share."""
    resources = json.loads((ml / "input/config/resourceconfig.json").read_text())
    me, hosts = resources["current_host"], resources["hosts"]
    assert me == socket.gethostname()
    if me == hosts[0]:
        with socket.create_server(("0.0.0.0", 7777)) as server:
            names = [me]
            for _ in hosts[1:]:
                connection, _ = server.accept()
                names.append(connection.recv(100).decode())
        (ml / "model/names").write_text(" ".join(sorted(names)))
    else:
        for _ in range(300):
            try:
                with socket.create_connection((hosts[0], 7777), timeout=5) as connection:
                    connection.sendall(me.encode())
                break
            except OSError:
                time.sleep(0.1)
    (ml / f"model/of-{me}").write_text(me)
    (ml / "model/same").write_text(me)
    print("hello from", me, health()["runtime"], "score=" + me[-1])

def second_fails():
    if socket.gethostname() == "algo-2":
        sys.exit("the second host has no bins")
    wait()

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def process():
    (ml / "processing/out/result.json").write_text(json.dumps({
        "argv": sys.argv, "in": (ml / "processing/in/a.txt").read_text(),
        "job": json.loads((ml / "config/processingjobconfig.json").read_text())["ProcessingJobName"]}))

def serve():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(b"")
        def do_POST(self):
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if asked == "die":
                os._exit(3)
            try:
                (ml / "model/written").write_text("x")
                writable = True
            except OSError:
                writable = False
            self.answer(json.dumps({"asked": asked, "model": (ml / "model/weights").read_text(),
                                    "writable": writable, "of": os.environ["OF_THE_MODEL"]}).encode())
        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("serving", flush=True)
    HTTPServer(("0.0.0.0", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()

def function():
    """The smallest Lambda runtime."""
    api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/"
    while True:
        with urllib.request.urlopen(api + "next") as invocation:
            request, event = invocation.headers["Lambda-Runtime-Aws-Request-Id"], json.load(invocation)
        print("asked", event, flush=True)
        answer = {"event": event, "runtime": health()["runtime"], "uid": os.getuid(), "argv": sys.argv}
        urllib.request.urlopen(api + request + "/response", json.dumps(answer).encode())

what = sys.argv[1]
if what == "train":
    what = json.loads((ml / "input/config/hyperparameters.json").read_text())["do"]
globals()[what]()
'''


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    try:
        found = docker.from_env()
        there = found.ping()
    except DockerException:
        there = False
    needs("Docker engine", there)
    return found


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("image")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "Dockerfile").write_text(
        'FROM python:3.11-slim-bookworm\nCOPY program.py /program.py\nUSER 1234\n'
        'ENTRYPOINT ["python", "-u", "/program.py"]\nCMD ["function"]\n'
    )  # fmt: skip
    engine.images.build(path=str(folder), tag=IMAGE)
    return URI


@pytest.fixture(scope="module")
def docker_cloud(image, tmp_path_factory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("docker") / "cloud")
    cloud.environment["LOCALCLOUD_RUNTIME"] = "docker"
    started = cloud("up")
    assert started.returncode == 0, started.stderr
    cloud.client("s3").create_bucket(Bucket="jobs")
    for key in ("data/1/a.txt", "data/2/b.txt"):
        cloud.client("s3").put_object(Bucket="jobs", Key=key, Body=b"x")
    yield cloud
    cloud("down")


def containers(engine, cloud: Cloud) -> list:
    return engine.containers.list(all=True, filters={"label": f"{HOME_LABEL}={cloud.settings.home}"})


def networks(engine, cloud: Cloud) -> list:
    return engine.networks.list(filters={"label": f"{HOME_LABEL}={cloud.settings.home}"})


def train(cloud: Cloud, name: str, do: str, instances: int = 1, **members) -> None:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": "s3://jobs/data/",
        "S3DataDistributionType": "FullyReplicated",
    }
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": URI, "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "score", "Regex": "score=([0-9]+)"}],
        },
        "RoleArn": ACCOUNT_ROLE,
        "HyperParameters": {"do": do},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://jobs/out/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **members,
    }  # fmt: skip
    cloud.client("sagemaker").create_training_job(**request)


def ended(cloud: Cloud, name: str) -> dict:
    def look() -> dict | None:
        job = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
        return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return eventually(look)


def archive(cloud: Cloud, key: str) -> dict[str, bytes]:
    body = cloud.client("s3").get_object(Bucket="jobs", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def streams(cloud: Cloud, group: str, prefix: str) -> dict[str, list[str]]:
    """Lines by log stream, whose name is shown without its time."""
    logs = cloud.client("logs")
    try:
        found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
    except ClientError:
        return {}
    return {
        stream["logStreamName"].removeprefix(f"{prefix}/").rpartition("-")[0]: [
            event["message"]
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]
        for stream in found
    }


def training_log(cloud: Cloud, name: str) -> dict[str, list[str]]:
    return streams(cloud, "/aws/sagemaker/TrainingJobs", name)


def test_a_training_job_from_channels_to_artifacts(docker_cloud: Cloud, engine):
    train(docker_cloud, "complete", "look", CheckpointConfig={"S3Uri": "s3://jobs/checkpoints"})
    job = ended(docker_cloud, "complete")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    seen = json.loads(archive(docker_cloud, "out/complete/output/model.tar.gz")["seen.json"])
    assert seen["argv"] == ["/program.py", "train"]
    assert seen["names"] == ["train/1/a.txt", "train/2/b.txt"]
    assert seen["config"]["hyperparameters"] == {"do": "look"}
    resources = seen["config"]["resourceconfig"]
    assert (resources["current_host"], resources["hosts"]) == ("algo-1", ["algo-1"])
    assert resources["network_interface_name"] == "eth0"
    assert (seen["name"], seen["runtime"]) == ("complete", "docker")
    assert seen["uid"] == os.getuid()  # and not the image's own user
    assert "init" in seen["init"]
    memory = min(8 * GIB, psutil.virtual_memory().total)
    assert abs(seen["shm"] - memory // 2) < 2**20
    assert archive(docker_cloud, "out/complete/output/output.tar.gz") == {"curve.csv": b"1,2"}
    assert docker_cloud.client("s3").head_object(Bucket="jobs", Key="checkpoints/last.ckpt")
    assert training_log(docker_cloud, "complete") == {"algo-1": ["accuracy=0.5"]}
    assert containers(engine, docker_cloud) == []


def test_limits_logs_and_stopping(docker_cloud: Cloud, engine):
    train(docker_cloud, "stopped", "wait")
    eventually(lambda: training_log(docker_cloud, "stopped") == {"algo-1": ["waiting"]})  # while it runs
    [container] = containers(engine, docker_cloud)
    config = container.attrs["HostConfig"]
    assert config["NanoCpus"] == min(2, len(os.sched_getaffinity(0))) * 10**9
    assert config["Memory"] == min(8 * GIB, psutil.virtual_memory().total)
    docker_cloud.client("sagemaker").stop_training_job(TrainingJobName="stopped")
    job = ended(docker_cloud, "stopped")
    assert job["TrainingJobStatus"] == "Stopped"
    assert archive(docker_cloud, "out/stopped/output/model.tar.gz") == {"partial.bin": b"partial"}
    assert containers(engine, docker_cloud) == []


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("fail", "AlgorithmError: DataError: no bins"),
        ("killed", "AlgorithmError: exit code 137"),
        ("unheard_of", "AlgorithmError: exit code 1: KeyError: 'unheard_of'"),
    ],
)
def test_a_failing_job_says_why(docker_cloud: Cloud, do, reason):
    name = f"failing-{do.replace('_', '-')}"
    train(docker_cloud, name, do)
    job = ended(docker_cloud, name)
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", reason)


def test_a_command_that_does_not_exist_is_said_so(docker_cloud: Cloud, engine):
    algorithm = {"TrainingImage": URI, "TrainingInputMode": "File", "ContainerEntrypoint": ["/no/such"]}
    train(docker_cloud, "no-command", "look", AlgorithmSpecification=algorithm)
    reason = ended(docker_cloud, "no-command")["FailureReason"]
    assert reason.startswith("AlgorithmError: exit code 127: ") and "/no/such" in reason
    assert containers(engine, docker_cloud) == []


def test_two_instances_meet_on_a_network_of_their_own(docker_cloud: Cloud, engine):
    train(docker_cloud, "pair", "meet", instances=2)
    job = ended(docker_cloud, "pair")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert archive(docker_cloud, "out/pair/output/model.tar.gz") == {
        "names": b"algo-1 algo-2", "of-algo-1": b"algo-1", "of-algo-2": b"algo-2", "same": b"algo-1",
    }  # fmt: skip
    assert training_log(docker_cloud, "pair") == {
        "algo-1": ["hello from algo-1 docker score=1"],
        "algo-2": ["hello from algo-2 docker score=2"],
    }
    assert [metric["Value"] for metric in job["FinalMetricDataList"]] == [1.0]
    assert containers(engine, docker_cloud) == networks(engine, docker_cloud) == []


def test_one_instance_that_fails_ends_the_others(docker_cloud: Cloud, engine):
    train(docker_cloud, "half", "second_fails", instances=2)
    job = ended(docker_cloud, "half")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: exit code 1: the second host has no bins"
    assert containers(engine, docker_cloud) == networks(engine, docker_cloud) == []


def test_what_cannot_be_run_is_refused_by_name(docker_cloud: Cloud):
    absent = {"TrainingImage": "nowhere/absent-image:7", "TrainingInputMode": "File"}
    with pytest.raises(ClientError, match="there is no image nowhere/absent-image:7 in this Docker engine"):
        train(docker_cloud, "absent", "look", AlgorithmSpecification=absent)
    with pytest.raises(ClientError, match=r"ResourceConfig\.InstanceCount=9"):
        train(docker_cloud, "crowd", "look", instances=9)
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": "s3://jobs/data/",
        "S3DataDistributionType": "ShardedByS3Key",
    }
    channel = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
    with pytest.raises(ClientError, match="ShardedByS3Key, only FullyReplicated"):
        train(docker_cloud, "shards", "look", instances=2, InputDataConfig=[channel])


def test_a_processing_job_with_a_command_of_its_own(docker_cloud: Cloud):
    sagemaker, s3 = docker_cloud.client("sagemaker"), docker_cloud.client("s3")
    s3.put_object(Bucket="jobs", Key="in/a.txt", Body=b"read")
    sagemaker.create_processing_job(
        ProcessingJobName="processed",
        RoleArn=ACCOUNT_ROLE,
        AppSpecification={
            "ImageUri": URI,
            "ContainerEntrypoint": ["python", "/program.py", "process"],
            "ContainerArguments": ["/opt/ml/processing/in"],
        },
        ProcessingInputs=[{"InputName": "in", "S3Input": {
            "S3Uri": "s3://jobs/in/", "LocalPath": "/opt/ml/processing/in", "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        }}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": {
            "S3Uri": "s3://jobs/processed", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob",
        }}]},
        ProcessingResources={"ClusterConfig": {
            "InstanceCount": 1, "InstanceType": "ml.t2.medium", "VolumeSizeInGB": 5,
        }},
    )  # fmt: skip

    def job() -> dict | None:
        found = sagemaker.describe_processing_job(ProcessingJobName="processed")
        return None if found["ProcessingJobStatus"] == "InProgress" else found

    assert eventually(job)["ProcessingJobStatus"] == "Completed", eventually(job).get("FailureReason")
    result = json.loads(s3.get_object(Bucket="jobs", Key="processed/result.json")["Body"].read())
    assert result == {
        "argv": ["/program.py", "process", "/opt/ml/processing/in"],
        "in": "read",
        "job": "processed",
    }


def deploy(cloud: Cloud) -> None:
    """The endpoint ``served``, with one instance."""
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            member = tarfile.TarInfo("weights")
            member.size = 3
            tar.addfile(member, io.BytesIO(b"w-1"))
        cloud.client("s3").put_object(Bucket="jobs", Key="model.tar.gz", Body=stream.getvalue())
    sagemaker = cloud.client("sagemaker")
    container = {"Image": URI, "ModelDataUrl": "s3://jobs/model.tar.gz", "Environment": {"OF_THE_MODEL": "m"}}
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ACCOUNT_ROLE, PrimaryContainer=container)
    variant = {
        "VariantName": "v",
        "ModelName": "m",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.t2.medium",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="served", EndpointConfigName="c")
    eventually(lambda: status(cloud) != "Creating")
    assert status(cloud) == "InService", sagemaker.describe_endpoint(EndpointName="served")


def status(cloud: Cloud) -> str:
    return cloud.client("sagemaker").describe_endpoint(EndpointName="served")["EndpointStatus"]


def ask(cloud: Cloud, body: str) -> dict:
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName="served", Body=body)
    return json.loads(answer["Body"].read())


def test_an_endpoint_serves_is_started_again_and_leaves_nothing(docker_cloud: Cloud, engine):
    deploy(docker_cloud)
    expected = {"asked": "how", "model": "w-1", "writable": False, "of": "m"}
    assert ask(docker_cloud, "how") == expected
    [first] = containers(engine, docker_cloud)
    assert first.attrs["HostConfig"]["Memory"] == min(4 * GIB, psutil.virtual_memory().total)
    with pytest.raises(ClientError, match="ModelError"):
        ask(docker_cloud, "die")
    assert eventually(lambda: answered(docker_cloud)) == expected
    [second] = containers(engine, docker_cloud)
    assert second.id != first.id
    docker_cloud.client("sagemaker").delete_endpoint(EndpointName="served")
    eventually(lambda: docker_cloud.client("sagemaker").list_endpoints()["Endpoints"] == [])
    assert containers(engine, docker_cloud) == []


def answered(cloud: Cloud) -> dict | None:
    try:
        return ask(cloud, "how")
    except ClientError:
        return None


def test_a_function_is_asked_and_kept_warm(docker_cloud: Cloud, engine):
    lambda_ = docker_cloud.client("lambda")
    lambda_.create_function(
        FunctionName="f", PackageType="Image", Code={"ImageUri": URI}, Role=ACCOUNT_ROLE, Timeout=60,
        MemorySize=256, ImageConfig={"Command": ["function", "extra"]},
    )  # fmt: skip
    for number in (1, 2):
        answer = lambda_.invoke(FunctionName="f", Payload=json.dumps(number), LogType="Tail")
        assert json.loads(answer["Payload"].read()) == {
            "event": number, "runtime": "docker", "uid": 1234, "argv": ["/program.py", "function", "extra"],
        }  # fmt: skip
    [container] = containers(engine, docker_cloud)
    assert container.attrs["HostConfig"]["Memory"] == 256 << 20
    assert container.attrs["Mounts"] == []
    lambda_.delete_function(FunctionName="f")
    eventually(lambda: containers(engine, docker_cloud) == [])


def test_localcloud_listens_on_the_loopback_and_the_bridge_alone(docker_cloud: Cloud, engine):
    server = psutil.Process(int(docker_cloud.settings.pid_file.read_text()))
    listening = {c.laddr.ip for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    [bridge] = [a.address for a in psutil.net_if_addrs()["docker0"] if a.family == socket.AF_INET]
    assert listening == {"127.0.0.1", bridge}


def test_another_runtime_than_the_one_that_runs_is_refused(docker_cloud: Cloud):
    docker_cloud.environment["LOCALCLOUD_RUNTIME"] = "process"
    refused = docker_cloud("up")
    docker_cloud.environment["LOCALCLOUD_RUNTIME"] = "docker"
    assert refused.returncode == 1
    assert "it runs already, with RUNTIME=docker; 'make down' first" in refused.stderr


def test_neither_down_nor_a_crash_leaves_a_container(own_cloud: Cloud, engine, image):
    own_cloud.environment["LOCALCLOUD_RUNTIME"] = "docker"
    assert own_cloud("up").returncode == 0
    s3 = own_cloud.client("s3")
    s3.create_bucket(Bucket="jobs")
    s3.put_object(Bucket="jobs", Key="data/a.txt", Body=b"x")
    deploy(own_cloud)
    train(own_cloud, "cut-off", "wait", instances=2)
    eventually(lambda: training_log(own_cloud, "cut-off") == {"algo-1": ["waiting"], "algo-2": ["waiting"]})
    server = psutil.Process(int(own_cloud.settings.pid_file.read_text()))
    server.kill()
    eventually(lambda: gone(server.pid))
    before = {container.id for container in containers(engine, own_cloud)}
    assert len(before) == 3

    assert own_cloud("up").returncode == 0
    job = own_cloud.client("sagemaker").describe_training_job(TrainingJobName="cut-off")
    assert job["FailureReason"] == "localcloud was stopped while the job ran"
    assert eventually(lambda: answered(own_cloud))["model"] == "w-1"  # it serves again
    assert networks(engine, own_cloud) == []
    assert before.isdisjoint(container.id for container in containers(engine, own_cloud))

    train(own_cloud, "down", "wait")
    eventually(lambda: training_log(own_cloud, "down") == {"algo-1": ["waiting"]})
    assert own_cloud("down").returncode == 0
    assert containers(engine, own_cloud) == []


def test_what_a_container_writes_belongs_to_the_caller(engine, image, tmp_path, monkeypatch):
    caller = 54321
    settings = Settings(tmp_path / "home", "127.0.0.1", 1, Path(), runtime="docker")
    runtime = DockerRuntime(settings)
    folder = tmp_path / "ml"
    for name in ("input/config", "model", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "input/config/hyperparameters.json").write_text('{"do": "fail"}')
    if os.getuid() == 0:
        monkeypatch.setattr(docker_runtime.os, "getuid", lambda: caller)
        monkeypatch.setattr(docker_runtime.os, "getgid", lambda: caller)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, caller, caller)
    expected = os.getuid()
    spec = Spec("owner", runtime.find_image(URI, TRAIN), TRAIN, {}, folder, tmp_path / "log")
    container = runtime.start(spec)
    status = container.wait()
    container.end()
    assert status == 2, (tmp_path / "log").read_text()
    assert (folder / "output" / "failure").stat().st_uid == expected


def test_a_function_keeps_its_images_user_and_has_no_folder(tmp_path):
    assert docker_options.user(FUNCTION, 5, 6) == {}
    assert docker_options.user(TRAIN, 5, 6)["user"] == "5:6"
    spec = Spec("f", None, FUNCTION, {}, tmp_path, tmp_path / "log")
    assert docker_options.volumes(spec) == {}


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/bintally-train:1", ("bintally-train", ":1")),
        ("127.0.0.1:4599/team/train@sha256:ab", ("team/train", "@sha256:ab")),
        ("localhost/train:1@sha256:ab", ("train", "@sha256:ab")),
        ("team/train", ("team/train", ":latest")),
        ("train", ("train", ":latest")),
    ],
)
def test_image_uris_are_repositories_and_tags_or_digests(uri, parts):
    assert split_uri(uri) == parts


@pytest.mark.parametrize(
    ("instance_type", "cpus", "memory"),
    [("ml.m5.large", 2, 8), ("ml.c5.xlarge", 4, 8), ("ml.r5.2xlarge", 8, 64), ("ml.t2.medium", 2, 4)],
)
def test_an_instance_type_is_a_limit_as_far_as_the_machine_goes(instance_type, cpus, memory):
    machine = psutil.virtual_memory().total
    here = len(os.sched_getaffinity(0))
    assert limits(instance_type) == Limits(min(cpus, here), min(memory * GIB, machine))


@pytest.mark.parametrize("instance_type", ["", "local", "ml.unheard.of", "ml.m5.huge"])
def test_an_unknown_instance_type_is_the_whole_machine(instance_type):
    assert limits(instance_type) == Limits()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LOCALCLOUD_RUNTIME": "docker", "DOCKER_HOST": "unix:///nowhere"}, "no Docker engine answers"),
        (
            {"LOCALCLOUD_RUNTIME": "podman"},
            "there is no runtime 'podman': use RUNTIME=process or RUNTIME=docker",
        ),
    ],
)
def test_a_runtime_that_cannot_work_is_said_in_one_line(own_cloud: Cloud, environment, said):
    own_cloud.environment |= environment
    refused = own_cloud("up")
    assert refused.returncode == 1
    [line] = refused.stderr.strip().splitlines()
    assert said in line
