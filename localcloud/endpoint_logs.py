"""The logs of endpoints' instances: what CloudWatch calls them, and how they come back."""

from collections.abc import Collection
from pathlib import Path

from localcloud.logs import restore
from localcloud.settings import Settings


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def stream_name(log: Path) -> str:
    """``<deployment>/<variant>-<number>/log`` -> ``<variant>/i-<deployment><number, in hexadecimal>``"""
    variant, _, number = log.parent.name.rpartition("-")
    return f"{variant}/i-{log.parent.parent.name}{int(number):x}"


def restore_logs(settings: Settings, endpoint: str, followed: Collection[Path]) -> None:
    """After a start-up: put the logs back that nobody will write any more, which are all but ``followed``."""
    for log in sorted((settings.home / "endpoints" / endpoint).glob("*/*/log")):
        if log not in followed:
            restore(log_group(endpoint), stream_name(log), log)
