"""localcloud's address, its command line, S3's objects, and what survives a restart."""

import json
import os
import resource
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import psutil
import pytest
from botocore.exceptions import ClientError
from werkzeug.test import EnvironBuilder

from localcloud import mirror
from localcloud.journal import Journal
from localcloud.objects import Objects
from tests.operator.conftest import ACCOUNT_ROLE, Cloud, eventually, gone

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
ODD_KEYS = (
    "a", "a/b", "a/b/c", "two//slashes", " spaces and ü ñ", "per%2Fcent%20", "what?a=1&b=2#c", "plus+and=",
    "dots/../up", "folder/", "x" * 900, "'quoted\"", "..", "~", "001", "1",
)  # fmt: skip


def test_up_and_down_are_idempotent_and_status_tells_which(own_cloud: Cloud):
    assert own_cloud("status").returncode == 1
    assert "was not running" in own_cloud("down").stdout
    for _ in range(2):
        assert own_cloud("up").returncode == 0
        pid = int(own_cloud.settings.pid_file.read_text())
    status = own_cloud("status")
    assert status.returncode == 0
    assert own_cloud.settings.url in status.stdout
    assert str(pid) in status.stdout
    own_cloud("down")
    assert gone(pid)
    assert not own_cloud.settings.pid_file.exists()
    assert own_cloud("status").returncode == 1


def test_an_attempt_at_tls_is_answered_at_once_and_a_body_that_looks_like_one_is_not(cloud: Cloud):
    """Docker begins with the first; the second is any part of an object or of an image's layer."""
    bucket, hello = "tls-or-not", b"\x16\x03\x01\x02\x00"
    cloud.client("s3").create_bucket(Bucket=bucket)
    url = cloud.client("s3").generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a"})
    path = url.removeprefix(cloud.settings.url)
    header = f"PUT {path} HTTP/1.1\r\nHost: localcloud\r\nContent-Length: {len(hello)}\r\n\r\n"
    address = (cloud.settings.host, cloud.settings.port)
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(header.encode())
        time.sleep(0.2)  # the body arrives by itself
        connection.sendall(hello)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert cloud.client("s3").get_object(Bucket=bucket, Key="a")["Body"].read() == hello
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(hello)
        assert connection.recv(100).startswith(b"HTTP/1.0 400")


def test_env_prints_exports_and_nothing_else(own_cloud: Cloud):
    printed = own_cloud("env").stdout.splitlines()
    assert f"export AWS_ENDPOINT_URL={own_cloud.settings.url}" in printed
    assert all(line.startswith("export ") for line in printed)
    assert len(printed) == len(own_cloud.settings.client_environment)


def test_a_port_that_is_taken_is_said_in_one_line(own_cloud: Cloud):
    other = HTTPServer(("127.0.0.1", own_cloud.settings.port), BaseHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    refused = own_cloud("up")
    other.shutdown()
    other.server_close()
    assert refused.returncode == 1
    assert "taken by something else; set LOCALCLOUD_PORT" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_two_servers_cannot_share_a_home(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    own_cloud.environment["LOCALCLOUD_PORT"] = "0"
    second = own_cloud("serve")
    assert second.returncode == 1
    assert "already running" in second.stderr


def test_a_stale_pid_file_is_no_obstacle(own_cloud: Cloud):
    own_cloud.settings.home.mkdir(parents=True)
    own_cloud.settings.pid_file.write_text(f"{os.getpid()}\n")  # lives, but is no localcloud
    assert "was not running" in own_cloud("down").stdout
    own_cloud.settings.pid_file.write_text("nonsense")
    assert own_cloud("up").returncode == 0
    assert own_cloud("status").returncode == 0


def test_what_was_made_survives_a_restart(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    s3, iam, ecr = (own_cloud.client(service) for service in ("s3", "iam", "ecr"))
    sagemaker, cloudwatch, logs = (own_cloud.client(s) for s in ("sagemaker", "cloudwatch", "logs"))
    s3.create_bucket(Bucket="keep")
    s3.create_bucket(Bucket="drop")
    s3.delete_bucket(Bucket="drop")
    s3.put_object(
        Bucket="keep",
        Key="tagged",
        Body=b"t",
        ContentType="image/jpeg",
        Metadata={"data_finger-print": "f00"},
    )
    s3.put_object_tagging(Bucket="keep", Key="tagged", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    s3.copy_object(Bucket="keep", Key="copied", CopySource={"Bucket": "keep", "Key": "tagged"})
    parts = s3.create_multipart_upload(Bucket="keep", Key="large", ContentType="application/x-tar")
    sent = [
        {"PartNumber": number, "ETag": s3.upload_part(
            Bucket="keep", Key="large", UploadId=parts["UploadId"], PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, b"1" * 5 * 2**20), (2, b"2"))
    ]  # fmt: skip
    s3.complete_multipart_upload(
        Bucket="keep", Key="large", UploadId=parts["UploadId"], MultipartUpload={"Parts": sent}
    )
    for key in ("gone", "gone/1", "gone/2"):
        s3.put_object(Bucket="keep", Key=key, Body=b"gone")
    s3.delete_object(Bucket="keep", Key="gone")
    s3.delete_objects(Bucket="keep", Delete={"Objects": [{"Key": "gone/1"}, {"Key": "gone/2"}]})
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versions", Key="k", Body=b"first")["VersionId"]
    s3.put_object(Bucket="versions", Key="k", Body=b"second")
    s3.delete_object(Bucket="versions", Key="k")
    only = s3.put_object(Bucket="versions", Key="marked", Body=b"only")["VersionId"]
    s3.delete_object(Bucket="versions", Key="marked")
    s3.delete_object(Bucket="versions", Key="marked", VersionId=only)  # leaves the delete marker alone
    iam.create_role(RoleName="trainer", AssumeRolePolicyDocument=TRUST)
    iam.create_role(RoleName="former", AssumeRolePolicyDocument=TRUST)
    iam.delete_role(RoleName="former")
    ecr.create_repository(repositoryName="bintally-train")
    cloudwatch.put_metric_alarm(
        AlarmName="errors", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, MetricName="m",
        Namespace="n", Period=60, Statistic="Sum", Threshold=1,
    )  # fmt: skip
    logs.create_log_group(logGroupName="/of/the/user")
    sagemaker.create_model(
        ModelName="model", ExecutionRoleArn=ACCOUNT_ROLE,
        PrimaryContainer={"Image": "bintally-serve", "Environment": {"A": "b"}},
        Tags=[{"Key": "k", "Value": "v"}],
    )  # fmt: skip
    sagemaker.create_endpoint_config(
        EndpointConfigName="config",
        ProductionVariants=[{
            "VariantName": "AllTraffic", "ModelName": "model", "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large", "ContainerStartupHealthCheckTimeoutInSeconds": 77,
        }],
    )  # fmt: skip

    def everything() -> list:
        objects = s3.list_objects_v2(Bucket="keep")["Contents"]
        head = s3.head_object(Bucket="keep", Key="copied")
        versions = s3.list_object_versions(Bucket="versions")
        model = sagemaker.describe_model(ModelName="model")
        config = sagemaker.describe_endpoint_config(EndpointConfigName="config")
        return [
            [(o["Key"], o["ETag"], o["Size"], o["LastModified"]) for o in objects],
            (head["ContentType"], head["Metadata"], head["ETag"]),
            s3.get_object(Bucket="keep", Key="large")["Body"].read()[-2:],
            s3.get_object_tagging(Bucket="keep", Key="tagged")["TagSet"],
            [
                (v["Key"], v["VersionId"], v["IsLatest"])
                for v in versions["Versions"] + versions["DeleteMarkers"]
            ],
            s3.get_object(Bucket="versions", Key="k", VersionId=first)["Body"].read(),
            [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]],
            [role["Arn"] for role in iam.list_roles()["Roles"]],
            [repository["repositoryArn"] for repository in ecr.describe_repositories()["repositories"]],
            [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]],
            [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]],
            {**model, "ResponseMetadata": None},
            {**config, "ResponseMetadata": None},
            sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"],
        ]

    before = everything()
    assert [key for key, *_ in before[0]] == ["copied", "large", "tagged"]
    assert before[1][:2] == ("image/jpeg", {"data_finger-print": "f00"})
    assert before[2] == b"12"
    assert [key for key, *_ in before[4]] == ["k", "k", "k", "marked"]
    assert before[5] == b"first"
    assert before[6] == ["keep", "versions"]
    assert before[12]["ProductionVariants"][0]["ContainerStartupHealthCheckTimeoutInSeconds"] == 77
    own_cloud("down")
    with (own_cloud.settings.home / "journal.jsonl").open("a") as journal:
        journal.write('{"method": "POST", "uri": "/", "hea{"method": "POST"}\n')  # two in one line
        journal.write('{"method": "POST", "uri": "/", "hea')  # as a crash leaves it
    assert own_cloud("up").returncode == 0
    assert everything() == before
    iam.create_role(RoleName="later", AssumeRolePolicyDocument=TRUST)  # the journal goes on after the cut
    own_cloud("down")
    own_cloud("up")
    assert iam.get_role(RoleName="later")


def test_a_request_that_cannot_be_written_down_leaves_the_journal_as_it_was(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    environ = {**EnvironBuilder(method="POST").get_environ(), "REQUEST_URI": "/"}
    journal.append(environ, b"first")
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))  # as a disk that is full
    try:
        with pytest.raises(OSError):
            journal.append(environ, b"second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole
    journal.append(environ, b"third")
    repeated = []

    def app(environ: dict, start_response):
        repeated.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    assert journal.replay(app) == 0
    assert repeated == [b"first", b"third"]


def test_nothing_is_deleted_while_keys_are_listed(tmp_path, monkeypatch):
    disk = mirror.Mirror(tmp_path)

    class Keys:
        def items(self) -> list:
            with ThreadPoolExecutor(1) as other:
                assert not other.submit(disk.lock.acquire, blocking=False).result()
            return [("key", SimpleNamespace(size=1))]

    s3 = SimpleNamespace(buckets={"listed": SimpleNamespace(keys=Keys())})
    monkeypatch.setattr(mirror, "backend", lambda: s3)
    assert Objects(disk).list("listed") == ["key"]


def test_deleted_bodies_do_not_pile_up(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    s3 = own_cloud.client("s3")
    s3.create_bucket(Bucket="bodies")
    for body in (b"one", b"two", b"three"):
        s3.put_object(Bucket="bodies", Key="same", Body=body)
        s3.put_object(Bucket="bodies", Key="other", Body=body)
    s3.delete_object(Bucket="bodies", Key="other")
    bodies = own_cloud.settings.home / "s3" / "bodies"
    assert [path.read_bytes() for path in bodies.glob("*/*")] == [b"three"]


def test_an_object_can_be_read_while_it_is_overwritten(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    s3 = own_cloud.client("s3")
    s3.create_bucket(Bucket="bodies")
    bodies = [bytes([number]) * 10_000 for number in range(128)]
    s3.put_object(Bucket="bodies", Key="k", Body=bodies[0])

    def overwrite_and_read(body: bytes) -> bytes:
        s3.put_object(Bucket="bodies", Key="k", Body=body)
        return s3.get_object(Bucket="bodies", Key="k")["Body"].read()

    with ThreadPoolExecutor(8) as pool:
        assert all(read in bodies for read in pool.map(overwrite_and_read, bodies))
    last = s3.get_object(Bucket="bodies", Key="k")["Body"].read()
    own_cloud("down")
    own_cloud("up")
    assert s3.get_object(Bucket="bodies", Key="k")["Body"].read() == last
    assert "Traceback" not in own_cloud.settings.log_file.read_text()


@pytest.fixture(scope="module")
def odd_bucket(boto) -> str:
    boto("s3").create_bucket(Bucket="odd")
    for key in ODD_KEYS:
        boto("s3").put_object(Bucket="odd", Key=key, Body=key.encode())
    return "odd"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_are_any_text(boto, odd_bucket, key):
    assert boto("s3").get_object(Bucket=odd_bucket, Key=key)["Body"].read() == key.encode()


def test_all_odd_keys_are_listed(boto, odd_bucket):
    listed = [entry["Key"] for entry in boto("s3").list_objects_v2(Bucket=odd_bucket)["Contents"]]
    assert listed == sorted(ODD_KEYS)


def test_the_aws_cli_copies_and_synchronises(cloud: Cloud, tmp_path):
    large = os.urandom(9 * 2**20)  # more than the CLI sends in one part
    (tmp_path / "large.bin").write_bytes(large)
    cloud.aws("s3", "mb", "s3://by-cli")
    cloud.aws("s3", "cp", str(tmp_path / "large.bin"), "s3://by-cli/in/large.bin")
    cloud.aws("s3", "sync", "s3://by-cli/in", str(tmp_path / "back"))
    assert (tmp_path / "back" / "large.bin").read_bytes() == large
    assert "large.bin" in cloud.aws("s3", "ls", "s3://by-cli/in/")


def test_who_am_i(cloud: Cloud):
    assert json.loads(cloud.aws("sts", "get-caller-identity"))["Account"] == "123456789012"


def test_models_and_configurations_are_refused_with_awss_words(boto):
    sagemaker = boto("sagemaker")
    model = {"ModelName": "twice", "ExecutionRoleArn": ACCOUNT_ROLE, "PrimaryContainer": {"Image": "i"}}
    sagemaker.create_model(**model)
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        sagemaker.create_model(**model)
    with pytest.raises(ClientError, match="localcloud cannot do EnableNetworkIsolation=True, only False"):
        sagemaker.create_model(**{**model, "ModelName": "isolated"}, EnableNetworkIsolation=True)
    variant = {
        "VariantName": "v",
        "ModelName": "absent",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    with pytest.raises(ClientError, match='Could not find model "absent"'):
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.delete_model(ModelName="twice")
    with pytest.raises(ClientError, match="Could not find model"):
        sagemaker.describe_model(ModelName="twice")


def test_what_localcloud_does_not_know_is_said_so(cloud: Cloud, boto):
    with pytest.raises(ClientError, match="localcloud cannot do this"):
        boto("sagemaker").create_hub(HubName="h", HubDescription="d")
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{cloud.settings.url}/no-such-bucket/no-such-key")
    assert missing.value.code == 404


def test_localcloud_listens_where_it_says(cloud: Cloud):
    server = psutil.Process(int(cloud.settings.pid_file.read_text()))
    listening = {c.laddr for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert ("127.0.0.1", cloud.settings.port) in listening
    assert all(address.ip == "127.0.0.1" for address in listening)


def test_an_endpoint_serves_again_after_a_restart(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    image = own_cloud.image("echo", "serve", """
        import os
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Echo(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Echo).serve_forever()
    """)  # fmt: skip
    sagemaker, runtime = own_cloud.client("sagemaker"), own_cloud.client("sagemaker-runtime")
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ACCOUNT_ROLE, PrimaryContainer={"Image": image})
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c", Tags=[{"Key": "k", "Value": "v"}])

    def in_service() -> bool:
        return sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"

    eventually(in_service)
    photograph = bytes(range(256))
    for _ in range(2):
        answer = runtime.invoke_endpoint(EndpointName="e", ContentType="image/jpeg", Body=photograph)
        assert answer["Body"].read() == photograph
        assert "InService" in own_cloud("status").stdout
        assert own_cloud("down").returncode == 0
        assert own_cloud("up").returncode == 0
        eventually(in_service)
    arn = sagemaker.describe_endpoint(EndpointName="e")["EndpointArn"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    sagemaker.delete_endpoint(EndpointName="e")
    eventually(lambda: sagemaker.list_endpoints()["Endpoints"] == [])
