"""SageMaker Pipelines: its operations, and the life of executions across restarts."""

import threading
import time

from localcloud import pipeline_execution, pipeline_views
from localcloud.accepted import ANY, Table, check
from localcloud.errors import AwsError, validation
from localcloud.jobs import Jobs
from localcloud.objects import Objects
from localcloud.pipeline_client import Client
from localcloud.pipeline_definition import Definition, parse
from localcloud.pipeline_execution import (
    EXECUTING,
    FAILED,
    STOPPED,
    STOPPING,
    Execution,
    retried,
    started,
)
from localcloud.pipeline_rehearsal import rehearse
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.store import Store

KIND = "pipeline"
RUNS = pipeline_execution.KIND
DESCRIBED: Table = {
    "PipelineName": ANY,
    "PipelineDisplayName": ANY,
    "PipelineDefinition": ANY,
    "PipelineDescription": ANY,
    "ClientRequestToken": ANY,
    "RoleArn": ANY,
    "Tags": ANY,
    "ParallelismConfiguration": ANY,
}
STARTED: Table = {
    "PipelineName": ANY,
    "PipelineExecutionDisplayName": ANY,
    "PipelineParameters": ANY,
    "PipelineExecutionDescription": ANY,
    "ClientRequestToken": ANY,
    "ParallelismConfiguration": ANY,
    "RoleArn": ANY,
}
KEPT = (
    "PipelineDisplayName", "PipelineDescription", "PipelineDefinition", "RoleArn", "ParallelismConfiguration",
)  # fmt: skip


class Pipelines:
    """The pipelines' and executions' documents in the store, and the executions that run."""

    def __init__(self, settings: Settings, store: Store, jobs: Jobs, objects: Objects):
        self._store = store
        self._jobs = jobs
        self._objects = objects
        self._client = Client(settings)
        self._lock = threading.RLock()
        self._executing: dict[str, Execution] = {}
        self._closed = False

    def operations(self) -> dict:
        """The name of each operation -> what answers it, as ``sagemaker.install`` takes them."""
        return {
            "CreatePipeline": self.create,
            "UpdatePipeline": self.update,
            "DeletePipeline": self.delete,
            "DescribePipeline": lambda params, _: pipeline_views.pipeline(self._find(params)),
            "ListPipelines": lambda params, _: pipeline_views.pipelines(self._store.all(KIND), params),
            "StartPipelineExecution": self.start,
            "StopPipelineExecution": self.stop,
            "RetryPipelineExecution": self.retry,
            "DescribePipelineExecution": lambda params, _: pipeline_views.execution(self._run(params)),
            "ListPipelineExecutions": lambda params, _: pipeline_views.executions(
                self._runs_of(self._find(params)), params
            ),
            "ListPipelineExecutionSteps": lambda params, _: pipeline_views.steps(self._run(params), params),
            "ListPipelineParametersForExecution": lambda params, _: pipeline_views.parameters(
                self._run(params), params
            ),
            "DescribePipelineDefinitionForExecution": lambda params, _: {
                "PipelineDefinition": self._run(params)["PipelineDefinition"],
                "CreationTime": self._run(params)["CreationTime"],
            },
        }

    def create(self, params: dict, bookkeeping) -> dict:
        """CreatePipeline; moto keeps the tags. The same ClientRequestToken again is no second pipeline."""
        check("CreatePipeline", params, "PipelineName", DESCRIBED)
        if "PipelineDefinition" not in params:
            raise validation("PipelineDefinition must be given.")
        parse(params["PipelineDefinition"])
        name, now = params["PipelineName"], time.time()
        with self._lock:
            if found := self._store.get(KIND, name):
                if found["ClientRequestToken"] == params["ClientRequestToken"]:
                    return {"PipelineArn": found["PipelineArn"]}
                raise validation(
                    "Pipeline names must be unique within an AWS account and region. "
                    f"Pipeline with name ({name}) already exists."
                )
            bookkeeping()
            self._store.put(KIND, name, {
                "PipelineName": name,
                "PipelineArn": _arn(name),
                "PipelineStatus": "Active",
                "PipelineDisplayName": name,
                "ClientRequestToken": params["ClientRequestToken"],
                "CreationTime": now,
                "LastModifiedTime": now,
                **_given(params),
            })  # fmt: skip
        return {"PipelineArn": _arn(name)}

    def update(self, params: dict, _) -> dict:
        """UpdatePipeline. Executions go on with the definition that they were started with."""
        with self._lock:
            name = self._find(params)["PipelineName"]
            check("UpdatePipeline", {**params, "PipelineName": name}, "PipelineName", DESCRIBED)
            if "PipelineDefinition" in params:
                parse(params["PipelineDefinition"])
            self._store.update(KIND, name, **_given(params), LastModifiedTime=time.time())
        return {"PipelineArn": _arn(name)}

    def delete(self, params: dict, bookkeeping) -> dict:
        """DeletePipeline, with its executions; refused while one of them runs."""
        with self._lock:
            document = self._find(params)
            runs = self._runs_of(document)
            if any(run["PipelineExecutionStatus"] in (EXECUTING, STOPPING) for run in runs):
                raise AwsError(
                    "ConflictException",
                    f"Pipeline '{document['PipelineArn']}' has executions that run: stop them first.",
                )
            bookkeeping()
            for run in runs:
                self._store.delete(RUNS, run["PipelineExecutionArn"])
            self._store.delete(KIND, document["PipelineName"])
        return {"PipelineArn": document["PipelineArn"]}

    def start(self, params: dict, _) -> dict:
        """StartPipelineExecution: everything that can be known to fail is refused before anything starts."""
        with self._lock:
            pipeline = self._find(params)
            name = pipeline["PipelineName"]
            check("StartPipelineExecution", {**params, "PipelineName": name}, "PipelineName", STARTED)
            for run in self._runs_of(pipeline):
                if run["ClientRequestToken"] == params["ClientRequestToken"]:
                    return {"PipelineExecutionArn": run["PipelineExecutionArn"]}
            definition = parse(pipeline["PipelineDefinition"])
            document = started(pipeline, definition, params)
            rehearse(definition, document, self._jobs)
            self._carry_out(document, definition)
            self._store.update(KIND, name, LastRunTime=document["CreationTime"])
        return {"PipelineExecutionArn": document["PipelineExecutionArn"]}

    def stop(self, params: dict, _) -> dict:
        """StopPipelineExecution; returns at once."""
        check("StopPipelineExecution", params)
        with self._lock:
            document = self._run(params)
            arn = document["PipelineExecutionArn"]
            execution = self._executing.get(arn)
        if execution is None or not execution.stop():
            raise _not_in(EXECUTING, self._run(params), "stopped")
        return {"PipelineExecutionArn": arn}

    def retry(self, params: dict, _) -> dict:
        """RetryPipelineExecution: what has succeeded is not run again."""
        check("RetryPipelineExecution", params)
        with self._lock:
            document = self._run(params)
            if document["PipelineExecutionStatus"] not in (FAILED, STOPPED):
                raise _not_in(f"{FAILED} or {STOPPED}", document, "retried")
            document = retried(document)
            if parallel := params.get("ParallelismConfiguration"):
                document["ParallelismConfiguration"] = parallel
            self._carry_out(document, parse(document["PipelineDefinition"]))
        return {"PipelineExecutionArn": document["PipelineExecutionArn"]}

    def resume(self) -> None:
        """After a start-up: executions that were cut off go on."""
        with self._lock:
            for document in self._store.all(RUNS):
                if document["PipelineExecutionStatus"] not in (EXECUTING, STOPPING):
                    continue
                try:
                    self._carry_out(document, parse(document["PipelineDefinition"]))
                except AwsError as error:  # another version of localcloud has started it
                    changes = {"PipelineExecutionStatus": FAILED, "FailureReason": error.message}
                    self._store.update(RUNS, document["PipelineExecutionArn"], **changes)

    def shutdown(self) -> None:
        """Nothing more is started; called before the jobs that executions wait for are ended."""
        with self._lock:
            self._closed = True
            for execution in self._executing.values():
                execution.close()

    def _carry_out(self, document: dict, definition: Definition) -> None:
        if self._closed:
            raise AwsError("ServiceUnavailable", "localcloud is being stopped", 503)
        execution = Execution(document, definition, self._store, self._client, self._jobs, self._objects)
        self._store.put(RUNS, execution.arn, document)
        self._executing = {arn: other for arn, other in self._executing.items() if other.alive}
        self._executing[execution.arn] = execution
        execution.start()

    def _find(self, params: dict) -> dict:
        """By name or ARN."""
        name = params.get("PipelineName", "").rpartition("/")[2]
        document = self._store.get(KIND, name)
        if document is None:
            raise AwsError("ResourceNotFound", f"Pipeline '{_arn(name)}' does not exist.")
        return document

    def _run(self, params: dict) -> dict:
        arn = params.get("PipelineExecutionArn", "")
        document = self._store.get(RUNS, arn)
        if document is None:
            raise AwsError("ResourceNotFound", f"Pipeline execution '{arn}' does not exist.")
        return document

    def _runs_of(self, pipeline: dict) -> list[dict]:
        return [d for d in self._store.all(RUNS) if d["PipelineArn"] == pipeline["PipelineArn"]]


def _arn(name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{name}"


def _given(params: dict) -> dict:
    return {member: params[member] for member in KEPT if member in params}


def _not_in(status: str, run: dict, done: str) -> AwsError:
    arn, now = run["PipelineExecutionArn"], run["PipelineExecutionStatus"]
    return validation(f"Pipeline execution {arn} is {now}: only one that is {status} can be {done}.")
