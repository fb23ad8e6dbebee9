"""Our pipeline's definition against one of the same shape from the SageMaker SDK's own builder."""

import json

import boto3
import pytest
from sagemaker.debugger import ProfilerConfig
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.lambda_helper import Lambda
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import ConditionEquals
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.functions import Join, JsonGet
from sagemaker.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
from sagemaker.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.steps import ProcessingStep, TrainingStep

from services import pipeline_definition, train
from services.aws import Aws
from services.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of the builder, that it starts nothing
ROLE, PROMOTE = "arn:aws:iam::123456789012:role/r", "arn:aws:lambda:eu-west-1:123456789012:function:promote"
SETTINGS = Settings(region="eu-west-1", bucket="bins", role=ROLE, train_image="t", serve_image="s")
OUTPUT = "s3://bins/bintally/training"
# What the builder says although it is the default, and we leave out.
DEFAULTS = [("AppManaged", False), ("S3CompressionType", "None"), ("DisableProfiler", False)]
PARAMETERS = {"String": ParameterString, "Integer": ParameterInteger, "Float": ParameterFloat}


@pytest.fixture(scope="module")
def ours() -> dict:
    return pipeline_definition.definition(Aws(SETTINGS), PROMOTE)


@pytest.fixture(scope="module")
def theirs(ours) -> dict:
    """Built as the SDK's documentation has it; nothing is asked of AWS."""
    session = PipelineSession(boto3.Session("x", "x", region_name="eu-west-1"), default_bucket="bins")
    parameters = {
        p["Name"]: PARAMETERS[p["Type"]](p["Name"], default_value=p.get("DefaultValue"))
        for p in ours["Parameters"]
    }
    given = parameters.__getitem__
    tags, execution = [{"Key": "project", "Value": "bintally"}], ExecutionVariables.PIPELINE_EXECUTION_ID

    def joined(*values) -> Join:
        return Join(on="", values=list(values))

    def below_data(place: str) -> Join:
        return joined(given("DataUri"), place)

    estimator = Estimator(
        given("TrainImage"), ROLE, given("TrainInstanceCount"), given("TrainInstanceType"),
        debugger_hook_config=False, profiler_config=ProfilerConfig(OUTPUT, train.PROFILING_INTERVAL),
        volume_size=50, max_run=24 * 3600, output_path=OUTPUT, sagemaker_session=session, tags=tags,
        metric_definitions=[{"Name": name, "Regex": regex} for name, regex in train.METRICS.items()],
        hyperparameters={
            "sagemaker_torch_distributed_enabled": "true",
            "sagemaker_container_log_level": "30",
            "sagemaker_mpi_num_of_processes_per_host": given("TrainProcesses"),
        },
    )  # fmt: skip
    channels = {
        "train": below_data("/train/"), "validation": below_data("/validation/"),
        "manifest": below_data("/manifest.csv"), "recipe": given("RecipeUri"),
    }  # fmt: skip
    fit = estimator.fit({name: TrainingInput(uri, input_mode="File") for name, uri in channels.items()})
    training = TrainingStep("Train", step_args=fit)
    artifact = training.properties.ModelArtifacts.S3ModelArtifacts

    def processing(
        name: str, module: str, arguments: list, inputs: dict, outputs: dict, files=None, seconds: int = 3600
    ):
        processor = Processor(
            role=ROLE, image_uri=given("TrainImage"), instance_count=1, tags=tags, volume_size_in_gb=30,
            instance_type=given("EvaluateInstanceType"), entrypoint=["python", "-m", module],
            max_runtime_in_seconds=seconds, sagemaker_session=session,
        )  # fmt: skip
        where = "/opt/ml/processing/"
        arguments = processor.run(
            inputs=[
                ProcessingInput(source=uri, destination=where + name, input_name=name)
                for name, uri in inputs.items()
            ],
            outputs=[
                ProcessingOutput(source=where + name, destination=uri, output_name=name)
                for name, uri in outputs.items()
            ],
            arguments=arguments,
        )
        return ProcessingStep(name, step_args=arguments, property_files=files)

    file = PropertyFile("Evaluation", output_name="evaluation", path="evaluation.json")
    evaluate = processing(
        "Evaluate",
        "containers.train.evaluate",
        [joined("--challenge=", given("EndpointName")), joined("--level=", given("Level"))],
        {
            "model": artifact, "test": below_data("/test/"), "validation": below_data("/validation/"),
            "manifest": below_data("/manifest.csv"),
        },
        {"evaluation": joined("s3://bins/bintally/pipeline/", execution)},
        [file],
    )  # fmt: skip
    evaluation = joined("s3://bins/bintally/pipeline/", execution, "/evaluation.json")
    promote = LambdaStep(
        "Promote",
        Lambda(function_arn=PROMOTE, session=session),
        inputs={
            "execution": execution, "endpoint": given("EndpointName"), "evaluation": evaluation,
            "artifact": artifact, "image": given("ServeImage"), "role": ROLE,
            "instance_type": given("ServeInstanceType"), "instances": given("ServeInstanceCount"),
            "bucket": "bins", "capture": "s3://bins/bintally/capture",
            "bake_seconds": given("BakeSeconds"),
        },
        outputs=[LambdaOutput(name, LambdaOutputTypeEnum.String) for name in ("configuration", "champion")],
    )  # fmt: skip
    outputs = promote.properties.Outputs
    verify = processing(
        "Verify",
        "containers.train.verify",
        [
            joined("--execution=", execution),
            joined("--endpoint=", given("EndpointName")),
            joined("--configuration=", outputs["configuration"]),
            joined("--champion=", outputs["champion"]),
            joined("--artifact=", artifact),
            joined("--image=", given("ServeImage")),
            joined("--instance-type=", given("ServeInstanceType")),
            joined("--evaluation=s3://bins/bintally/pipeline/", execution, "/evaluation.json"),
            joined("--training-job=", training.properties.TrainingJobName),
            "--group=bintally",
        ],
        {"model": artifact, "test": below_data("/test/"), "evaluation": evaluation},
        {},
        seconds=pipeline_definition.VERIFY_SECONDS,
    )
    decide = ConditionStep(
        "Decide",
        conditions=[ConditionEquals(JsonGet("Evaluate", file, "decision.promote"), True)],
        if_steps=[promote, verify],
    )
    pipeline = Pipeline("bintally", list(parameters.values()), steps=[training, evaluate, decide],
                        sagemaker_session=session)  # fmt: skip
    return without_defaults(json.loads(pipeline.definition()))


def without_defaults(value):
    if isinstance(value, dict):
        said = {key: inner for key, inner in value.items() if (key, inner) not in DEFAULTS}
        return {key: without_defaults(inner) for key, inner in said.items()}
    return [without_defaults(inner) for inner in value] if isinstance(value, list) else value


def steps(definition: dict) -> dict[str, dict]:
    train, evaluate, decide = definition["Steps"]
    return {step["Name"]: step for step in (train, evaluate, decide, *decide["Arguments"]["IfSteps"])}


def test_version_and_parameters_are_the_builders(ours, theirs):
    assert ours["Version"] == theirs["Version"] and ours["Parameters"] == theirs["Parameters"]


@pytest.mark.parametrize("name", ["Train", "Evaluate", "Promote", "Verify"])
def test_a_step_is_the_builders(ours, theirs, name):
    assert steps(ours)[name] == steps(theirs)[name]


def test_the_condition_is_the_builders(ours, theirs):
    mine, built = steps(ours)["Decide"], steps(theirs)["Decide"]
    for part in ("Name", "Type"):
        assert mine[part] == built[part]
    assert mine["Arguments"].keys() == built["Arguments"].keys()
    assert mine["Arguments"]["Conditions"] == built["Arguments"]["Conditions"]
    assert built["Arguments"]["ElseSteps"] == mine["Arguments"]["ElseSteps"] == []
