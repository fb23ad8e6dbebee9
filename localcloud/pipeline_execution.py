"""One execution of a pipeline: which step runs when, and how it all ends.

Nothing is polled: a step's thread waits for its job or function, and the execution's thread for its steps.
"""

import queue
import secrets
import string
import threading
import time

from localcloud.jobs import Jobs
from localcloud.objects import Objects
from localcloud.pipeline_client import Client
from localcloud.pipeline_definition import Definition, Step
from localcloud.pipeline_parameters import values
from localcloud.pipeline_scope import Left
from localcloud.pipeline_steps import ENDED, FAILED, STOPPED, SUCCEEDED, StepRun
from localcloud.store import Store

KIND = "pipeline-execution"
EXECUTING, STOPPING = "Executing", "Stopping"
STEP_FAILURE = "Step failure: One or multiple steps failed."
ID_LENGTH = 12
MOST_STEPS = 50  # at the same time, unless ParallelismConfiguration says less


class Execution:
    """The thread of an execution. Its document in the store has all that another one needs to go on."""

    def __init__(
        self,
        document: dict,
        definition: Definition,
        store: Store,
        client: Client,
        jobs: Jobs,
        objects: Objects,
    ):
        self._document = document
        self._definition = definition
        self._store = store
        self._client = client
        self._jobs = jobs
        self._scope = Left(self._current, definition, jobs, objects)
        self._lock = threading.RLock()
        self._closed = False
        self._running: dict[str, StepRun] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=self.arn, daemon=True)

    @property
    def arn(self) -> str:
        return self._document["PipelineExecutionArn"]

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """Begin to stop; the execution ends in the background. False if it is not executing any more."""
        with self._lock:
            if self._document["PipelineExecutionStatus"] != EXECUTING:
                return False
            self._change(PipelineExecutionStatus=STOPPING)
            running = list(self._running.values())
        for run in running:
            run.stop()
        return True

    def close(self) -> None:
        """localcloud is being stopped: the document stays as it is, for the next one to go on from."""
        with self._lock:
            self._closed = True

    def _run(self) -> None:
        self._forget_interrupted()
        while True:
            with self._lock:
                for step in self._ready():
                    self._start(step)
                if not self._running:
                    break
            name = self._ended.get()
            with self._lock:
                del self._running[name]
        self._finish()

    def _ready(self) -> list[Step]:
        """The steps that can start: once one has failed, or a stop was asked for, there are none."""
        records = self._document["Steps"]
        status = {name: record.get("StepStatus") for name, record in records.items()}
        if (
            self._closed
            or self._document["PipelineExecutionStatus"] != EXECUTING
            or FAILED in status.values()
        ):
            return []
        most = self._document["ParallelismConfiguration"]["MaxParallelExecutionSteps"]
        ready = [
            step
            for step in self._definition.steps.values()
            if step.name not in self._running
            and status.get(step.name) not in ENDED
            and all(status.get(needed) == SUCCEEDED for needed in step.needs)
            and (step.condition is None or self._outcome(step.condition) is step.branch)
        ]
        return ready[: most - len(self._running)]

    def _outcome(self, condition: str) -> bool:
        return self._document["Steps"][condition]["Metadata"]["Condition"]["Outcome"] == str(True)

    def _start(self, step: Step) -> None:
        run = StepRun(step, self._current(), self._scope, self._client, self._jobs, self._save)
        self._running[step.name] = run

        def carry_out() -> None:
            run.carry_out()
            self._ended.put(step.name)

        threading.Thread(target=carry_out, name=f"{self.arn} {step.name}", daemon=True).start()

    def _forget_interrupted(self) -> None:
        """If a stop was under way when localcloud was stopped, what ran then has been stopped by that."""
        with self._lock:
            if self._document["PipelineExecutionStatus"] == STOPPING:
                for name, record in self._document["Steps"].items():
                    if record.get("StepStatus") not in (None, *ENDED):
                        self._save(name, {**record, "StepStatus": STOPPED, "EndTime": time.time()})

    def _finish(self) -> None:
        with self._lock:
            if self._document["PipelineExecutionStatus"] == STOPPING:
                self._change(PipelineExecutionStatus=STOPPED)
            elif any(record.get("StepStatus") == FAILED for record in self._document["Steps"].values()):
                self._change(PipelineExecutionStatus=FAILED, FailureReason=STEP_FAILURE)
            else:
                self._change(PipelineExecutionStatus=SUCCEEDED)

    def _save(self, name: str, record: dict) -> None:
        with self._lock:
            self._change(Steps={**self._document["Steps"], name: record})

    def _change(self, **changes) -> None:
        if not self._closed:
            self._document = {**self._document, **changes, "LastModifiedTime": time.time()}
            self._store.put(KIND, self.arn, self._document)

    def _current(self) -> dict:
        with self._lock:
            return self._document


def started(pipeline: dict, definition: Definition, params: dict) -> dict:
    """The document of an execution as StartPipelineExecution's ``params`` ask for it; raises AwsError.

    ``Values`` are the parameters' values, of their types; ``Steps`` the records of the steps that have begun.
    """
    given = params.get("PipelineParameters") or []
    now = time.time()
    run_id = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(ID_LENGTH))
    parallel = params.get("ParallelismConfiguration") or pipeline.get("ParallelismConfiguration")
    return {
        "PipelineName": pipeline["PipelineName"],
        "PipelineArn": pipeline["PipelineArn"],
        "PipelineDefinition": pipeline["PipelineDefinition"],
        "PipelineExecutionId": run_id,
        "PipelineExecutionArn": f"{pipeline['PipelineArn']}/execution/{run_id}",
        "PipelineExecutionDisplayName": params.get("PipelineExecutionDisplayName")
        or f"execution-{int(now * 1000)}",
        "PipelineExecutionDescription": params.get("PipelineExecutionDescription"),
        "PipelineExecutionStatus": EXECUTING,
        "PipelineParameters": given,
        "Values": values(definition.parameters, given),
        "ParallelismConfiguration": parallel or {"MaxParallelExecutionSteps": MOST_STEPS},
        "RoleArn": params.get("RoleArn") or pipeline.get("RoleArn"),
        "ClientRequestToken": params["ClientRequestToken"],
        "CreationTime": now,
        "LastModifiedTime": now,
        "Steps": {},
    }


def retried(document: dict) -> dict:
    """An execution's document as it is before its failed and stopped steps run again."""
    steps = {
        name: record
        if record.get("StepStatus") == SUCCEEDED
        else {"AttemptCount": record.get("AttemptCount", 0)}
        for name, record in document["Steps"].items()
    }
    return {**document, "Steps": steps, "PipelineExecutionStatus": EXECUTING, "FailureReason": None}
