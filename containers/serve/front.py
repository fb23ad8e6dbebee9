"""The small front: Flask on waitress with SageMaker's routes.

The model is loaded before the port is opened; ``/ping`` says what the supervisor has found out.
"""

import os
import signal
import sys

from flask import Flask, Response, request
from waitress.server import BaseWSGIServer, create_server

from containers.common.errors import BinTallyError
from containers.serve import handler, requests, servers, state

# Bytes taken from a connection at once. One thread receives for all, and Python runs one thread at a time:
# in waitress's own 8 KiB a photograph takes seven turns, for which the others wait.
RECEIVED = 2**18
# Bytes of a body that waitress takes at all; above half of it, the refusal is this module's JSON.
MAX_RECEIVED = 4 * requests.MAX_BODY


def create(model: handler.Handler) -> Flask:
    """The WSGI application around a loaded model."""
    app = Flask("bintally")

    @app.get("/ping")
    def ping():
        return Response(status=200 if state.is_ready() else 503)

    @app.post("/invocations")
    def invocations():
        if (request.content_length or 0) > 2 * requests.MAX_BODY:
            return respond(
                handler.failure(413, "too_large", f"the limit for a photograph is {requests.MAX_BODY} bytes")
            )
        attributes = request.headers.get(requests.CUSTOM_ATTRIBUTES, "")
        with state.working():
            [answer] = model.answer([(request.get_data(cache=False), request.content_type or "", attributes)])
        return respond(answer)

    @app.get("/execution-parameters")
    def execution_parameters():
        return {
            "MaxConcurrentTransforms": servers.workers(),
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": requests.MAX_BODY // 2**20,
        }

    @app.errorhandler(Exception)
    def unexpected(error):
        if getattr(error, "code", None):  # werkzeug's own: an unknown path or method
            return respond(
                handler.failure(error.code, error.name.lower().replace(" ", "_"), error.description)
            )
        app.logger.exception("a request failed")
        return respond(handler.failure(500, "internal", "the request failed; the container's log says why"))

    return app


def respond(answer: handler.Answer) -> Response:
    return Response(answer.body, status=answer.status, mimetype="application/json")


def listen(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """Takes the port; nothing is answered before the server's ``run``."""
    return create_server(
        app,
        host=host,
        port=port,
        # More than the handler computes with: some may wait for S3, and /ping must not wait behind them.
        threads=max(8, 4 * servers.workers()),
        recv_bytes=RECEIVED,
        max_request_body_size=MAX_RECEIVED,
        ident="bintally",
    )


def main() -> int:
    try:
        app = create(handler.load())
    except BinTallyError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    host = os.environ.get("BINTALLY_HOST", "0.0.0.0")  # in a container, every address is the container's own
    server = listen(app, host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # waitress then lets its threads finish
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
