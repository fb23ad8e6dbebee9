"""The Lambda Runtime API for one process: what ``awslambdaric`` polls for work and reports to.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import queue
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = "/2018-06-01/runtime"
READY, RESPONSE, ERROR, INIT_ERROR, EXITED = "ready", "response", "error", "init error", "exited"


@dataclass(frozen=True)
class Invocation:
    """One event on its way to the runtime."""

    request_id: str
    payload: bytes
    headers: dict[str, str]  # Lambda-Runtime-*


@dataclass(frozen=True)
class Event:
    """What the runtime did: READY, RESPONSE, ERROR, INIT_ERROR, or EXITED with ``status``."""

    kind: str
    request_id: str = ""
    body: bytes = b""
    status: int = 0


class RuntimeApi:
    """A server on a port of its own; ``events`` tells what happens on the other side."""

    def __init__(self, host: str):
        """``host``: the address of this machine on which to listen."""
        self._host = host
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._server = _Server((host, 0), _Handler)
        self._server.api = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """AWS_LAMBDA_RUNTIME_API."""
        return f"{self._host}:{self._server.server_port}"

    def submit(self, invocation: Invocation) -> None:
        """For the process's next ``GET …/invocation/next``; make sure first that it lives."""
        self._invocations.put(invocation)

    def next(self) -> Invocation | None:
        """Blocks; None once the API has been closed."""
        self.events.put(Event(READY))
        return self._invocations.get()

    def close(self) -> None:
        self._invocations.put(None)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: RuntimeApi


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes; together they must not wait for an ACK

    def do_GET(self) -> None:
        if self.path != f"{ROOT}/invocation/next":
            self._answer(HTTPStatus.NOT_FOUND)
            return
        invocation = self.server.api.next()
        if invocation is None:
            self.close_connection = True
            return
        headers = {"Content-Type": "application/json", **invocation.headers}
        self._answer(HTTPStatus.OK, invocation.payload, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.path.removeprefix(ROOT).split("/"):
            case ["", "invocation", request_id, "response"]:
                event = Event(RESPONSE, request_id, body)
            case ["", "invocation", request_id, "error"]:
                event = Event(ERROR, request_id, body)
            case ["", "init", "error"]:
                event = Event(INIT_ERROR, body=body)
            case _:
                self._answer(HTTPStatus.NOT_FOUND)
                return
        self.server.api.events.put(event)
        self._answer(HTTPStatus.ACCEPTED, json.dumps({"status": "OK"}).encode())

    def _answer(self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        """The function's own log tells what matters."""
