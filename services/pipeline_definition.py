"""The pipeline as SageMaker's JSON definition: train, evaluate, decide, promote, verify.

The steps' requests come from the builders that the services use by themselves. They are given
references, ``${Parameters.DataUri}``, in place of values, and ``expressed`` turns the texts that hold
them into the definition's own expressions. Format: version 2020-12-01,
https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
"""

import re
from dataclasses import replace

from containers.common import deployment
from services import evaluate, jobs, rollout, train
from services.aws import Aws

VERSION = "2020-12-01"
REFERENCE = re.compile(r"\$\{([^}]+)\}")
EVALUATION = "evaluation.json"
# Of Verify, which waits for the rollout: an hour at most of watching after each of the two shifts of traffic,
# and instances that start, for it and for the way back.
VERIFY_SECONDS = 4 * 3600
DATA, EXECUTION = "${Parameters.DataUri}", "${Execution.PipelineExecutionId}"
ARTIFACT = "${Steps.Train.ModelArtifacts.S3ModelArtifacts}"
# What an execution can be started with: the kind of each parameter, and what it is.
PARAMETERS = {
    "DataUri": ("String", "s3://… of an uploaded data set"),
    "RecipeUri": ("String", "s3://…/recipe.json with the trainer's hyperparameters"),
    "EndpointName": ("String", "the endpoint that is challenged"),
    "Level": ("Float", "confidence that the challenger is better, one-sided"),
    "TrainInstanceType": ("String", "instance type of training"),
    "TrainInstanceCount": ("Integer", "instances of training"),
    "TrainProcesses": ("String", "training processes per instance: one for each GPU"),
    "EvaluateInstanceType": ("String", "instance type of evaluation and verification"),
    "ServeInstanceType": ("String", "instance type of the endpoint; one with autoscaling keeps its own"),
    "ServeInstanceCount": ("Integer", "instances of an endpoint that is new, or of another instance type"),
    "BakeSeconds": ("Integer", "how long alarms are watched after each shift of traffic"),
    "TrainImage": ("String", "the training image"),
    "ServeImage": ("String", "the serving image"),
}


def definition(aws: Aws, promote_arn: str) -> dict:
    """The definition for these settings; promote_arn: of the Lambda function ``promote``.

    A function of ``aws.settings``, of where they point, of the account's number, and where the settings leave
    something open, of the stack's outputs and of what ECR holds.
    """
    defaults = {
        "EndpointName": aws.settings.endpoint,
        "Level": deployment.LEVEL,
        "TrainInstanceType": aws.settings.train_instance,
        "TrainInstanceCount": 1,
        "TrainProcesses": "1",
        "EvaluateInstanceType": aws.settings.evaluate_instance,
        "ServeInstanceType": aws.settings.serve_instance,
        "ServeInstanceCount": 1,
        "BakeSeconds": rollout.bake_seconds(aws),
        "TrainImage": aws.image("train"),
        "ServeImage": aws.image("serve"),
    }
    return {
        "Version": VERSION,
        "Metadata": {},
        "Parameters": [
            {"Name": name, "Type": kind, **({"DefaultValue": defaults[name]} if name in defaults else {})}
            for name, (kind, _) in PARAMETERS.items()
        ],
        "Steps": expressed(_steps(_referring(aws), promote_arn)),
    }


def expressed(value):
    """A document whose texts may hold ``${reference}``, with ``Get`` and ``Std:Join`` in their place."""
    if isinstance(value, dict):
        return {key: expressed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [expressed(inner) for inner in value]
    if not isinstance(value, str) or not REFERENCE.search(value):
        return value
    if whole := REFERENCE.fullmatch(value):
        return {"Get": whole[1]}
    pieces = enumerate(REFERENCE.split(value))  # texts and, at odd places, references
    values = [{"Get": piece} if odd % 2 else piece for odd, piece in pieces if piece]
    return {"Std:Join": {"On": "", "Values": values}}


def _referring(aws: Aws) -> Aws:
    """The same account, with references in place of what an execution may choose."""
    settings = replace(
        aws.settings,
        bucket=aws.bucket,
        endpoint="${Parameters.EndpointName}",
        train_instance="${Parameters.TrainInstanceType}",
        evaluate_instance="${Parameters.EvaluateInstanceType}",
        serve_instance="${Parameters.ServeInstanceType}",
        train_image="${Parameters.TrainImage}",
        serve_image="${Parameters.ServeImage}",
    )
    return Aws(settings)


def _steps(aws: Aws, promote_arn: str) -> list[dict]:
    return [
        _train(aws),
        _evaluate(aws),
        {
            "Name": "Decide",
            "Type": "Condition",
            "Arguments": {
                "Conditions": [
                    {
                        "Type": "Equals",
                        "LeftValue": {
                            "Std:JsonGet": {
                                "PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Evaluation"},
                                "Path": "decision.promote",
                            }
                        },
                        "RightValue": True,
                    }
                ],
                "IfSteps": [_promote(aws, promote_arn), _verify(aws)],
                "ElseSteps": [],
            },
        },
    ]


def _train(aws: Aws) -> dict:
    flags = train.parser().parse_args([])
    flags.instances, flags.processes = "${Parameters.TrainInstanceCount}", "${Parameters.TrainProcesses}"
    request = train.request(aws, "", DATA, {}, flags, recipe="${Parameters.RecipeUri}")
    del request["TrainingJobName"]  # the pipeline names its jobs itself
    return {"Name": "Train", "Type": "Training", "Arguments": request}


def _evaluate(aws: Aws) -> dict:
    arguments = ["--challenge=${Parameters.EndpointName}", "--level=${Parameters.Level}"]
    request = evaluate.request(aws, "", ARTIFACT, DATA, _folder(aws), arguments)
    del request["ProcessingJobName"]
    file = {"PropertyFileName": "Evaluation", "OutputName": "evaluation", "FilePath": EVALUATION}
    return {"Name": "Evaluate", "Type": "Processing", "Arguments": request, "PropertyFiles": [file]}


def _promote(aws: Aws, promote_arn: str) -> dict:
    settings = aws.settings
    return {
        "Name": "Promote",
        "Type": "Lambda",
        "FunctionArn": promote_arn,
        "Arguments": {
            "execution": EXECUTION,
            "endpoint": settings.endpoint,
            "evaluation": f"{_folder(aws)}/{EVALUATION}",
            "artifact": ARTIFACT,
            "image": settings.serve_image,
            "role": aws.role_for("endpoint"),
            "instance_type": settings.serve_instance,
            "instances": "${Parameters.ServeInstanceCount}",
            "bucket": settings.bucket,
            "capture": f"s3://{settings.bucket}/{settings.prefix}/{deployment.CAPTURE}",
            "bake_seconds": "${Parameters.BakeSeconds}",
        },
        "OutputParameters": [
            {"OutputName": name, "OutputType": "String"} for name in ("configuration", "champion")
        ],
    }


def _verify(aws: Aws) -> dict:
    settings, evaluation = aws.settings, f"{_folder(aws)}/{EVALUATION}"
    arguments = {
        "execution": EXECUTION,
        "endpoint": settings.endpoint,
        "configuration": "${Steps.Promote.OutputParameters['configuration']}",
        "champion": "${Steps.Promote.OutputParameters['champion']}",
        "artifact": ARTIFACT,
        "image": settings.serve_image,
        "instance-type": settings.serve_instance,
        "evaluation": evaluation,
        "training-job": "${Steps.Train.TrainingJobName}",
        "group": settings.model_group,
    }
    request = jobs.processing(
        aws,
        "",
        "containers.train.verify",
        [f"--{name}={value}" for name, value in arguments.items()],
        {"model": ARTIFACT, "test": f"{DATA}/test/", "evaluation": evaluation},
        {},
        seconds=VERIFY_SECONDS,
    )
    del request["ProcessingJobName"]
    return {"Name": "Verify", "Type": "Processing", "Arguments": request}


def _folder(aws: Aws) -> str:
    """S3 address of what an execution evaluates."""
    return f"s3://{aws.bucket}/{aws.settings.prefix}/pipeline/{EXECUTION}"
