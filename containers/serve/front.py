"""The small front: Flask on waitress with SageMaker's routes, and the image's ``serve`` command.

The model is loaded before the port is opened, and ``/ping`` is 200 only once a real photograph has
been answered: ready means ready.
"""

import io
import os
import signal
import sys
import threading

import numpy as np
from flask import Flask, Response, request
from PIL import Image
from waitress.server import create_server

from containers.common.errors import BinTallyError
from containers.serve import handler, requests


def create(model: handler.Handler) -> Flask:
    """The WSGI application around a loaded model."""
    app = Flask("bintally")
    ready = threading.Event()

    @app.get("/ping")
    def ping():
        if not ready.is_set() and proves_itself(model):
            ready.set()
        return Response(status=200 if ready.is_set() else 503)

    @app.post("/invocations")
    def invocations():
        if (request.content_length or 0) > 2 * requests.MAX_BODY:
            return respond(
                handler.failure(413, "too_large", f"the limit for a photograph is {requests.MAX_BODY} bytes")
            )
        [answer] = model.answer(
            [
                (
                    request.get_data(cache=False),
                    request.content_type or "",
                    request.headers.get(requests.CUSTOM_ATTRIBUTES, ""),
                )
            ]
        )
        return respond(answer)

    @app.get("/execution-parameters")
    def execution_parameters():
        return {
            "MaxConcurrentTransforms": threads(),
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


def proves_itself(model: handler.Handler) -> bool:
    """One real prediction, through decoding, network and verdict."""
    height, width = model.graph.card.input_size
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(stream, "JPEG")
    [answer] = model.answer([(stream.getvalue(), "image/jpeg", "expected=1")])
    return answer.status == 200


def threads() -> int:
    """Requests worked on at once: one per core."""
    return int(os.environ.get("BINTALLY_WORKERS") or len(os.sched_getaffinity(0)))


def main() -> int:
    try:
        app = create(handler.load())
    except BinTallyError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    host = os.environ.get("BINTALLY_HOST", "0.0.0.0")  # in a container, every address is the container's own
    server = create_server(app, host=host, port=port, threads=threads(), ident="bintally")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # waitress then lets its threads finish
    print(f"serving on port {port}", flush=True)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
