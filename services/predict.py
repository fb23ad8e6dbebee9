"""Asks the deployed model about photographs: python -m services.predict bin.jpg --expected 3"""

import argparse
import base64
import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from containers.common.errors import ServiceError, SettingsError
from services import console, jobs
from services.aws import Aws
from services.settings import Settings

STYLE = {"match": "green", "mismatch": "bold red", "unsure": "yellow", None: "dim"}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.predict", description=__doc__.split(":")[0])
    p.add_argument("photographs", nargs="+", metavar="photograph", help="a file, or s3://bucket/key")
    p.add_argument("--expected", type=int, help="the recorded count, of all of them")
    p.add_argument("--function", help="name of the Lambda function to ask")
    p.add_argument("--json", action="store_true", help="print the answers as JSON, one a line")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Returns the answers, in the order of the photographs."""
    flags = parser().parse_args(arguments)
    aws = Aws(Settings.load(flags))
    if not flags.json:  # what is printed then is for a program
        console.target(aws, flags.aws)
    answers = [ask(aws, photograph, flags.expected) for photograph in flags.photographs]
    if flags.json:
        for answer in answers:
            print(json.dumps(answer))
    else:
        console.out.print(table([(Path(p).name, a) for p, a in zip(flags.photographs, answers, strict=True)]))
    return answers


def ask(aws: Aws, photograph: str, expected: int | None) -> dict:
    """The Lambda function's answer about a file or an S3 address; raises ServiceError where it refuses."""
    if photograph.startswith("s3://"):
        event: dict = {"s3_uri": photograph}
    else:
        try:
            event = {"image": base64.b64encode(Path(photograph).read_bytes()).decode()}
        except OSError as error:
            raise SettingsError(f"{photograph}: {error.strerror}") from None
    if expected is not None:
        event["expected"] = expected
    lambda_, name = aws.client("lambda"), aws.settings.function
    try:
        response = lambda_.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    except lambda_.exceptions.ResourceNotFoundException:
        raise ServiceError(f"no function {name}: run 'make deploy' first") from None
    answer = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        raise ServiceError(
            f"function {name} failed: {answer.get('errorMessage')} (its log: "
            f"{jobs.log_command(f'/aws/lambda/{name}')})"
        )
    if "error" in answer:
        raise ServiceError(f"{photograph}: {answer['error']['message']} ({answer['error']['code']})")
    return answer


def table(rows: list[tuple[str, dict]], truth: list[str] | None = None) -> Table:
    """photograph, recorded, counted, confidence, verdict and, where known, what the record really is."""
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("photograph")
    for heading in ("recorded", "counted", "confidence"):
        shown.add_column(heading, justify="right")
    shown.add_column("verdict")
    if truth:
        shown.add_column("the record is")
    for index, (name, answer) in enumerate(rows):
        verdict = answer["verdict"]
        recorded = "–" if answer["expected"] is None else str(answer["expected"])
        shown.add_row(
            name,
            recorded,
            str(answer["count"]),
            console.percent(answer["confidence"]),
            f"[{STYLE[verdict]}]{verdict or '–'}[/]",
            *([truth[index]] if truth else []),
        )
    return shown


if __name__ == "__main__":
    raise SystemExit(console.run(main))
