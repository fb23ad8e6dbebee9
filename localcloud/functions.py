"""AWS Lambda's API for functions from container images, as a WSGI application."""

import base64
import binascii
import json
import threading
import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus
from urllib.parse import parse_qs, quote

from localcloud import function_documents as documents
from localcloud.errors import AwsError
from localcloud.logs import restore
from localcloud.pool import Pool
from localcloud.runtime import Runtime
from localcloud.sandbox import MOST_BYTES, log_group, stream_name
from localcloud.settings import Settings
from localcloud.store import Store

KIND = "function"
ROOT = "/2015-03-31/functions"
PAGE = 50

Answer = tuple[HTTPStatus, dict[str, str], bytes]


class Functions:
    """The functions' documents in the store, and a pool of sandboxes for each that has been invoked."""

    def __init__(self, settings: Settings, runtime: Runtime, store: Store):
        self._settings = settings
        self._runtime = runtime
        self._store = store
        self._lock = threading.RLock()
        self._pools: dict[str, Pool] = {}

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        request_id = str(uuid.uuid4())
        try:
            status, headers, body = self._dispatch(environ, request_id)
        except AwsError as error:
            status = HTTPStatus(error.status)
            headers = {"x-amzn-ErrorType": error.code}
            body = _json({"Type": "User" if status < 500 else "Service", "Message": error.message})
        headers = {
            "Content-Type": "application/json",
            "x-amzn-RequestId": request_id,
            "Content-Length": str(len(body)),
            **headers,
        }
        if status == HTTPStatus.NO_CONTENT:
            del headers["Content-Length"], headers["Content-Type"]
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [body]

    def start(self, identifier: str, event) -> None:
        """Invoke asynchronously with a JSON value, as other services do; raises AwsError if it is unknown."""
        pool = self._pool(self._find(identifier, {}))
        pool.start(str(uuid.uuid4()), _json(event), None)

    def resume(self) -> None:
        """After a start-up: the logs are there again; processes start with the first invocation.

        Not those of functions that were deleted: their group may have been deleted, too.
        """
        for log in sorted(self._settings.home.glob("functions/*/logs/*.log")):
            if self._store.get(KIND, name := log.parent.parent.name):
                restore(log_group(name), stream_name(log), log)

    def shutdown(self) -> None:
        """Kill every process; the documents stay."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.stop()

    def _dispatch(self, environ: dict, request_id: str) -> Answer:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        match method, path.removeprefix(ROOT).strip("/").split("/"):
            case "POST", [""]:
                return HTTPStatus.CREATED, {}, _json(self._create(_members(body)))
            case "GET", [""]:
                return HTTPStatus.OK, {}, _json(self._list(query))
            case "GET", [name]:
                return HTTPStatus.OK, {}, _json(documents.with_code(self._find(name, query)))
            case "GET", [name, "configuration"]:
                return HTTPStatus.OK, {}, _json(documents.configuration(self._find(name, query)))
            case "PUT", [name, "code"]:
                return HTTPStatus.OK, {}, _json(self._update(name, _members(body), documents.changed_code))
            case "PUT", [name, "configuration"]:
                change = documents.changed_configuration
                return HTTPStatus.OK, {}, _json(self._update(name, _members(body), change))
            case "DELETE", [name]:
                self._delete(self._find(name, query)["FunctionName"])
                return HTTPStatus.NO_CONTENT, {}, b""
            case "POST", [name, "invocations"]:
                return self._invoke(self._find(name, query), environ, body, request_id)
        raise AwsError(
            "UnknownOperationException", f"localcloud does not provide {method} {quote(path)}.", 404
        )

    def _create(self, params: dict) -> dict:
        document = documents.created(params, self._runtime)
        with self._lock:
            if self._store.get(KIND, document["FunctionName"]):
                name = document["FunctionName"]
                raise AwsError("ResourceConflictException", f"Function already exist: {name}", 409)
            self._store.put(KIND, document["FunctionName"], document)
        return documents.configuration(document)

    def _list(self, query: dict[str, str]) -> dict:
        found = sorted(self._store.all(KIND), key=lambda d: d["FunctionName"])
        start = int(query.get("Marker", 0))
        end = start + int(query.get("MaxItems", PAGE))
        answer = {"Functions": [documents.configuration(d) for d in found[start:end]]}
        return answer if end >= len(found) else {**answer, "NextMarker": str(end)}

    def _update(self, name: str, params: dict, change: Callable) -> dict:
        with self._lock:
            document = self._find(name, {})
            documents.check_revision(document, params)
            document = change(document, params, self._runtime)
            self._store.put(KIND, document["FunctionName"], document)
            pool = self._pools.pop(document["FunctionName"], None)
        if pool:
            pool.retire()
        return documents.configuration(document)

    def _delete(self, name: str) -> None:
        with self._lock:
            self._store.delete(KIND, name)
            pool = self._pools.pop(name, None)
        if pool:
            pool.retire()

    def _invoke(self, document: dict, environ: dict, body: bytes, request_id: str) -> Answer:
        _check_payload(body)
        headers = {"X-Amz-Executed-Version": "$LATEST"}
        kind = environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
        if kind == "DryRun":
            return HTTPStatus.NO_CONTENT, headers, b""
        invocation = (request_id, body or b"{}", _client_context(environ))
        pool = self._pool(document)
        if kind == "Event":
            pool.start(*invocation)
            return HTTPStatus.ACCEPTED, headers, b""
        outcome = pool.invoke(*invocation)
        if outcome.error:
            headers["X-Amz-Function-Error"] = outcome.error
        if environ.get("HTTP_X_AMZ_LOG_TYPE") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log).decode()
        return HTTPStatus.OK, headers, outcome.payload

    def _pool(self, document: dict) -> Pool:
        name = document["FunctionName"]
        with self._lock:
            if name not in self._pools:
                self._pools[name] = Pool(
                    self._store.get(KIND, name) or document, self._settings, self._runtime
                )
            return self._pools[name]

    def _find(self, identifier: str, query: dict[str, str]) -> dict:
        name, qualifier = documents.parse_name(identifier)
        documents.check_qualifier(query.get("Qualifier", qualifier))
        document = self._store.get(KIND, name)
        if document is None:
            message = f"Function not found: {documents.arn(name)}"
            raise AwsError("ResourceNotFoundException", message, 404)
        return document


def _check_payload(body: bytes) -> None:
    if len(body) > MOST_BYTES:
        message = f"Request must be smaller than {MOST_BYTES} bytes for the InvokeFunction operation"
        raise AwsError("RequestEntityTooLargeException", message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if body:
        try:
            json.loads(body)
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise AwsError("InvalidRequestContentException", message) from error


def _client_context(environ: dict) -> str | None:
    """The header's JSON, decoded: on one line, since it goes into a header again."""
    encoded = environ.get("HTTP_X_AMZ_CLIENT_CONTEXT")
    if not encoded:
        return None
    try:
        return json.dumps(json.loads(base64.b64decode(encoded)))
    except (binascii.Error, ValueError) as error:
        raise AwsError(
            "InvalidRequestContentException", f"ClientContext is not base64 JSON: {error}"
        ) from error


def _members(body: bytes) -> dict:
    try:
        members = json.loads(body or b"{}")
    except ValueError as error:
        raise AwsError("SerializationException", str(error)) from error
    if not isinstance(members, dict):
        raise AwsError("SerializationException", "The request's body is not a JSON object.")
    return members


def _json(document: dict) -> bytes:
    return json.dumps(document).encode()
