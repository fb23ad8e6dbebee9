"""Data capture as SageMaker writes it: JSON lines in S3, one object per variant and few seconds.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

import base64
import json
import logging
import queue
import random
import threading
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from localcloud.objects import Objects, split

FLUSH_SECONDS = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptureRule:
    """The DataCaptureConfig of an endpoint configuration."""

    destination: str  # s3://bucket/prefix
    percentage: float
    modes: frozenset[str]  # of Input, Output, InputAndOutput
    json_types: frozenset[str]
    csv_types: frozenset[str]

    @classmethod
    def parse(cls, config: dict | None) -> "CaptureRule | None":
        """None where nothing is to be captured. EnableCapture is true unless it says otherwise."""
        if not config or not config.get("EnableCapture", True):
            return None
        types = config.get("CaptureContentTypeHeader") or {}
        return cls(
            destination=config["DestinationS3Uri"].rstrip("/"),
            percentage=config["InitialSamplingPercentage"],
            modes=frozenset(option["CaptureMode"] for option in config["CaptureOptions"]),
            json_types=frozenset(t.lower() for t in types.get("JsonContentTypes") or ()),
            csv_types=frozenset(t.lower() for t in types.get("CsvContentTypes") or ()),
        )

    def samples(self) -> bool:
        return random.random() * 100 < self.percentage

    def wants(self, mode: str) -> bool:
        """``mode``: Input or Output."""
        return not self.modes.isdisjoint({mode, "InputAndOutput"})

    def encode(self, data: bytes, content_type: str) -> tuple[str, str]:
        """(text, encoding): JSON and CSV as they are where the rule names the type, else base64."""
        media_type = content_type.split(";")[0].strip().lower()
        for encoding, types in (("JSON", self.json_types), ("CSV", self.csv_types)):
            if media_type in types:
                try:
                    return data.decode(), encoding
                except UnicodeDecodeError:
                    break
        return base64.b64encode(data).decode(), "BASE64"


@dataclass(frozen=True)
class Exchange:
    """One invocation that was answered with success."""

    rule: CaptureRule
    endpoint: str
    variant: str
    body: bytes
    content_type: str
    answer: bytes
    answer_type: str
    event_id: str
    inference_id: str | None
    custom_attributes: str | None
    time: datetime

    def folder(self) -> str:
        return f"{self.rule.destination}/{self.endpoint}/{self.variant}/{self.time:%Y/%m/%d/%H}"

    def record(self) -> dict:
        sides = (
            ("Input", self.body, self.content_type),
            ("Output", self.answer, self.answer_type),
        )
        captured = {}
        for mode, data, content_type in sides:
            if self.rule.wants(mode):
                text, encoding = self.rule.encode(data, content_type)
                captured[f"endpoint{mode}"] = {
                    "observedContentType": content_type,
                    "mode": mode.upper(),
                    "data": text,
                    "encoding": encoding,
                }
        metadata = {"eventId": self.event_id, "inferenceTime": f"{self.time:%Y-%m-%dT%H:%M:%SZ}"}
        if self.inference_id:
            metadata["inferenceId"] = self.inference_id
        if self.custom_attributes:
            metadata["customAttributes"] = [self.custom_attributes]
        return {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}


class Capture:
    """Takes exchanges without delay, and writes them to S3 from a thread of its own."""

    def __init__(self, s3: Objects):
        self._s3 = s3
        self._exchanges: queue.SimpleQueue[Exchange] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def add(self, exchange: Exchange) -> None:
        self._exchanges.put(exchange)

    def flush(self) -> None:
        """Everything added before the call is in S3 when it returns, or its loss has been logged."""
        with self._writing:
            objects: dict[str, list[Exchange]] = defaultdict(list)
            for _ in range(self._exchanges.qsize()):
                exchange = self._exchanges.get()
                objects[exchange.folder()].append(exchange)
            for folder, exchanges in objects.items():
                self._write(folder, exchanges)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self.flush()

    def _write(self, folder: str, exchanges: list[Exchange]) -> None:
        started = exchanges[0].time
        name = f"{started:%M-%S}-{started.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        lines = "".join(json.dumps(e.record()) + "\n" for e in exchanges)
        try:
            self._s3.put(*split(f"{folder}/{name}"), lines.encode())
        except Exception as error:  # whatever S3 answers, the writer goes on with the next object
            log.error("%d captured records of %s are lost: %s", len(exchanges), exchanges[0].endpoint, error)
