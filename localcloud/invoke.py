"""InvokeEndpoint: a binary-safe front before the serving containers, with SageMaker's limits and errors."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote

import urllib3

from localcloud.capture import Exchange
from localcloud.endpoint_logs import log_group
from localcloud.endpoints import Endpoints
from localcloud.errors import AwsError, unavailable
from localcloud.fleet import READY_SECONDS, Fleet
from localcloud.gate import Turnstile
from localcloud.settings import ACCOUNT, REGION
from localcloud.workers import Worker

MOST_BYTES = 25 * 1024 * 1024  # of one request
ANSWER_SECONDS = 60  # within which a container must answer
MOST_AT_ONCE = 64  # requests, of all endpoints; their containers may have something to ask meanwhile
PREFIX = "/endpoints/"
SUFFIX = "/invocations"
CUSTOM_ATTRIBUTES = "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"
INFERENCE_ID = "HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID"
TARGET_VARIANT = "HTTP_X_AMZN_SAGEMAKER_TARGET_VARIANT"
FORWARDED = {
    "CONTENT_TYPE": "Content-Type",
    "HTTP_ACCEPT": "Accept",
    CUSTOM_ATTRIBUTES: "X-Amzn-SageMaker-Custom-Attributes",
    INFERENCE_ID: "X-Amzn-SageMaker-Inference-Id",
    TARGET_VARIANT: "X-Amzn-SageMaker-Target-Variant",
    "HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL": "X-Amzn-SageMaker-Target-Model",
    "HTTP_X_AMZN_SAGEMAKER_TARGET_CONTAINER_HOSTNAME": "X-Amzn-SageMaker-Target-Container-Hostname",
}
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. "
    "Review the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
BROKEN_OFF = "The container closed the connection without an answer."

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What a container answered. ``status`` 0: nothing, and ``body`` says why."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class ModelError(AwsError):
    """The container's own failure: HTTP 424 with what it said."""

    def __init__(self, endpoint: str, original_status: int, original_message: str):
        kind = "client" if 400 <= original_status < 500 else "server"
        group = log_group(endpoint)
        console = f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}"
        message = (
            f'Received {kind} error ({original_status}) from primary with message "{original_message}". '
            f"See {console}#logEventViewer:group={group} in account {ACCOUNT} for more information."
        )
        super().__init__("ModelError", message, HTTPStatus.FAILED_DEPENDENCY)
        self.members = {
            "OriginalStatusCode": original_status,
            "OriginalMessage": original_message,
            "LogStreamArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}",
        }


class Invocations:
    """WSGI application for ``POST /endpoints/<name>/invocations``, as sagemaker-runtime calls it."""

    def __init__(self, endpoints: Endpoints):
        self._endpoints = endpoints
        self._room = Turnstile(MOST_AT_ONCE)

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        request_id = str(uuid.uuid4())
        try:
            with self._room.enter() as admitted:
                if not admitted:
                    raise AwsError("ThrottlingException", "Rate exceeded")
                headers, body = self._invoke(environ, request_id)
            status = HTTPStatus.OK
        except AwsError as error:
            status = HTTPStatus(error.status)
            members = getattr(error, "members", {})
            body = json.dumps({"Code": error.code, "Message": error.message, **members}).encode()
            headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", error.code)]
        headers += [("x-amzn-RequestId", request_id), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    def _invoke(self, environ: dict, event_id: str) -> tuple[Headers, bytes]:
        arrived = time.monotonic()
        name = endpoint_name(environ)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MOST_BYTES:
            raise AwsError(
                "ValidationError",
                f"HTTP content length exceeded {MOST_BYTES} bytes.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        body = environ["wsgi.input"].read(length)
        while True:
            fleet = self._endpoints.fleet(name)
            with fleet.lease() as admitted:
                if admitted:  # else it has just been replaced: ask for its successor
                    return self._exchange(fleet, environ, body, event_id, arrived)

    def _exchange(
        self, fleet: Fleet, environ: dict, body: bytes, event_id: str, arrived: float
    ) -> tuple[Headers, bytes]:
        metrics, variant = self._endpoints.metrics, fleet.variant(environ.get(TARGET_VARIANT))
        try:
            answer = self._post(fleet, variant, environ, body)
        except AwsError as error:
            metrics.record(fleet, variant, error.status)
            raise
        metrics.record(
            fleet, variant, answer.status, answer.seconds, time.monotonic() - arrived - answer.seconds
        )
        if not 200 <= answer.status < 300:
            raise ModelError(fleet.endpoint, answer.status, answer.body.decode(errors="replace"))
        content_type = answer.headers.get("Content-Type", "application/octet-stream")
        headers = [("Content-Type", content_type), ("x-Amzn-Invoked-Production-Variant", variant)]
        if attributes := answer.headers.get("X-Amzn-SageMaker-Custom-Attributes"):
            headers.append(("X-Amzn-SageMaker-Custom-Attributes", attributes))
        rule = fleet.capture
        if rule and rule.samples():
            self._endpoints.capture.add(
                Exchange(
                    rule=rule,
                    endpoint=fleet.endpoint,
                    variant=variant,
                    body=body,
                    content_type=environ.get("CONTENT_TYPE", ""),
                    answer=answer.body,
                    answer_type=content_type,
                    event_id=event_id,
                    inference_id=environ.get(INFERENCE_ID),
                    custom_attributes=environ.get(CUSTOM_ATTRIBUTES),
                    time=datetime.now(UTC),
                )
            )
        return headers, answer.body

    def _post(self, fleet: Fleet, variant: str, environ: dict, body: bytes) -> Answer:
        """Raises AwsError when no instance could be asked."""
        headers = {name: environ[key] for key, name in FORWARDED.items() if environ.get(key)}
        deadline = time.monotonic() + READY_SECONDS
        while True:
            worker = fleet.worker(variant)
            with worker.gate.enter() as admitted:
                if admitted:  # else it is being scaled in: ask for another
                    try:
                        return _ask(worker, body, headers)
                    except urllib3.exceptions.NewConnectionError as error:
                        if time.monotonic() > deadline:
                            raise unavailable(f"Variant {variant} cannot be reached.") from error
                    time.sleep(0.05)  # it has died, and its supervisor is about to notice


def _ask(worker: Worker, body: bytes, headers: dict[str, str]) -> Answer:
    """Raises NewConnectionError where nobody listens, so that nothing has been asked."""
    asked = time.monotonic()
    try:
        response = worker.post("/invocations", body, headers, ANSWER_SECONDS)
        status, headers, body = response.status, response.headers, response.data
    except urllib3.exceptions.NewConnectionError:
        raise
    except urllib3.exceptions.TimeoutError:
        status, headers, body = 0, {}, TIMED_OUT.encode()
    except urllib3.exceptions.HTTPError:
        status, headers, body = 0, {}, BROKEN_OFF.encode()
    return Answer(status, headers, body, time.monotonic() - asked)


def is_invocation(path: str) -> bool:
    """Whether a request's path belongs to ``Invocations``."""
    return path.startswith(PREFIX) and path.endswith(SUFFIX)


def endpoint_name(environ: dict) -> str:
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] != "POST" or not is_invocation(path):
        raise AwsError("UnknownOperationException", f"No operation at {quote(path)}.", HTTPStatus.NOT_FOUND)
    return path[len(PREFIX) : -len(SUFFIX)]
