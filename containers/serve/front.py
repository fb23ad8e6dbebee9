"""The small front: Flask with SageMaker's routes, on gunicorn with a process for each core.

Whether there is a model is known before the port is opened; ``/ping`` says what the supervisor has found out.
"""

import os
import sys

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

from containers.common.errors import BinTallyError
from containers.serve import handler, requests, servers, state

KEEP_OPEN = 75  # seconds that a connection may idle: longer than a load balancer lets it
GRACE = 30  # seconds for requests in flight, which the supervisor has waited for already


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


class Server(BaseApplication):
    """gunicorn's arbiter, told what it needs here rather than by its command line or its variables."""

    def load_config(self) -> None:
        host = os.environ.get("BINTALLY_HOST", "0.0.0.0")  # in a container, every address is its own
        options = {
            "bind": f"{host}:{os.environ.get('SAGEMAKER_BIND_TO_PORT', 8080)}",
            "workers": servers.workers(),
            "worker_class": "gthread",  # the one that keeps connections open
            "threads": 1,
            "keepalive": KEEP_OPEN,
            "graceful_timeout": GRACE,
            # Workers beat their hearts in a file; the folder is in memory, and can be written to.
            "worker_tmp_dir": os.environ.get(state.VARIABLE),
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In each worker: ONNX Runtime's sessions do not outlive a fork."""
        return create(handler.load())


def main() -> int:
    try:
        handler.load()  # one clear line where it cannot be, and the workers share what this has imported
    except BinTallyError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    Server().run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
