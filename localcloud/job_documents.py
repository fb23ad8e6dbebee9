"""What is kept of a job: how its description ends, and where its logs are."""

import math
import time
from pathlib import Path

from localcloud.contract import Contract


def ending(
    contract: type[Contract] | Contract,
    document: dict,
    status: str,
    detail: str,
    failure: str | None,
    started: float | None,
) -> dict:
    """The fields with which a job's description ends; ``detail`` is the secondary status."""
    now = time.time()
    fields = {
        f"{contract.prefix}JobStatus": status,
        f"{contract.prefix}EndTime": now,
        **contract.entering(document, detail, failure or f"{contract.prefix} job {status.lower()}", now),
    }
    if failure:
        fields["FailureReason"] = failure
    if started and contract.prefix == "Training":
        seconds = math.ceil(now - started)
        fields.update(TrainingTimeInSeconds=seconds, BillableTimeInSeconds=seconds)
    return fields


def logs(folder: Path) -> list[Path]:
    """The logs of a job's containers."""
    return sorted(folder.glob("algo-*.log"))


def log_stream(name: str, document: dict, log_file: Path) -> str:
    return f"{name}/{log_file.stem}-{int(document['CreationTime'])}"
