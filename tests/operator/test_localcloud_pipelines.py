"""SageMaker pipelines that localcloud interprets: real jobs and functions, tiny scripts as images."""

import json
import os
import textwrap
import uuid

import psutil
import pytest
from botocore.exceptions import ClientError

from localcloud.pipeline_definition import parse
from localcloud.pipeline_execution import started
from localcloud.pipelines import Pipelines
from localcloud.settings import Settings
from localcloud.store import Store
from tests.operator.conftest import ACCOUNT_ROLE, Cloud, eventually, gone

FUNCTION_IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/bintally-function:1"
HANDLERS = """
    def promote(event, context):
        if event["endpoint"] == "broken":
            raise ValueError("another configuration is live")
        return {"configuration": event["model"].rpartition("/")[2], "version": 7, "changed": True}
"""
TRAIN = """
    import json, os, pathlib
    base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
    hyperparameters = json.loads((base / "input/config/hyperparameters.json").read_text())
    (base / "model/accuracy").write_text(hyperparameters["accuracy"])
"""
EVALUATE = """
    import json, os, pathlib, sys, tarfile
    base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "processing"
    with tarfile.open(base / "model/model.tar.gz") as tar:
        accuracy = float(tar.extractfile("accuracy").read())
    report = {"decision": {"promote": accuracy > 0.5}, "per count": [{"count": 1, "accuracy": accuracy}]}
    (base / "report/evaluation.json").write_text(json.dumps(report))
"""
WAIT = """
    import os, pathlib, time
    while not pathlib.Path(os.environ["RELEASE"]).exists():
        time.sleep(0.01)
"""


def get(reference: str) -> dict:
    return {"Get": reference}


def join(*values, on: str = "/") -> dict:
    return {"Std:Join": {"On": on, "Values": list(values)}}


def json_get(path: str, file: str = "Evaluation") -> dict:
    return {"Std:JsonGet": {"PropertyFile": get(f"Steps.Evaluate.PropertyFiles.{file}"), "Path": path}}


def train(name: str = "Train", image: str = "pipe-train", **members) -> dict:
    return {
        "Name": name,
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "RoleArn": ACCOUNT_ROLE,
            "OutputDataConfig": {"S3OutputPath": "s3://pipelines/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            **members,
        },
    }


def process(name: str, image: str, **members) -> dict:
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {"ImageUri": image},
            "RoleArn": ACCOUNT_ROLE,
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
            },
            **members,
        },
    }


def definition(*steps: dict, parameters: tuple = ()) -> dict:
    return {"Version": "2020-12-01", "Metadata": {}, "Parameters": list(parameters), "Steps": list(steps)}


def parameter(name: str, kind: str = "String", **members) -> dict:
    return {"Name": name, "Type": kind, **members}


def flow() -> dict:
    """Train, evaluate, decide, promote and verify, with a reference of every kind."""
    evaluate = process(
        "Evaluate", "pipe-evaluate",
        ProcessingInputs=[{"InputName": "model", "S3Input": {
            "S3Uri": get("Steps.Train.ModelArtifacts.S3ModelArtifacts"), "S3DataType": "S3Prefix",
            "LocalPath": "/opt/ml/processing/model", "S3InputMode": "File"}}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "report", "S3Output": {
            "S3Uri": join("s3://pipelines/evaluation", get("Execution.PipelineExecutionId")),
            "LocalPath": "/opt/ml/processing/report", "S3UploadMode": "EndOfJob"}}]},
    )  # fmt: skip
    evaluate["PropertyFiles"] = [
        {"PropertyFileName": "Evaluation", "OutputName": "report", "FilePath": "evaluation.json"}
    ]
    promote = {
        "Name": "Promote",
        "Type": "Lambda",
        "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:pipe-promote",
        "OutputParameters": [
            {"OutputName": "configuration", "OutputType": "String"},
            {"OutputName": "version", "OutputType": "Integer"},
            {"OutputName": "changed", "OutputType": "Boolean"},
        ],
        "Arguments": {
            "endpoint": get("Parameters.EndpointName"),
            "model": get("Steps.Train.ModelArtifacts.S3ModelArtifacts"),
            "accuracy": json_get("['per count'][0].accuracy"),
            "level": get("Parameters.Level"),
        },
    }
    verify = process(
        "Verify", "pipe-done",
        Environment={
            "CONFIGURATION": get("Steps.Promote.OutputParameters['configuration']"),
            "VERSION": join(get("Steps.Promote.OutputParameters['version']"), get("Parameters.Level"),
                            get("Steps.Promote.OutputParameters['changed']"), on=" "),
            "REPORT": get("Steps.Evaluate.ProcessingOutputConfig.Outputs['report'].S3Output.S3Uri"),
            "IMAGE": get("Steps.Train.AlgorithmSpecification.TrainingImage"),
            "PIPELINE": join(get("Execution.PipelineName"), get("Execution.StartDateTime"), on="@"),
            "OUTCOME": get("Steps.Decide.Outcome"),
        },
    )  # fmt: skip
    keep, level = process("Keep", "pipe-done"), get("Parameters.Level")
    decide = {
        "Name": "Decide",
        "Type": "Condition",
        "DisplayName": "better?",
        "Arguments": {
            "Conditions": [
                {"Type": "Equals", "LeftValue": json_get("decision.promote"), "RightValue": True},
                {"Type": "Not", "Expression": {
                    "Type": "In", "QueryValue": get("Parameters.EndpointName"), "Values": ["frozen"]}},
                {"Type": "Or", "Conditions": [
                    {"Type": "LessThan", "LeftValue": level, "RightValue": 0.5},
                    {"Type": "GreaterThanOrEqualTo", "LeftValue": level, "RightValue": 0.9}]},
            ],
            "IfSteps": [promote, verify],
            "ElseSteps": [keep],
        },
    }  # fmt: skip
    return definition(
        train(
            HyperParameters={"accuracy": get("Parameters.Accuracy")}, Tags=[{"Key": "project", "Value": "x"}]
        ),
        evaluate,
        decide,
        parameters=(
            parameter("Accuracy", DefaultValue="0.9"),
            parameter("EndpointName", DefaultValue="bins"),
            parameter("Level", "Float", DefaultValue=0.9),
        ),
    )


@pytest.fixture(scope="module")
def images(cloud: Cloud) -> Cloud:
    """The shared localcloud, with the images, the bucket and the function of these tests."""
    make_images(cloud)
    return cloud


def make_images(cloud: Cloud) -> None:
    cloud.client("s3").create_bucket(Bucket="pipelines")
    cloud.image("pipe-train", "train", TRAIN)
    cloud.image("pipe-wait", "train", WAIT)
    cloud.image("pipe-evaluate", "process", EVALUATE)
    cloud.image("pipe-done", "process", "pass")
    (cloud.scripts / "pipe_handlers.py").write_text(textwrap.dedent(HANDLERS))
    cloud.client("lambda").create_function(
        FunctionName="pipe-promote", PackageType="Image", Code={"ImageUri": FUNCTION_IMAGE},
        Role=ACCOUNT_ROLE,
        ImageConfig={"Command": ["pipe_handlers.promote"]},
        Environment={"Variables": {"PYTHONPATH": str(cloud.scripts)}},
    )  # fmt: skip


def create(client, document: dict, **members) -> str:
    """A pipeline with a name of its own; returns the name."""
    name = f"pipe-{uuid.uuid4().hex[:8]}"
    client.create_pipeline(
        PipelineName=name, PipelineDefinition=json.dumps(document), RoleArn=ACCOUNT_ROLE, **members
    )
    return name


def start(client, name: str, **parameters: str) -> str:
    """Returns the execution's ARN."""
    given = [{"Name": key, "Value": value} for key, value in parameters.items()]
    return client.start_pipeline_execution(PipelineName=name, PipelineParameters=given)[
        "PipelineExecutionArn"
    ]


def finished(client, arn: str) -> dict:
    def look() -> dict | None:
        found = client.describe_pipeline_execution(PipelineExecutionArn=arn)
        return found if found["PipelineExecutionStatus"] in ("Succeeded", "Failed", "Stopped") else None

    return eventually(look)


def steps(client, arn: str) -> dict[str, dict]:
    found = client.list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
    return {step["StepName"]: step for step in found["PipelineExecutionSteps"]}


def job_of(step: dict, kind: str = "TrainingJob") -> str:
    return step["Metadata"][kind]["Arn"].rpartition("/")[2]


def test_the_flow_promotes_what_is_better(images: Cloud, boto):
    client = boto("sagemaker")
    name = create(client, flow())
    arn = start(client, name)
    execution = finished(client, arn)
    found = steps(client, arn)

    assert execution["PipelineExecutionStatus"] == "Succeeded", found
    assert [s["StepStatus"] for s in found.values()] == ["Succeeded"] * 5
    assert list(found) == ["Train", "Evaluate", "Decide", "Promote", "Verify"]
    assert all(step["StartTime"] <= step["EndTime"] and step["AttemptCount"] == 1 for step in found.values())
    assert found["Decide"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    assert found["Decide"]["StepDisplayName"] == "better?"

    run = arn.rpartition("/")[2]
    job = client.describe_training_job(TrainingJobName=job_of(found["Train"]))
    assert job["TrainingJobName"].startswith(f"pipelines-{run}-Train-")
    assert job["HyperParameters"] == {"accuracy": "0.9"}
    tags = {t["Key"]: t["Value"] for t in client.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]}
    assert tags["project"] == "x"
    assert tags["sagemaker:pipeline-step-name"] == "Train"
    assert tags["sagemaker:pipeline-execution-arn"] == arn

    model = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert found["Promote"]["Metadata"]["Lambda"] == {
        "Arn": "arn:aws:lambda:us-east-1:123456789012:function:pipe-promote",
        "OutputParameters": [
            {"Name": "configuration", "Value": model.rpartition("/")[2]},
            {"Name": "version", "Value": "7"},
            {"Name": "changed", "Value": "true"},
        ],
    }
    verify = client.describe_processing_job(ProcessingJobName=job_of(found["Verify"], "ProcessingJob"))
    seen = verify["Environment"]
    assert seen.pop("PIPELINE").startswith(f"{name}@20")
    assert seen == {
        "CONFIGURATION": "model.tar.gz",
        "VERSION": "7 0.9 true",
        "REPORT": f"s3://pipelines/evaluation/{run}",
        "IMAGE": "pipe-train",
        "OUTCOME": "True",
    }


@pytest.mark.parametrize("parameters", [{"Accuracy": "0.1"}, {"EndpointName": "frozen"}, {"Level": "0.7"}])
def test_the_flow_keeps_the_champion_if_one_condition_does_not_hold(images: Cloud, boto, parameters):
    client = boto("sagemaker")
    arn = start(client, create(client, flow()), **parameters)
    assert finished(client, arn)["PipelineExecutionStatus"] == "Succeeded"
    found = steps(client, arn)
    assert list(found) == ["Train", "Evaluate", "Decide", "Keep"]
    assert found["Decide"]["Metadata"] == {"Condition": {"Outcome": "False"}}
    given = client.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    assert given == [{"Name": name, "Value": value} for name, value in parameters.items()]


def test_a_failed_function_fails_the_execution_and_retry_goes_on_from_there(images: Cloud, boto):
    client = boto("sagemaker")
    arn = start(client, create(client, flow()), EndpointName="broken")
    execution = finished(client, arn)
    before = steps(client, arn)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert execution["FailureReason"] == "Step failure: One or multiple steps failed."
    assert before["Promote"]["StepStatus"] == "Failed"
    assert before["Promote"]["FailureReason"].endswith("failed: ValueError: another configuration is live")
    assert "Verify" not in before

    handlers = images.scripts / "pipe_handlers.py"
    healthy = handlers.read_text()
    handlers.write_text(healthy.replace("broken", "another"))
    boto("lambda").update_function_configuration(
        FunctionName="pipe-promote", Description="forget what is warm"
    )
    try:
        client.retry_pipeline_execution(PipelineExecutionArn=arn)
        execution = finished(client, arn)
    finally:
        handlers.write_text(healthy)
        boto("lambda").update_function_configuration(FunctionName="pipe-promote", Description="")
    after = steps(client, arn)
    assert execution["PipelineExecutionStatus"] == "Succeeded" and "FailureReason" not in execution
    assert {name: after[name] for name in ("Train", "Evaluate", "Decide")} == {
        name: before[name] for name in ("Train", "Evaluate", "Decide")
    }
    assert after["Promote"]["AttemptCount"] == 2 and "FailureReason" not in after["Promote"]
    assert after["Verify"]["AttemptCount"] == 1
    with pytest.raises(ClientError, match="is Succeeded: only one that is Failed or Stopped can be retried"):
        client.retry_pipeline_execution(PipelineExecutionArn=arn)


@pytest.mark.parametrize(
    ("function", "output", "words"),
    [
        ("pipe-promote", ("state", "String"), "the function's answer has no state"),
        ("pipe-promote", ("version", "String"), "the function's version is not of its type, String: 7"),
        ("pipe-nowhere", ("version", "Integer"), "Function not found"),
    ],
)
def test_a_function_must_answer_what_the_step_declares(images: Cloud, boto, function, output, words):
    client = boto("sagemaker")
    step = {
        "Name": "Promote",
        "Type": "Lambda",
        "FunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{function}",
        "OutputParameters": [dict(zip(("OutputName", "OutputType"), output, strict=True))],
        "Arguments": {"endpoint": "bins", "model": "m"},
    }
    arn = start(client, create(client, definition(step)))
    assert finished(client, arn)["PipelineExecutionStatus"] == "Failed"
    assert words in steps(client, arn)["Promote"]["FailureReason"]


def test_a_failed_job_gives_the_step_its_reason(images: Cloud, boto):
    images.image("pipe-bad", "train", "raise SystemExit('no bins')")
    client = boto("sagemaker")
    late = process("Late", "pipe-done") | {"DependsOn": ["Train"]}
    arn = start(client, create(client, definition(train(image="pipe-bad"), late)))
    assert finished(client, arn)["PipelineExecutionStatus"] == "Failed"
    found = steps(client, arn)
    assert list(found) == ["Train"]
    assert found["Train"]["FailureReason"] == "AlgorithmError: exit code 1: no bins"


def test_a_fail_step_says_why_in_the_definitions_words(images: Cloud, boto):
    client = boto("sagemaker")
    message = join("only ", get("Parameters.Bins"), " bins", on="")
    fail = {"Name": "TooFew", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
    enough = {"Type": "GreaterThan", "LeftValue": get("Parameters.Bins"), "RightValue": 10}
    check = {"Name": "Check", "Type": "Condition", "Arguments": {"Conditions": [enough], "ElseSteps": [fail]}}
    name = create(client, definition(check, parameters=(parameter("Bins", "Integer"),)))
    arn = start(client, name, Bins="3")
    assert finished(client, arn)["PipelineExecutionStatus"] == "Failed"
    found = steps(client, arn)["TooFew"]
    assert found["FailureReason"] == found["Metadata"]["Fail"]["ErrorMessage"] == "only 3 bins"
    many = start(client, name, Bins="11")
    assert finished(client, many)["PipelineExecutionStatus"] == "Succeeded"
    assert list(steps(client, many)) == ["Check"]


def test_what_a_step_has_not_left_is_said(images: Cloud, boto):
    client = boto("sagemaker")
    document = flow()
    decide = document["Steps"][2]
    decide["Arguments"]["Conditions"][0]["LeftValue"] = json_get("decision.promoted")
    arn = start(client, create(client, document))
    assert finished(client, arn)["PipelineExecutionStatus"] == "Failed"
    reason = steps(client, arn)["Decide"]["FailureReason"]
    assert reason == "Steps.Evaluate.PropertyFiles.Evaluation: there is no decision.promoted"

    decide["Arguments"]["Conditions"][0] |= {"LeftValue": json_get("decision.promote"), "RightValue": "true"}
    arn = start(client, create(client, document))
    finished(client, arn)
    reason = steps(client, arn)["Decide"]["FailureReason"]
    assert reason == "Boolean True cannot be compared with String 'true'"


def test_independent_steps_run_together_and_as_many_as_allowed(images: Cloud, boto, tmp_path):
    meet = images.image(
        "pipe-meet",
        "process",
        """
        import os, pathlib, time
        folder = pathlib.Path(os.environ["FOLDER"])
        (folder / os.environ["PROCESSING_JOB_NAME"]).touch()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        """,
    )
    client = boto("sagemaker")
    both = [process(name, meet, Environment={"FOLDER": str(tmp_path)}) for name in ("One", "Two")]
    arn = start(client, create(client, definition(*both)))
    assert finished(client, arn)["PipelineExecutionStatus"] == "Succeeded"

    alone = definition(process("One", "pipe-done"), process("Two", "pipe-done"))
    arn = start(client, create(client, alone, ParallelismConfiguration={"MaxParallelExecutionSteps": 1}))
    assert finished(client, arn)["PipelineExecutionStatus"] == "Succeeded"
    first, second = steps(client, arn).values()
    assert first["EndTime"] <= second["StartTime"]


def test_stop_stops_the_job_and_retry_takes_it_up_again(images: Cloud, boto, tmp_path):
    client = boto("sagemaker")
    late = process("Late", "pipe-done") | {"DependsOn": ["Train"]}
    release = tmp_path / "release"
    waiting = train(image="pipe-wait", Environment={"RELEASE": str(release)})
    name = create(client, definition(waiting, late))
    arn = start(client, name)
    eventually(lambda: steps(client, arn).get("Train", {}).get("StepStatus") == "Executing")
    with pytest.raises(ClientError, match="ConflictException"):
        client.delete_pipeline(PipelineName=name)
    client.stop_pipeline_execution(PipelineExecutionArn=arn)
    assert finished(client, arn)["PipelineExecutionStatus"] == "Stopped"
    found = steps(client, arn)
    assert [(n, s["StepStatus"]) for n, s in found.items()] == [("Train", "Stopped")]
    job = client.describe_training_job(TrainingJobName=job_of(found["Train"]))
    assert job["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="is Stopped: only one that is Executing can be stopped"):
        client.stop_pipeline_execution(PipelineExecutionArn=arn)

    release.touch()
    client.retry_pipeline_execution(PipelineExecutionArn=arn)
    assert finished(client, arn)["PipelineExecutionStatus"] == "Succeeded"
    found = steps(client, arn)
    assert {n: s["AttemptCount"] for n, s in found.items()} == {"Train": 2, "Late": 1}
    client.delete_pipeline(PipelineName=name)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client.describe_pipeline_execution(PipelineExecutionArn=arn)


def changed(change) -> str:
    document = flow()
    change(document["Steps"], document)
    return json.dumps(document)


def condition_left(value: dict) -> str:
    return changed(lambda s, _: s[2]["Arguments"]["Conditions"][0].update(LeftValue=value))


def with_role(step: int, value) -> str:
    return changed(lambda s, _: s[step]["Arguments"].update(RoleArn=value))


REFUSED = {
    "is not JSON": "{",
    "Version 2020-12-01": json.dumps({"Version": "1", "Steps": []}),
    "has no Steps": json.dumps(definition()),
    "no experiments": changed(lambda s, d: d.update(PipelineExperimentConfig={"ExperimentName": "x"})),
    "step Train of Type=Tuning": changed(lambda s, d: s[0].update(Type="Tuning")),
    "CacheConfig.Enabled of step Train": changed(lambda s, d: s[0].update(CacheConfig={"Enabled": True})),
    "RetryPolicies of step Train": changed(lambda s, d: s[0].update(RetryPolicies=[{"MaxAttempts": 2}])),
    "QualityCheckConfig of step Train": changed(lambda s, d: s[0].update(QualityCheckConfig={"a": 1})),
    "the condition Between of step Decide": changed(
        lambda s, d: s[2]["Arguments"]["Conditions"][1].update(Expression={"Type": "Between"})
    ),
    "function Std:Split": with_role(0, {"Std:Split": {}}),
    "Std:JsonGet, and not S3Uri": condition_left({"Std:JsonGet": {"S3Uri": "s3://pipelines/x", "Path": "a"}}),
    "Std:Join needs a text": with_role(0, {"Std:Join": {"On": "/", "Values": "ab"}}),
    "Train refers to Parameters.Role": with_role(0, get("Parameters.Role")),
    "refers to Execution.Owner": with_role(0, get("Execution.Owner")),
    "Evaluate refers to Steps.Train.ModelArtefacts": with_role(1, get("Steps.Train.ModelArtefacts")),
    "Evaluate needs Prepare": changed(lambda s, d: s[1].update(DependsOn=["Prepare"])),
    "PropertyFiles.Other, which": condition_left(json_get("a", file="Other")),
    "OutputParameters.state, which": changed(
        lambda s, d: s[2]["Arguments"]["IfSteps"][1]["Arguments"].update(
            RoleArn=get("Steps.Promote.OutputParameters['state']")
        )
    ),
    "no output details for Evaluation": changed(
        lambda s, d: s[1]["PropertyFiles"][0].update(OutputName="details")
    ),
    "wait for each other: Train after Evaluate after Train": changed(
        lambda s, d: s[0].update(DependsOn=["Evaluate"])
    ),
    "more than one step named Train": changed(lambda s, d: s[1].update(Name="Train")),
    "TrainingJobName of step Train": changed(lambda s, d: s[0]["Arguments"].update(TrainingJobName="mine")),
    "Type=Date of parameter Level": changed(lambda s, d: d["Parameters"][2].update(Type="Date")),
    "'high' of parameter Level": changed(lambda s, d: d["Parameters"][2].update(DefaultValue="high")),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_a_definition_that_cannot_be_carried_out_is_refused_by_name(images: Cloud, boto, words):
    with pytest.raises(ClientError) as refused:
        boto("sagemaker").create_pipeline(
            PipelineName="pipe-refused", PipelineDefinition=REFUSED[words], RoleArn=ACCOUNT_ROLE
        )
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert words in error["Message"]
    assert "\n" not in error["Message"]


@pytest.mark.parametrize(
    ("change", "parameters", "words"),
    [
        ({}, {"Colour": "red"}, "no parameter Colour"),
        ({}, {"Needed": "x", "Level": "high"}, "'high' is not a value of parameter Level (Float)"),
        ({}, {"Needed": "x", "Kind": "c"}, "parameter Kind must be a or b, and not c"),
        ({}, {}, "must give Needed"),
        ({"EnableNetworkIsolation": True}, {"Needed": "x"},
         "step Train: localcloud cannot do EnableNetworkIsolation=True"),
        ({"HyperParameters": {"level": get("Parameters.Level")}}, {"Needed": "x"}, "HyperParameters.level"),
        ({"AlgorithmSpecification": {"TrainingImage": get("Parameters.Needed"), "TrainingInputMode": "File"}},
         {"Needed": "unheard-of"}, "step Train: localcloud cannot run unheard-of"),
    ],
)  # fmt: skip
def test_an_execution_is_refused_before_anything_starts(images: Cloud, boto, change, parameters, words):
    client = boto("sagemaker")
    document = definition(
        process("First", "pipe-done"),
        train(**change) | {"DependsOn": ["First"]},
        parameters=(
            parameter("Needed"),
            parameter("Level", "Float", DefaultValue=1),
            parameter("Kind", DefaultValue="a", EnumValues=["a", "b"]),
        ),
    )
    name = create(client, document)
    with pytest.raises(ClientError) as refused:
        start(client, name, **parameters)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert words in refused.value.response["Error"]["Message"]
    assert client.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"] == []


def test_pipelines_are_kept_changed_and_listed(images: Cloud, boto):
    client = boto("sagemaker")
    tag = {"Key": "project", "Value": "bintally"}
    name = create(client, definition(process("Done", "pipe-done")), PipelineDescription="one", Tags=[tag])
    arn = client.describe_pipeline(PipelineName=name)["PipelineArn"]
    assert client.list_tags(ResourceArn=arn)["Tags"] == [tag]
    with pytest.raises(ClientError, match="Pipeline names must be unique"):
        client.create_pipeline(PipelineName=name, PipelineDefinition=json.dumps(flow()), RoleArn=ACCOUNT_ROLE)
    token = uuid.uuid4().hex
    both = [
        client.start_pipeline_execution(PipelineName=arn, ClientRequestToken=token)["PipelineExecutionArn"]
        for _ in range(2)
    ]
    assert both[0] == both[1]
    finished(client, both[0])

    client.update_pipeline(PipelineName=name, PipelineDefinition=json.dumps(flow()))
    with pytest.raises(ClientError, match="is not JSON"):
        client.update_pipeline(PipelineName=name, PipelineDefinition="?")
    assert json.loads(client.describe_pipeline(PipelineName=name)["PipelineDefinition"]) == flow()
    kept = client.describe_pipeline_definition_for_execution(PipelineExecutionArn=both[0])
    assert [step["Name"] for step in json.loads(kept["PipelineDefinition"])["Steps"]] == ["Done"]
    [summary] = client.list_pipelines(PipelineNamePrefix=name)["PipelineSummaries"]
    assert summary["PipelineDescription"] == "one" and summary["LastExecutionTime"]


def test_the_aws_cli_lists_executions_and_steps(images: Cloud, boto):
    client = boto("sagemaker")
    name = create(client, definition(process("One", "pipe-done"), process("Two", "pipe-done")))
    runs = [start(client, name) for _ in range(3)]
    for run in runs:
        finished(client, run)

    def aws(*arguments: str) -> list:
        return json.loads(images.aws("sagemaker", *arguments))

    listed = aws("list-pipeline-executions", "--pipeline-name", name, "--sort-order", "Ascending",
                 "--page-size", "2", "--query",
                 "PipelineExecutionSummaries[].[PipelineExecutionArn, PipelineExecutionStatus]")  # fmt: skip
    assert listed == [[run, "Succeeded"] for run in runs]
    names = aws("list-pipeline-execution-steps", "--pipeline-execution-arn", runs[0], "--query",
                "PipelineExecutionSteps[].[StepName, StepStatus, Metadata.ProcessingJob.Arn]")  # fmt: skip
    assert sorted((step, status) for step, status, _ in names) == [("One", "Succeeded"), ("Two", "Succeeded")]
    assert all(
        arn.startswith("arn:aws:sagemaker:us-east-1:123456789012:processing-job/") for *_, arn in names
    )
    assert "pipeline execution" in images("status").stdout


def test_an_execution_goes_on_after_localcloud_was_stopped_and_after_it_was_killed(
    own_cloud: Cloud, tmp_path
):
    assert own_cloud("up").returncode == 0
    client = own_cloud.client("sagemaker")
    make_images(own_cloud)
    release = tmp_path / "release"
    waiting = train(image="pipe-wait", Environment={"RELEASE": str(release)}) | {"DependsOn": ["First"]}
    late = process("Late", "pipe-done") | {"DependsOn": ["Train"]}
    name = create(client, definition(process("First", "pipe-done"), waiting, late))
    arn = start(client, name)

    def training(attempt: int) -> dict | None:
        found = steps(client, arn)
        step = found.get("Train", {})
        return found if (step.get("StepStatus"), step.get("AttemptCount")) == ("Executing", attempt) else None

    first = eventually(lambda: training(1))["First"]
    assert own_cloud("down").returncode == 0
    assert own_cloud("up").returncode == 0
    eventually(lambda: training(2))
    server = psutil.Process(int(own_cloud.settings.pid_file.read_text()))
    os.kill(server.pid, 9)
    eventually(lambda: gone(server.pid))
    release.touch()
    assert own_cloud("up").returncode == 0
    assert finished(client, arn)["PipelineExecutionStatus"] == "Succeeded"
    found = steps(client, arn)
    assert found["First"] == first
    assert {n: s["AttemptCount"] for n, s in found.items()} == {"First": 1, "Train": 3, "Late": 1}


def resumed(tmp_path, text: str, **changes) -> tuple[Store, str]:
    """(the store, the ARN) of an execution that a localcloud finds when it starts, with nothing else."""
    store = Store(tmp_path / "store")
    pipeline = {"PipelineName": "p", "PipelineArn": "arn:p", "PipelineDefinition": json.dumps(flow())}
    document = started(pipeline, parse(pipeline["PipelineDefinition"]), {"ClientRequestToken": "t"})
    arn = document["PipelineExecutionArn"]
    store.put("pipeline-execution", arn, {**document, "PipelineDefinition": text, **changes})
    settings = Settings(tmp_path, "127.0.0.1", 1, tmp_path / "images.toml")
    Pipelines(settings, store, jobs=None, objects=None).resume()
    return store, arn


def test_an_execution_that_localcloud_cannot_go_on_with_has_failed(tmp_path):
    store, arn = resumed(tmp_path, changed(lambda s, _: s[0].update(Type="Tuning")))
    found = store.get("pipeline-execution", arn)
    assert found["PipelineExecutionStatus"] == "Failed"
    assert "step Train of Type=Tuning" in found["FailureReason"]


def test_an_execution_that_was_being_stopped_is_stopped_after_a_restart(tmp_path):
    train = {"StepName": "Train", "StepStatus": "Stopping", "AttemptCount": 1}
    store, arn = resumed(
        tmp_path, json.dumps(flow()), PipelineExecutionStatus="Stopping", Steps={"Train": train}
    )

    def stopped() -> dict | None:
        found = store.get("pipeline-execution", arn)
        return found if found["PipelineExecutionStatus"] == "Stopped" else None

    assert eventually(stopped)["Steps"]["Train"]["StepStatus"] == "Stopped"
