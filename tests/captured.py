"""Captured records as SageMaker writes them, made by the tests."""

import base64
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
from PIL import Image

MODEL = "model-a"
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def answer(count: int = 3, confidence: float = 0.6, verdict: str | None = "match", **members) -> dict:
    probabilities = {str(n): (1 - confidence) / 4 for n in range(1, 6)} | {str(count): confidence}
    document = {"count": count, "confidence": confidence, "probabilities": probabilities}
    return document | {"expected": 3, "verdict": verdict, "model": MODEL} | members


def record(
    event_id: str, time: datetime = NOON, output: dict | None = None, photograph: bytes | None = None
) -> bytes:
    """One line. Without a photograph the request names one in S3."""
    sent = {
        "observedContentType": "image/jpeg" if photograph else "application/json",
        "mode": "INPUT",
        "data": base64.b64encode(photograph).decode() if photograph else '{"s3_uri": "s3://b/1.jpg"}',
        "encoding": "BASE64" if photograph else "JSON",
    }
    answered = {
        "observedContentType": "application/json",
        "mode": "OUTPUT",
        "data": json.dumps(answer() if output is None else output),
        "encoding": "JSON",
    }
    document = {
        "captureData": {"endpointInput": sent, "endpointOutput": answered},
        "eventMetadata": {"eventId": event_id, "inferenceTime": f"{time:%Y-%m-%dT%H:%M:%SZ}"},
        "eventVersion": "0",
    }
    return json.dumps(document).encode() + b"\n"


def key(prefix: str, variant: str, time: datetime, name: str) -> str:
    """Of an object with records of that hour."""
    return f"{prefix}/{variant}/{time:%Y/%m/%d/%H}/{name}.jsonl"


def photograph(seed: int, light: float = 1.0, size: tuple[int, int] = (64, 48)) -> bytes:
    """A grey JPEG with some texture, whose brightness and sharpness vary from one seed to another."""
    draw = np.random.default_rng(seed)
    pixels = draw.normal(draw.normal(120, 12), draw.uniform(10, 25), (size[1], size[0])) * light
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB").save(stream, "JPEG", quality=92)
    return stream.getvalue()


def lines(records: Iterable[bytes]) -> bytes:
    return b"".join(records)
