"""What every service shows a person: its target first, progress on long work, one line on failure."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
)
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)

from containers.common.errors import BinTallyError, SettingsError
from services.aws import Aws

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def add_aws_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--aws", action="store_true", help="use AWS itself, where what is created costs money"
    )


def target(aws: Aws, allow_aws: bool, stream: TextIO | None = None) -> None:
    """Print where calls will go, to stdout or ``stream``. Call it before anything else reaches AWS.

    Raises SettingsError when that is AWS itself and ``allow_aws`` (the flag ``--aws``) is not given, or
    when the flag is given and something points elsewhere.
    """
    if aws.endpoint_url and allow_aws:
        raise SettingsError(
            f"--aws, but this shell points at {aws.endpoint_url}: unset AWS_ENDPOINT_URL and its credentials"
        )
    if aws.endpoint_url:
        print(f"target: localcloud at {aws.endpoint_url}", file=stream, flush=True)
    elif allow_aws:
        print(f"target: AWS account {aws.account}, region {aws.region}", file=stream, flush=True)
    else:
        print(f"target: AWS itself, region {aws.region}", file=stream, flush=True)
        raise SettingsError(
            "nothing is created on AWS itself unless asked: add --aws,"
            ' or use localcloud: make up && eval "$(make -s env)"'
        )


def run(main: Callable[[], object]) -> int:
    """Call ``main``; whatever a user can meet becomes one line on stderr and a non-zero status.

    Errors that nobody foresaw keep their traceback: they are ours to mend.
    """
    try:
        main()
    except BinTallyError as error:
        return _fail(str(error))
    except (EndpointConnectionError, ConnectionClosedError) as error:
        return _fail(_unreachable(error))
    except NoCredentialsError:
        return _fail("no AWS credentials: run 'aws configure', or point this shell at localcloud")
    except ClientError as error:
        details = error.response.get("Error", {})
        return _fail(f"{error.operation_name}: {details.get('Code')}: {details.get('Message')}")
    except (BotoCoreError, Boto3Error, OSError) as error:
        return _fail(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from here", status=130)
    return 0


def _fail(message: str, status: int = 1) -> int:
    err.print(f"error: {' '.join(message.split())}")
    return status


def _unreachable(error: BotoCoreError) -> str:
    url = str(error.kwargs.get("endpoint_url", ""))
    if "://127.0.0.1" in url or "://localhost" in url:
        host = "/".join(url.split("/")[:3])
        return f"localcloud is not running at {host}: make up"
    return str(error)


def percent(value: float, digits: int = 0) -> str:
    """0.4302 -> ``43 %``."""
    return f"{value * 100:.{digits}f} %"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """``with progress("upload", 5761) as advance: … advance()``: a bar with its rate on a terminal.

    Elsewhere (a log, a pipe) one line for each quarter of the work. Everything goes to stderr.
    """
    if err.is_terminal:
        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), _Rate())
        with Progress(*columns, TimeRemainingColumn(), console=err) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count=1: bar.advance(task, count)
    else:
        yield _lines(what, total)


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> str:
        speed = task.finished_speed or task.speed
        return f"{speed:,.0f}/s" if speed else "-/s"


def _lines(what: str, total: int) -> Callable[..., None]:
    start, done, quarter = time.monotonic(), 0, 0

    def advance(count: int = 1) -> None:
        nonlocal done, quarter
        done += count
        if total and done * 4 // total > quarter:
            quarter = done * 4 // total
            rate = done / max(time.monotonic() - start, 1e-9)
            err.print(f"{what}: {done:,} of {total:,} ({rate:,.0f}/s)")

    return advance
