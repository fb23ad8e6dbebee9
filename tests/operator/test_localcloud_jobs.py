"""Training and processing jobs that really run, through boto3 and the AWS CLI."""

import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from localcloud.process import Container
from tests.operator.conftest import ACCOUNT_ROLE, Cloud, eventually, gone

TRAIN = """
    import json, os, pathlib
    base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
    config = {f.stem: json.loads(f.read_text()) for f in (base / "input/config").iterdir()}
    names = sorted(p.relative_to(base / "input/data").as_posix() for p in base.glob("input/data/**/*.txt"))
    for epoch in range(3):
        print(f"epoch {epoch} accuracy={epoch / 4}")
    print("accuracy=nan")
    (base / "model" / "weights").mkdir()
    (base / "model" / "weights" / "w.bin").write_bytes(b"weights")
    (base / "model" / "seen.json").write_text(json.dumps({
        "config": config, "names": names, "cwd": os.getcwd(), "variable": os.environ["OF_THE_JOB"],
        "name": os.environ["TRAINING_JOB_NAME"], "endpoint": os.environ["AWS_ENDPOINT_URL"],
    }))
    (base / "output/data/curve.csv").write_text("1,2")
    (base / "checkpoints/last.ckpt").write_text("3")
"""
STUBBORN = """
    import os, pathlib, signal, subprocess, sys, time
    base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    detached = subprocess.Popen(command, start_new_session=True)

    def leave(*_):
        (base / "model/partial.bin").write_text("partial")
        (base / "checkpoints/at-stop").write_text("saved")
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    print("detached", detached.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def bucket(boto) -> str:
    boto("s3").create_bucket(Bucket="jobs")
    return "jobs"


def training(image: str, name: str, **members) -> dict:
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "RoleArn": ACCOUNT_ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://jobs/out/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **members,
    }


def channel(name: str, uri: str) -> dict:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": "text/plain"}


def finished(client, name: str) -> dict:
    def look() -> dict | None:
        job = client.describe_training_job(TrainingJobName=name)
        return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return eventually(look)


def log_lines(logs, group: str, prefix: str) -> list[str]:
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{prefix}/")["logStreams"]
    events = logs.get_log_events(
        logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True
    )["events"]
    return [event["message"] for event in events]


def test_a_training_job_from_channels_to_artifacts(cloud: Cloud, boto, bucket, tmp_path):
    s3, sagemaker = boto("s3"), boto("sagemaker")
    for key in ("data/train/1/a.txt", "data/train/2/b.txt", "data/train-other/c.txt", "data/one.txt"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=bucket, Key=f"data/train/{tmp_path}/d.txt", Body=b"x")  # //: an absolute path?
    image = cloud.image("complete", "train", TRAIN)
    sagemaker.create_training_job(**training(
        image, "complete-1",
        AlgorithmSpecification={
            "TrainingImage": image, "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=([0-9.a-z]+)"},
                                  {"Name": "absent", "Regex": "loss=([0-9.]+)"}],
        },
        HyperParameters={"epochs": "3"}, Environment={"OF_THE_JOB": "here"},
        InputDataConfig=[channel("train", "s3://jobs/data/train"), channel("extra", "s3://jobs/data/one.txt")],
        CheckpointConfig={"S3Uri": "s3://jobs/checkpoints/complete"},
        ProfilerConfig={"S3OutputPath": "s3://jobs/profile", "ProfilingIntervalInMilliseconds": 500},
        Tags=[{"Key": "team", "Value": "bins"}],
    ))  # fmt: skip
    job = finished(sagemaker, "complete-1")

    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed", job.get("FailureReason")
    assert job["ProfilingStatus"] == "Disabled"  # it is accepted, and nothing is measured
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("accuracy", 0.5)]
    assert job["HyperParameters"] == {"epochs": "3"}
    assert job["Environment"] == {"OF_THE_JOB": "here"}
    tags = sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "bins"}]

    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://jobs/out/complete-1/output/model.tar.gz"
    files = archive(s3, "out/complete-1/output/model.tar.gz")
    assert files["weights/w.bin"] == b"weights"
    seen = json.loads(files["seen.json"])
    assert seen["names"] == ["extra/one.txt", "train/1/a.txt", "train/2/b.txt", f"train{tmp_path}/d.txt"]
    assert not (tmp_path / "d.txt").exists()
    assert seen["config"]["hyperparameters"] == {"epochs": "3"}
    assert seen["config"]["resourceconfig"]["hosts"] == ["localhost"]
    assert seen["config"]["inputdataconfig"]["train"]["ContentType"] == "text/plain"
    assert (seen["variable"], seen["name"], seen["endpoint"]) == ("here", "complete-1", cloud.settings.url)
    assert archive(s3, "out/complete-1/output/output.tar.gz") == {"curve.csv": b"1,2"}
    saved = s3.get_object(Bucket=bucket, Key="checkpoints/complete/last.ckpt")["Body"].read()
    assert saved == b"3"
    assert log_lines(boto("logs"), "/aws/sagemaker/TrainingJobs", "complete-1")[0] == "epoch 0 accuracy=0.0"
    assert not Path(seen["cwd"]).exists()


def archive(s3, key: str) -> dict[str, bytes]:
    body = s3.get_object(Bucket="jobs", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def test_checkpoints_are_there_when_a_job_begins(cloud: Cloud, boto, bucket):
    boto("s3").put_object(Bucket=bucket, Key="checkpoints/again/epoch-7", Body=b"7")
    image = cloud.image(
        "again",
        "train",
        """
        import os
        print("resumes", os.listdir(os.environ["SAGEMAKER_BASE_DIR"] + "/checkpoints"))
    """,
    )
    boto("sagemaker").create_training_job(
        **training(image, "again", CheckpointConfig={"S3Uri": "s3://jobs/checkpoints/again"})
    )
    assert finished(boto("sagemaker"), "again")["TrainingJobStatus"] == "Completed"
    assert log_lines(boto("logs"), "/aws/sagemaker/TrainingJobs", "again") == ["resumes ['epoch-7']"]


@pytest.mark.parametrize(
    ("name", "script", "reason"),
    [
        (
            "told",
            """
            import os, sys
            with open(os.environ["SAGEMAKER_BASE_DIR"] + "/output/failure", "w") as file:
                file.write("DataError: no bins" + "x" * 2000)
            sys.exit(2)
            """,
            "AlgorithmError: DataError: no bins" + "x" * (1024 - 18),
        ),
        ("silent", "raise SystemExit('out of bins')", "AlgorithmError: exit code 1: out of bins"),
        ("killed", "import os; os.kill(os.getpid(), 9)", "AlgorithmError: exit code 137"),
    ],
)
def test_a_failing_job_says_why(cloud: Cloud, boto, bucket, name, script, reason):
    boto("sagemaker").create_training_job(**training(cloud.image(name, "train", script), name))
    job = finished(boto("sagemaker"), name)
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", reason)
    assert "ModelArtifacts" not in job or not job["ModelArtifacts"]["S3ModelArtifacts"]


def test_a_missing_channel_is_the_clients_error(cloud: Cloud, boto, bucket):
    image = cloud.image("nodata", "train", "pass")
    boto("sagemaker").create_training_job(
        **training(image, "nodata", InputDataConfig=[channel("train", "s3://jobs/nothing/here")])
    )
    job = finished(boto("sagemaker"), "nodata")
    assert (
        job["FailureReason"]
        == "ClientError: Data download failed: there is nothing at s3://jobs/nothing/here"
    )


def test_what_a_finished_job_left_running_is_ended(cloud: Cloud, boto, bucket):
    image = cloud.image(
        "litter",
        "train",
        """
        import subprocess, sys
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        print(subprocess.Popen(command, start_new_session=True).pid)
    """,
    )
    boto("sagemaker").create_training_job(**training(image, "litter"))
    assert finished(boto("sagemaker"), "litter")["TrainingJobStatus"] == "Completed"
    pid = int(log_lines(boto("logs"), "/aws/sagemaker/TrainingJobs", "litter")[0])
    assert gone(pid)


def test_the_children_of_a_process_that_got_its_number_later_are_left_alone(monkeypatch):
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    unrelated = psutil.Popen([sys.executable, "-c", parent])
    [child] = eventually(unrelated.children)
    container = Container("nobody's#mark", [sys.executable, "-c", "pass"])
    container.wait()
    container.pid = unrelated.pid
    killed: list[psutil.Process] = []
    monkeypatch.setattr("localcloud.process._kill", killed.extend)
    container.stop()
    container.end()
    child.kill()
    unrelated.wait()
    assert killed == []


def running_with_detached(cloud: Cloud, client, logs, name: str, **members) -> int:
    """Start the stubborn job; returns the pid of its detached grandchild."""
    client.create_training_job(**training(f"{name}:latest", name, **members))

    def detached() -> int | None:
        try:
            lines = log_lines(logs, "/aws/sagemaker/TrainingJobs", name)
        except (IndexError, ClientError):
            return None
        return int(lines[0].split()[1]) if lines else None

    return eventually(detached)


def test_stop_reaches_every_process_and_keeps_the_artifacts(cloud: Cloud, boto, bucket):
    cloud.image("stopped", "train", STUBBORN)
    sagemaker = boto("sagemaker")
    checkpoints = {"CheckpointConfig": {"S3Uri": "s3://jobs/checkpoints/stopped"}}
    pid = running_with_detached(cloud, sagemaker, boto("logs"), "stopped", **checkpoints)
    assert sagemaker.describe_training_job(TrainingJobName="stopped")["SecondaryStatus"] == "Training"
    sagemaker.stop_training_job(TrainingJobName="stopped")
    job = finished(sagemaker, "stopped")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert "FailureReason" not in job
    assert archive(boto("s3"), "out/stopped/output/model.tar.gz") == {"partial.bin": b"partial"}
    assert boto("s3").head_object(Bucket=bucket, Key="checkpoints/stopped/at-stop")["ContentLength"] == 5
    assert gone(pid)
    with pytest.raises(ClientError, match=r"ValidationException.*status Stopped"):
        sagemaker.stop_training_job(TrainingJobName="stopped")


def test_the_longest_runtime_is_kept(cloud: Cloud, boto, bucket):
    image = cloud.image("overdue", "train", "import time; time.sleep(600)")
    boto("sagemaker").create_training_job(
        **training(image, "overdue", StoppingCondition={"MaxRuntimeInSeconds": 1})
    )
    job = finished(boto("sagemaker"), "overdue")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}},
         "ResourceConfig.InstanceCount=2"),
        ({"AlgorithmSpecification": {"TrainingImage": "refused", "TrainingInputMode": "Pipe"}},
         "TrainingInputMode=Pipe"),
        ({"AlgorithmSpecification": {"TrainingImage": "elsewhere/unheard-of:1", "TrainingInputMode": "File"}},
         "no image named 'unheard-of'"),
        ({"AlgorithmSpecification": {"TrainingImage": "bintally-function", "TrainingInputMode": "File"}},
         "has no 'train' entry point"),
        ({"AlgorithmSpecification": {"AlgorithmName": "a", "TrainingInputMode": "File"}}, "AlgorithmName=a"),
        ({"EnableNetworkIsolation": True}, "EnableNetworkIsolation=True"),
        ({"DebugHookConfig": {"S3OutputPath": "s3://jobs/d"}}, "DebugHookConfig.S3OutputPath"),
        ({"CheckpointConfig": {"S3Uri": "s3://jobs/c", "LocalPath": "/opt/ml/../../etc"}}, "leads out of"),
        ({"TrainingJobName": "not/a/name"}, "regular expression"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(cloud: Cloud, boto, bucket, members, words):
    if "[refused]" not in cloud.settings.images.read_text():
        cloud.image("refused", "train", "pass")
    with pytest.raises(ClientError) as refused:
        boto("sagemaker").create_training_job(**training("refused", "refused", **members))
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert words in error["Message"]
    assert "\n" not in error["Message"]


def test_names_are_unique_and_unknown_ones_are_said_so(cloud: Cloud, boto, bucket):
    sagemaker = boto("sagemaker")
    image = cloud.image("unique", "train", "pass")
    sagemaker.create_training_job(**training(image, "unique"))
    with pytest.raises(ClientError, match="ResourceInUse"):
        sagemaker.create_training_job(**training(image, "unique"))
    for call in (sagemaker.describe_training_job, sagemaker.stop_training_job):
        with pytest.raises(ClientError, match=r"ValidationException.*Requested resource not found"):
            call(TrainingJobName="nowhere")


def test_listing_filters_sorts_and_pages(cloud: Cloud, boto, bucket):
    sagemaker = boto("sagemaker")
    good = cloud.image("listed", "train", "pass")
    bad = cloud.image("listed-bad", "train", "raise SystemExit(1)")
    for name, image in (("listed-c", good), ("listed-a", good), ("listed-b", bad)):
        sagemaker.create_training_job(**training(image, name))
        finished(sagemaker, name)

    def names(**query) -> list[str]:
        pages = sagemaker.get_paginator("list_training_jobs").paginate(NameContains="listed", **query)
        return [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]

    assert names(SortBy="Name", MaxResults=2) == ["listed-a", "listed-b", "listed-c"]
    assert names(SortBy="CreationTime", SortOrder="Descending") == ["listed-b", "listed-a", "listed-c"]
    assert names(StatusEquals="Failed") == ["listed-b"]
    page = sagemaker.list_training_jobs(NameContains="listed", MaxResults=2)
    assert len(page["TrainingJobSummaries"]) == 2
    assert page["NextToken"]
    first = {"SortBy": "Name", "StatusEquals": "Failed", "MaxResults": 1}
    page = sagemaker.list_training_jobs(NameContains="listed", **first)
    assert page["TrainingJobSummaries"] == [] and page["NextToken"]  # of the page that is listed-a
    assert names(**first) == ["listed-b"]


def test_the_aws_cli_reads_a_job_and_its_log(cloud: Cloud, boto, bucket, tmp_path):
    image = cloud.image("seen", "train", "print('hello from the container')")
    boto("sagemaker").create_training_job(**training(image, "seen"))
    finished(boto("sagemaker"), "seen")
    described = json.loads(cloud.aws("sagemaker", "describe-training-job", "--training-job-name", "seen"))
    assert described["TrainingJobStatus"] == "Completed"
    cloud.aws("s3", "cp", described["ModelArtifacts"]["S3ModelArtifacts"], str(tmp_path / "model.tar.gz"))
    assert tarfile.is_tarfile(tmp_path / "model.tar.gz")
    tail = cloud.aws("logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs",
                     "--log-stream-name-prefix", "seen/", "--query", "events[].message")  # fmt: skip
    assert json.loads(tail) == ["hello from the container"]


def processing(image: str, name: str, **members) -> dict:
    return {
        "ProcessingJobName": name,
        "AppSpecification": {"ImageUri": image},
        "RoleArn": ACCOUNT_ROLE,
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
        },
        **members,
    }


def processed(client, name: str) -> dict:
    def look() -> dict | None:
        job = client.describe_processing_job(ProcessingJobName=name)
        return job if job["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return eventually(look)


def test_a_processing_job_reads_inputs_and_writes_outputs(cloud: Cloud, boto, bucket):
    s3, sagemaker = boto("s3"), boto("sagemaker")
    s3.put_object(Bucket=bucket, Key="in/one.txt", Body=b"1")
    s3.put_object(Bucket=bucket, Key="in/deep/two.txt", Body=b"2")
    s3.put_object(Bucket=bucket, Key="artifacts/model.tar.gz", Body=b"model")
    image = cloud.image("proc", "process", "raise SystemExit('the entry point of the request is used')")
    script = cloud.scripts / "evaluate.py"
    script.write_text(
        "import json, os, pathlib, sys\n"
        "source, target = map(pathlib.Path, sys.argv[1:3])\n"
        "base = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'])\n"
        "config = json.loads((base / 'config/processingjobconfig.json').read_text())\n"
        "seen = sorted(p.relative_to(source).as_posix() for p in source.rglob('*') if p.is_file())\n"
        "model = (base / 'processing/model/model.tar.gz').read_text()\n"
        "(target / 'nested').mkdir()\n"
        "(target / 'nested/result.json').write_text(json.dumps([seen, model, config['ProcessingJobName']]))\n"
        "(base / 'output/message').write_text('evaluated 2')\n"
    )

    def given(name: str, uri: str) -> dict:
        local = f"/opt/ml/processing/{name}"
        return {"InputName": name, "S3Input": {"S3Uri": uri, "LocalPath": local, "S3DataType": "S3Prefix",
                                               "S3InputMode": "File"}}  # fmt: skip

    output = {
        "S3Uri": "s3://jobs/evaluation",
        "LocalPath": "/opt/ml/processing/out",
        "S3UploadMode": "EndOfJob",
    }
    sagemaker.create_processing_job(**processing(
        image, "proc",
        AppSpecification={"ImageUri": image, "ContainerEntrypoint": ["python", str(script)],
                          "ContainerArguments": ["/opt/ml/processing/photographs", "/opt/ml/processing/out"]},
        ProcessingInputs=[given("photographs", "s3://jobs/in"), given("model", "s3://jobs/artifacts/model.tar.gz")],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "report", "S3Output": output}]},
    ))  # fmt: skip
    job = processed(sagemaker, "proc")
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ExitMessage"] == "evaluated 2"
    assert job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    assert job["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["LocalPath"] == "/opt/ml/processing/out"
    result = json.loads(s3.get_object(Bucket=bucket, Key="evaluation/nested/result.json")["Body"].read())
    assert result == [["deep/two.txt", "one.txt"], "model", "proc"]
    assert sagemaker.list_processing_jobs(NameContains="proc")["ProcessingJobSummaries"]


def test_a_processing_job_fails_and_stops_in_words(cloud: Cloud, boto, bucket):
    sagemaker = boto("sagemaker")
    sagemaker.create_processing_job(
        **processing(cloud.image("pfail", "process", "raise SystemExit('no')"), "pfail")
    )
    job = processed(sagemaker, "pfail")
    assert (job["ProcessingJobStatus"], job["FailureReason"]) == ("Failed", "AlgorithmError: exit code 1: no")
    sagemaker.create_processing_job(
        **processing(cloud.image("pstop", "process", "import time; time.sleep(600)"), "pstop")
    )
    sagemaker.stop_processing_job(ProcessingJobName="pstop")
    assert processed(sagemaker, "pstop")["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="ValidationException"):
        sagemaker.describe_processing_job(ProcessingJobName="nowhere")


def test_stopping_localcloud_fails_the_job_that_runs_and_keeps_the_others(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    sagemaker, logs = own_cloud.client("sagemaker"), own_cloud.client("logs")
    own_cloud.client("s3").create_bucket(Bucket="jobs")
    sagemaker.create_training_job(**training(own_cloud.image("done", "train", "print('done')"), "done"))
    before = finished(sagemaker, "done")
    own_cloud.image("cut", "train", STUBBORN)
    pid = running_with_detached(own_cloud, sagemaker, logs, "cut")

    assert own_cloud("down").returncode == 0
    assert gone(pid)
    assert own_cloud("up").returncode == 0
    job = sagemaker.describe_training_job(TrainingJobName="cut")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "localcloud was stopped while the job ran"
    after = sagemaker.describe_training_job(TrainingJobName="done")
    assert {**before, "ResponseMetadata": None} == {**after, "ResponseMetadata": None}
    assert log_lines(logs, "/aws/sagemaker/TrainingJobs", "done") == ["done"]
    assert sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == []


def test_killing_localcloud_leaves_nothing_running_after_the_next_start(own_cloud: Cloud):
    assert own_cloud("up").returncode == 0
    sagemaker, logs = own_cloud.client("sagemaker"), own_cloud.client("logs")
    own_cloud.client("s3").create_bucket(Bucket="jobs")
    own_cloud.image("orphan", "train", STUBBORN)
    pid = running_with_detached(own_cloud, sagemaker, logs, "orphan")
    server = psutil.Process(int(own_cloud.settings.pid_file.read_text()))
    os.kill(server.pid, 9)
    eventually(lambda: gone(server.pid))
    assert not gone(pid)

    assert own_cloud("up").returncode == 0
    assert gone(pid)
    job = sagemaker.describe_training_job(TrainingJobName="orphan")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "localcloud was stopped while the job ran"
    assert log_lines(logs, "/aws/sagemaker/TrainingJobs", "orphan") == [f"detached {pid}"]


def test_an_empty_job_costs_little_beyond_its_process(cloud: Cloud, boto, bucket):
    """The bound is the product's promise; the benchmark has what was measured."""
    image = cloud.image("empty", "train", "pass")
    start = time.monotonic()
    boto("sagemaker").create_training_job(**training(image, "empty"))
    job = finished(boto("sagemaker"), "empty")
    assert job["TrainingJobStatus"] == "Completed"
    assert time.monotonic() - start < 5
