"""Pipelines, executions and steps as SageMaker's Describe and List operations show them."""

from localcloud.paging import created_within, ordered, page

PIPELINE = (
    "PipelineArn", "PipelineName", "PipelineDisplayName", "PipelineDefinition", "PipelineDescription",
    "RoleArn", "PipelineStatus", "CreationTime", "LastModifiedTime", "LastRunTime", "CreatedBy",
    "LastModifiedBy", "ParallelismConfiguration",
)  # fmt: skip
PIPELINE_SUMMARY = (
    "PipelineArn", "PipelineName", "PipelineDisplayName", "PipelineDescription", "RoleArn", "CreationTime",
    "LastModifiedTime",
)  # fmt: skip
EXECUTION = (
    "PipelineArn", "PipelineExecutionArn", "PipelineExecutionDisplayName", "PipelineExecutionStatus",
    "PipelineExecutionDescription", "FailureReason", "CreationTime", "LastModifiedTime", "CreatedBy",
    "LastModifiedBy", "ParallelismConfiguration", "RoleArn",
)  # fmt: skip
EXECUTION_SUMMARY = (
    "PipelineExecutionArn", "PipelineExecutionStatus", "PipelineExecutionDescription",
    "PipelineExecutionDisplayName",
)  # fmt: skip
STEP = (
    "StepName", "StepDisplayName", "StepDescription", "StartTime", "EndTime", "StepStatus", "FailureReason",
    "Metadata", "AttemptCount",
)  # fmt: skip
PIPELINES_PAGE = 10
EXECUTIONS_PAGE = 10
STEPS_PAGE = 20
PARAMETERS_PAGE = 20


def pipeline(document: dict) -> dict:
    """DescribePipeline's answer."""
    return _shown(document, PIPELINE)


def pipelines(documents: list[dict], params: dict) -> dict:
    """ListPipelines' answer."""
    prefix = params.get("PipelineNamePrefix") or ""
    found = [
        d
        for d in documents
        if d["PipelineName"].startswith(prefix)
        and created_within(d, params.get("CreatedAfter"), params.get("CreatedBefore"))
    ]
    keys = {"CreationTime": "CreationTime", "Name": "PipelineName"}
    shown, more = page(ordered(found, params, keys, "Descending"), params, PIPELINES_PAGE)
    summaries = [_shown(d, PIPELINE_SUMMARY) | _renamed(d, "LastRunTime", "LastExecutionTime") for d in shown]
    return {"PipelineSummaries": summaries, **more}


def execution(document: dict) -> dict:
    """DescribePipelineExecution's answer."""
    return _shown(document, EXECUTION)


def executions(documents: list[dict], params: dict) -> dict:
    """ListPipelineExecutions' answer for the executions of one pipeline."""
    found = [
        d for d in documents if created_within(d, params.get("CreatedAfter"), params.get("CreatedBefore"))
    ]
    keys = {"CreationTime": "CreationTime", "PipelineExecutionArn": "PipelineExecutionArn"}
    shown, more = page(ordered(found, params, keys, "Descending"), params, EXECUTIONS_PAGE)
    summaries = [
        _shown(d, EXECUTION_SUMMARY)
        | _renamed(d, "CreationTime", "StartTime")
        | _renamed(d, "FailureReason", "PipelineExecutionFailureReason")
        for d in shown
    ]
    return {"PipelineExecutionSummaries": summaries, **more}


def steps(document: dict, params: dict) -> dict:
    """ListPipelineExecutionSteps' answer: the steps that have begun, by default the newest first."""
    begun = [record for record in document["Steps"].values() if record.get("StepStatus")]
    found = ordered(begun, params, {"StartTime": "StartTime"}, "Descending")
    shown, more = page(found, params, STEPS_PAGE)
    return {"PipelineExecutionSteps": [_shown(record, STEP) for record in shown], **more}


def parameters(document: dict, params: dict) -> dict:
    """ListPipelineParametersForExecution's answer: those that were given."""
    shown, more = page(document["PipelineParameters"], params, PARAMETERS_PAGE)
    return {"PipelineParameters": shown, **more}


def _shown(document: dict, members: tuple[str, ...]) -> dict:
    return {member: document[member] for member in members if document.get(member) is not None}


def _renamed(document: dict, member: str, name: str) -> dict:
    return {} if document.get(member) is None else {name: document[member]}
