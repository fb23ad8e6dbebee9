"""Pipelines as a client of localcloud: what an execution starts is asked for as anybody asks for it.

So a job's tags are kept, and a function is invoked, by the parts that do this for every other request.
"""

import json
from functools import cached_property

from botocore.exceptions import ClientError, ReadTimeoutError

from localcloud.client import client
from localcloud.settings import Settings

LAMBDA_SECONDS = 600  # how long SageMaker Pipelines waits for a function
ONCE = {"total_max_attempts": 1}  # an attempt that failed says why; the step may be run again


class LambdaFailed(Exception):
    """The function does not exist, failed, or took too long: one line."""


class Client:
    """Safe for threads. Clients are made when they are first needed, which takes part of a second."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def create_job(self, kind: str, request: dict) -> None:
        """``kind``: Training or Processing; raises ClientError."""
        create = {
            "Training": self._sagemaker.create_training_job,
            "Processing": self._sagemaker.create_processing_job,
        }[kind]
        create(**request)

    def invoke(self, arn: str, payload: dict):
        """The function's answer to a synchronous invocation; raises LambdaFailed."""
        try:
            answer = self._lambda.invoke(FunctionName=arn, Payload=json.dumps(payload))
            outcome = json.loads(answer["Payload"].read() or b"null")
        except ClientError as error:
            raise LambdaFailed(error.response["Error"]["Message"]) from error
        except ReadTimeoutError as error:
            raise LambdaFailed(f"{arn} has not answered within {LAMBDA_SECONDS} s") from error
        if "FunctionError" in answer:
            kind = outcome.get("errorType", answer["FunctionError"])
            raise LambdaFailed(f"{arn} failed: {kind}: {outcome.get('errorMessage')}")
        return outcome

    @cached_property
    def _sagemaker(self):
        return self._make("sagemaker")

    @cached_property
    def _lambda(self):
        return self._make("lambda")

    def _make(self, service: str):
        return client(self._settings, service, retries=ONCE, read_timeout=LAMBDA_SECONDS)
