"""waitress, made to carry S3's object metadata as S3 does: names with underscores, in lower case."""

import json
import re

import waitress
from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    environ_key_for_header,
    should_preserve_original_header_name,
)
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import MultiSocketServer, TcpWSGIServer
from waitress.task import WSGITask
from waitress.utilities import BadRequest

from localcloud.settings import Settings

# A function that calls an endpoint that reads from S3 holds three. More than ``invoke`` lets in, and ``pool``
# of three functions: else all could be held by requests that wait for another to be answered.
THREADS = 128
LARGEST_BODY = 5 * 1024**3  # bytes, S3's own limit for one PUT
TLS_HANDSHAKE = b"\x16\x03"  # the first bytes of every connection
SPELLINGS = "LOCALCLOUD_SPELLINGS"


def listen(application, settings: Settings, address: str) -> TcpWSGIServer | MultiSocketServer:
    """Take the port of the host and of ``address``, where containers look for it, or raise OSError.

    Nothing is answered before the server's ``run``.
    """
    TcpWSGIServer.channel_class = _Channel
    return waitress.create_server(
        application,
        listen=" ".join(f"{host}:{settings.port}" for host in sorted({settings.host, address})),
        threads=THREADS,
        connection_limit=1000,
        max_request_body_size=LARGEST_BODY,
        asyncore_use_poll=True,
        ident="localcloud",
    )


def for_moto(environ: dict) -> None:
    """Tell moto what it takes from its own server: the undecoded path, and how headers were spelt."""
    environ["RAW_URI"] = environ["REQUEST_URI"]
    if spellings := environ.pop(f"HTTP_{SPELLINGS}", None):
        environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = json.loads(spellings)


class _Parser(HTTPRequestParser):
    """Keeps ``x-amz-meta-some_name``, which waitress drops like all headers with an underscore.

    Answers an attempt at TLS, with which ``docker push`` begins, instead of waiting for the end of its
    header: docker would give up only after ten seconds, and go on without.
    """

    def received(self, data: bytes) -> int:
        first = not (self.headers_finished or self.header_plus)  # a body may hold these bytes, too
        if first and data.startswith(TLS_HANDSHAKE):
            self.error = BadRequest("This is HTTP, not HTTPS.")
            self.completed = True
            return len(data)
        return super().received(data)

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        self.headers.pop(SPELLINGS, None)
        spellings = {}
        for line in header_plus.split(b"\r\n")[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            if should_preserve_original_header_name(name):
                key = environ_key_for_header(name)
                spellings[key] = name
                self.headers[key.removeprefix("HTTP_")] = value.strip(" \t")
        if spellings:
            self.headers[SPELLINGS] = json.dumps(spellings)


class _Task(WSGITask):
    """waitress capitalises the names of headers, and clients take metadata's names from them."""

    def build_response_header(self) -> bytes:
        header = super().build_response_header()
        return re.sub(rb"(?im)^x-amz-meta-[^:]+:", lambda name: name[0].lower(), header)


class _Channel(HTTPChannel):
    parser_class = _Parser
    task_class = _Task
