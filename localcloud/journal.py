"""What survives of moto's state besides objects: the requests that made it, repeated at start.

A line of the journal is one request that changed something and succeeded. S3's objects are not
in it (``mirror`` keeps them), nor are log events and metric data.
"""

import json
import logging
import os
import re
import threading
from base64 import b64decode, b64encode
from pathlib import Path
from urllib.parse import parse_qs

from werkzeug.test import EnvironBuilder, run_wsgi_app

# Actions of the JSON and query protocols that change nothing, or nothing that is worth keeping.
PASSING = re.compile(
    r"(BatchCheck|BatchGet|Check|Describe|Filter|Get|Head|List|Lookup|Query|Search|Simulate|Test|Validate)[A-Z]"
    r"|PutLogEvents$|PutMetricData$|SetAlarmState$|AssumeRole|(Start|Stop|Retry)PipelineExecution$"
)
HEADERS = ("CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_HOST")  # and X-Amz-*, which carries the action
TARGET = "HTTP_X_AMZ_TARGET"

log = logging.getLogger(__name__)


class Journal:
    """Append-only, one JSON document a line. Safe for threads."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        if path.exists():
            complete = path.read_bytes().rpartition(b"\n")
            if complete[2]:  # cut off by a crash: the request was never answered
                path.write_bytes(complete[0] + complete[1])

    def append(self, environ: dict, body: bytes) -> None:
        headers = {k: v for k, v in environ.items() if k in HEADERS or k.startswith("HTTP_X_AMZ_")}
        entry = {
            "method": environ["REQUEST_METHOD"],
            "uri": environ["REQUEST_URI"],
            "headers": headers,
            "body": b64encode(body).decode(),
        }
        with self._lock:
            length = self._path.stat().st_size if self._path.exists() else 0
            try:
                with self._path.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
            except OSError:
                os.truncate(self._path, length)  # the next line must not continue half of this one
                raise

    def replay(self, app) -> int:
        """Send every request to ``app`` again; returns how many it refused this time."""
        refused = 0
        for line in self._path.read_text().splitlines() if self._path.exists() else []:
            try:
                entry = json.loads(line)
            except ValueError as error:
                refused += 1
                log.warning("%s: a line is left out, which is no JSON: %s", self._path, error)
                continue
            path, _, query = entry["uri"].partition("?")
            environ = EnvironBuilder(
                method=entry["method"], path=path, query_string=query, data=b64decode(entry["body"])
            ).get_environ()
            environ.update(entry["headers"], RAW_URI=entry["uri"], REQUEST_URI=entry["uri"])
            try:
                _, status, _ = run_wsgi_app(app, environ)
            except Exception as error:  # one that moto cannot repeat must not keep the rest away
                status = f"{type(error).__name__}: {error}"
            if not status.startswith("2"):
                refused += 1
                log.info("not repeated: %s %s: %s", entry["method"], _action(environ, b""), status)
        return refused


def is_kept(environ: dict, body: bytes) -> bool:
    """Whether a request that succeeds belongs in the journal."""
    if environ["REQUEST_METHOD"] not in ("POST", "PUT", "PATCH", "DELETE"):
        return False
    if _signed_for("cloudformation", environ):  # a stack is kept in the store, and its resources by their own
        return False
    return not PASSING.match(_action(environ, body))


def is_s3(environ: dict) -> bool:
    """By the signature's scope; what is not signed is S3's, as moto has it."""
    return "HTTP_AUTHORIZATION" not in environ or _signed_for("s3", environ)


def is_object_request(environ: dict) -> bool:
    """A request of S3 that is about an object, or about several of them, and not about a bucket."""
    _, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return is_s3(environ) and (bool(key) or not query.keys().isdisjoint(("delete", "uploads", "uploadId")))


def _signed_for(service: str, environ: dict) -> bool:
    return f"/{service}/aws4_request" in environ.get("HTTP_AUTHORIZATION", "")


def _action(environ: dict, body: bytes) -> str:
    """``CreateModel``; empty for the REST protocols, where the method says enough."""
    if target := environ.get(TARGET):
        return target.rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
    return ""
