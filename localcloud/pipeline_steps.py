"""One step of an execution: what each type of it does, and its record.

A record is the step as ListPipelineExecutionSteps shows it. It is saved before anything is started, so
that a localcloud that comes back finds the job that an earlier one had begun.
"""

import json
import logging
import secrets
import string
import threading
import time
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from localcloud import pipeline_conditions
from localcloud.errors import AwsError
from localcloud.jobs import Jobs
from localcloud.pipeline_client import Client, LambdaFailed
from localcloud.pipeline_definition import CONDITION, FAIL, LAMBDA, Step
from localcloud.pipeline_expressions import Scope, Unresolved, resolve, text
from localcloud.pipeline_parameters import fits
from localcloud.pipeline_scope import CONTRACTS
from localcloud.run import CUT_OFF
from localcloud.settings import ACCOUNT, REGION

LONGEST_NAME = 63  # characters of a job's name
RANDOM = 10  # characters at its end
SUCCEEDED, FAILED, STOPPED = "Succeeded", "Failed", "Stopped"
ENDED = (SUCCEEDED, FAILED, STOPPED)

log = logging.getLogger(__name__)


class StepFailed(Exception):
    """The step's FailureReason."""


class StepStopped(Exception):
    """It was told to end, and has."""


class StepRun:
    """A step that runs, in a thread of the caller's."""

    def __init__(
        self,
        step: Step,
        execution: dict,
        scope: Scope,
        client: Client,
        jobs: Jobs,
        save: Callable[[str, dict], None],
    ):
        """``execution``: its document, with an earlier record of this step, perhaps.

        ``save`` is called with the step's name and its record, at every change.
        """
        self._step = step
        self._execution = execution
        self._scope = scope
        self._client = client
        self._jobs = jobs
        self._save = save
        self._lock = threading.RLock()
        self._stopping = False
        self._job: str | None = None  # the name of the job that runs
        self._record = dict(execution["Steps"].get(step.name) or {})

    def carry_out(self) -> None:
        """From Starting to the end, whatever that is: the record says it."""
        status, reason = SUCCEEDED, None
        try:
            special = {CONDITION: self._decide, LAMBDA: self._invoke, FAIL: self._fail}
            special.get(self._step.kind, self._run_job)()
        except StepStopped:
            status = STOPPED
        except (StepFailed, Unresolved) as error:
            status, reason = FAILED, str(error)
        except (AwsError, ClientError, BotoCoreError) as error:
            status, reason = FAILED, f"ClientError: {error}"
        except Exception as error:  # a step must not run for ever
            log.exception("step %s of %s", self._step.name, self._execution["PipelineExecutionArn"])
            status, reason = FAILED, f"InternalServerError: {type(error).__name__}: {error}"
        self._note(StepStatus=status, EndTime=time.time(), FailureReason=reason)

    def stop(self) -> None:
        """Returns at once. A job is stopped; a function cannot be, so its end is waited for."""
        with self._lock:
            self._stopping = True
            if self._record.get("StepStatus") in ("Starting", "Executing"):
                self._note(StepStatus="Stopping")
            self._stop_job()

    def _run_job(self) -> None:
        contract = CONTRACTS[self._step.kind]
        status = f"{contract.prefix}JobStatus"
        name = self._begun_before()
        if name is None:
            name = job_name(self._execution["PipelineExecutionId"], self._step.name)
            arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{contract.kind}/{name}"
            self._begin(**{f"{contract.prefix}Job": {"Arn": arn}})
            self._create_job(name)
        with self._lock:
            self._job = name
            if self._stopping:
                self._stop_job()
            else:
                self._note(StepStatus="Executing")
        job = self._jobs.wait(contract, name)
        if job[status] == "Completed":
            return
        if job[status] == "Stopped" and self._stopping:
            raise StepStopped
        ended = job.get("SecondaryStatus", job[status])
        raise StepFailed(job.get("FailureReason") or f"ClientError: the job {name} has ended as {ended}")

    def _create_job(self, name: str) -> None:
        operation = f"Create{self._step.kind}Job"
        try:
            self._client.create_job(
                self._step.kind, job_request(self._step, name, self._execution, self._scope)
            )
        except ClientError as error:
            message = error.response["Error"]["Message"]
            raise StepFailed(f"ClientError: Failed to invoke sagemaker:{operation}: {message}") from error

    def _begun_before(self) -> str | None:
        """The job that an earlier localcloud began for this step, unless that one's end cut it off."""
        if not self._record.get("StepStatus"):
            return None
        contract = CONTRACTS[self._step.kind]
        arn = self._record.get("Metadata", {}).get(f"{contract.prefix}Job", {}).get("Arn", "")
        try:
            job = self._jobs.describe(contract, name := arn.rpartition("/")[2])
        except AwsError:
            return None
        return None if job.get("FailureReason") == CUT_OFF else name

    def _stop_job(self) -> None:
        if self._job is None:
            return
        try:
            self._jobs.stop(CONTRACTS[self._step.kind], self._job)
        except AwsError as error:
            log.info("%s: %s", self._job, error)  # it has ended by itself, or is being stopped

    def _decide(self) -> None:
        self._begin()
        conditions = self._step.arguments["Conditions"]
        outcome = all(pipeline_conditions.holds(condition, self._scope) for condition in conditions)
        self._note(Metadata={"Condition": {"Outcome": str(outcome)}})

    def _invoke(self) -> None:
        arn = self._step.document["FunctionArn"]
        self._begin(Lambda={"Arn": arn})
        payload = resolve(self._step.arguments, self._scope)
        with self._lock:
            if self._stopping:
                raise StepStopped
            self._note(StepStatus="Executing")
        try:
            answer = self._client.invoke(arn, payload)
        except LambdaFailed as error:
            raise StepFailed(f"ClientError: {error}") from error
        outputs = [_output(answer, name, kind) for name, kind in self._step.outputs.items()]
        self._note(Metadata={"Lambda": {"Arn": arn, "OutputParameters": outputs}})

    def _fail(self) -> None:
        self._begin()
        message = text(resolve(self._step.arguments.get("ErrorMessage", ""), self._scope))
        self._note(Metadata={"Fail": {"ErrorMessage": message}})
        raise StepFailed(message)

    def _begin(self, **metadata) -> None:
        """A first attempt, or another one after a failure or a restart."""
        self._record = {
            "StepName": self._step.name,
            "StepDisplayName": self._step.document.get("DisplayName"),
            "StepDescription": self._step.document.get("Description"),
            "AttemptCount": self._record.get("AttemptCount", 0) + 1,
        }
        self._note(StepStatus="Starting", StartTime=time.time(), Metadata=metadata)

    def _note(self, **changes) -> None:
        with self._lock:
            self._record.update(changes)
            self._save(self._step.name, dict(self._record))


def job_name(execution_id: str, step: str) -> str:
    """``pipelines-<execution id>-<step name>-<random>``, as on AWS."""
    alphabet = string.ascii_letters + string.digits
    end = "".join(secrets.choice(alphabet) for _ in range(RANDOM))
    start = f"pipelines-{execution_id}-{step.replace('_', '-')}"[: LONGEST_NAME - RANDOM - 1]
    return f"{start.rstrip('-')}-{end}"


def job_request(step: Step, name: str, execution: dict, scope: Scope) -> dict:
    """CreateTrainingJob's or CreateProcessingJob's parameters; raises Unresolved."""
    request = {f"{step.kind}JobName": name, **resolve(step.arguments, scope)}
    tags = {
        "sagemaker:pipeline-name": execution["PipelineName"],
        "sagemaker:pipeline-execution-arn": execution["PipelineExecutionArn"],
        "sagemaker:pipeline-step-name": step.name,
    }
    own = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {**request, "Tags": [*request.get("Tags", []), *own]}


def _output(answer, name: str, kind: str) -> dict[str, str]:
    if not isinstance(answer, dict) or name not in answer:
        raise StepFailed(f"ClientError: the function's answer has no {name}: {json.dumps(answer)[:200]}")
    if not fits(answer[name], kind):
        raise StepFailed(f"ClientError: the function's {name} is not of its type, {kind}: {answer[name]!r}")
    return {"Name": name, "Value": text(answer[name])}
