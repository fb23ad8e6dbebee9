"""The handler: ``handle(data, context)``, as multi-model-server and TorchServe both call it.

``data`` is a list with one mapping per request of a batch (``body`` or ``data`` holds the bytes),
``context`` gives the request's headers and takes each answer's status and content type. Everything
that a front must agree on (validation, decoding, the network, the verdict, errors) is here.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from containers.common import paths
from containers.common.errors import BinTallyError, SettingsError
from containers.common.graph import Graph
from containers.common.verdict import judge
from containers.serve import requests, servers, state

REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    413: "Payload Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Answer:
    """One request's status and JSON document."""

    status: int
    document: dict

    @property
    def body(self) -> bytes:
        return json.dumps(self.document).encode()


class Handler:
    """A loaded model that answers batches of requests. Safe for several threads."""

    def __init__(self, graph: Graph, reader: requests.ObjectReader):
        self.graph = graph
        self.reader = reader
        # A thread for each core decodes and counts, in the order of asking; the askers may wait for S3.
        self._cores = ThreadPoolExecutor(servers.workers(), "core")

    def answer(self, batch: list[tuple[bytes, str, str]]) -> list[Answer]:
        """(body, content type, custom attributes) of each request -> its answer, in order.

        A request that cannot be answered does not spoil the others: the network runs on the rest.
        """
        answers: list[Answer | None] = [None] * len(batch)
        asked: dict[int, requests.Request] = {}
        for index, (body, content_type, attributes) in enumerate(batch):
            try:
                asked[index] = requests.parse(body, content_type, attributes, self.reader)
            except requests.RequestError as error:
                answers[index] = failure(error.status, error.code, str(error))
        if asked:
            for index, answer in self._cores.submit(self._count, asked).result().items():
                answers[index] = answer
        return answers

    def _count(self, asked: dict[int, requests.Request]) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        pixels: dict[int, np.ndarray] = {}
        for index, request in asked.items():
            try:
                pixels[index] = self.graph.prepare(request.photograph)
            except BinTallyError as error:
                answers[index] = failure(400, "bad_photograph", str(error))
        if pixels:
            probabilities = self.graph(np.stack(list(pixels.values())))
            for index, row in zip(pixels, probabilities, strict=True):
                answers[index] = Answer(200, self._document(row, asked[index].expected))
        return answers

    def _document(self, row: np.ndarray, expected: int | None) -> dict:
        card = self.graph.card
        probabilities = dict(zip(card.classes, (round(float(p), 6) for p in row), strict=True))
        count = max(probabilities, key=probabilities.get)
        verdict, reason = judge(probabilities, expected, card.thresholds)
        document = {
            "count": count,
            "confidence": probabilities[count],
            "probabilities": {str(n): p for n, p in probabilities.items()},
            "expected": expected,
            "verdict": verdict,
            "model": card.name,
        }
        return document if reason is None else {**document, "reason": reason}


def failure(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}})


def load() -> Handler:
    """The model of this container; raises ModelError where there is none."""
    accelerator = os.environ.get("BINTALLY_ACCELERATOR")
    if accelerator not in (None, "", "eia"):
        raise SettingsError(f"BINTALLY_ACCELERATOR={accelerator}; only eia is known")
    if accelerator:
        from containers.serve.accelerator import AcceleratedGraph  # brings torch

        graph = AcceleratedGraph(paths.model())
    else:
        graph = Graph(paths.model(), threads=int(os.environ.get("BINTALLY_THREADS", "1")))
    return Handler(graph, requests.ObjectReader.from_environment())


_handler: Handler | None = None


def handle(data: list[dict] | None, context) -> list[bytes] | None:
    """The interface of multi-model-server and TorchServe; they first call it with None to load the model."""
    global _handler
    if _handler is None:
        _handler = load()
    if not data:
        return None
    batch = []
    for index, row in enumerate(data):
        headers = {  # the servers pass names as the client wrote them, and parameters among them
            name.lower(): value
            for name, value in context.get_all_request_header(index).items()
            if isinstance(value, str)
        }
        body = row.get("body") if row.get("body") is not None else row.get("data")
        body = json.dumps(body).encode() if isinstance(body, dict) else bytes(body or b"")
        attributes = headers.get(requests.CUSTOM_ATTRIBUTES.lower(), "")
        batch.append((body, headers.get("content-type", ""), attributes))
    with state.working():
        answers = _handler.answer(batch)
    for index, answer in enumerate(answers):
        context.set_response_status(answer.status, REASONS[answer.status], index)
        context.set_response_content_type(index, "application/json")
    return [answer.body for answer in answers]
