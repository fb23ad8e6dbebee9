"""``localcloud status``: what runs, asked for through AWS's own API."""

from rich.console import Console
from rich.table import Table

from localcloud.client import client
from localcloud.settings import Settings

SHOWN = 8  # of each kind, the newest
COLOURS = {
    "Completed": "green", "Succeeded": "green", "InService": "green", "Active": "green", "Failed": "red",
}  # fmt: skip


def show(settings: Settings, health: dict) -> None:
    sagemaker = client(settings, "sagemaker")
    newest = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": SHOWN}
    rows = [
        *_rows("training job", "TrainingJob", sagemaker.list_training_jobs(**newest)["TrainingJobSummaries"]),
        *_rows(
            "processing job",
            "ProcessingJob",
            sagemaker.list_processing_jobs(**newest)["ProcessingJobSummaries"],
        ),
        *_executions(sagemaker),
        *_rows("endpoint", "Endpoint", sagemaker.list_endpoints(**newest)["Endpoints"]),
        *(
            ("function", function["FunctionName"], function.get("State", "Active"))
            for function in client(settings, "lambda").list_functions()["Functions"][:SHOWN]
        ),
    ]
    console = Console()
    what = f"localcloud at {settings.url}, pid {health['pid']}, RUNTIME={health['runtime']}"
    console.print(what, soft_wrap=True)
    if rows:
        table = Table("what", "name", "status")
        for what, name, state in rows:
            table.add_row(what, name, f"[{COLOURS.get(state, 'yellow')}]{state}[/]")
        console.print(table)
    else:
        console.print("no job, endpoint or function yet")


def _rows(what: str, noun: str, summaries: list[dict]) -> list[tuple[str, str, str]]:
    return [(what, summary[f"{noun}Name"], summary[f"{noun}Status"]) for summary in summaries]


def _executions(sagemaker) -> list[tuple[str, str, str]]:
    newest = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": SHOWN}
    found = [
        (execution["StartTime"], pipeline["PipelineName"], execution)
        for pipeline in sagemaker.list_pipelines(**newest)["PipelineSummaries"]
        for execution in sagemaker.list_pipeline_executions(PipelineName=pipeline["PipelineName"], **newest)[
            "PipelineExecutionSummaries"
        ]
    ]
    found.sort(key=lambda entry: entry[0], reverse=True)
    return [
        (
            "pipeline execution",
            f"{name}/{execution['PipelineExecutionArn'].rpartition('/')[2]}",
            execution["PipelineExecutionStatus"],
        )
        for _, name, execution in found[:SHOWN]
    ]
