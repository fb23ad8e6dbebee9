"""The verification job: an endpoint that is being promoted is asked about real photographs.

A SageMaker processing job of the training image, the pipeline's last step. Below ``processing/``, in:
``model/model.tar.gz`` (the challenger), ``test/<count>/NAME.jpg`` and ``evaluation/evaluation.json``.
It waits until the endpoint serves the promoted configuration, and compares the answers with the
challenger's own graph. On failure, or on SIGTERM, the endpoint goes back to what it served before. Either
way the outcome is recorded in the Model Registry.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from containers.common import aws, class_folders, deployment, job, paths
from containers.common.archive import unpack
from containers.common.errors import BinTallyError, ModelError, ServiceError
from containers.common.graph import Graph
from containers.train import registry, rollout

ASKED = 20  # photographs, of every count in turn
TOLERANCE = 0.02  # of a probability: processors of other kinds round int8 arithmetic differently
CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}

UNVERIFIED = (BinTallyError, BotoCoreError, ClientError, OSError)


@dataclass(frozen=True)
class Promotion:
    """The arguments of the job, all of them required."""

    execution: str  # id of the pipeline's execution
    endpoint: str
    configuration: str  # that is being promoted
    champion: str  # configuration that was live before; empty where there was no endpoint
    artifact: str  # S3 address of the challenger
    image: str  # that serves it
    instance_type: str
    evaluation: str  # S3 address of evaluation.json
    training_job: str
    group: str  # model package group


def verify(promotion: Promotion, graph: Graph, photographs: Sequence[Path], stop: job.Stop) -> None:
    """Return once the endpoint serves the challenger and answers as its graph does.

    Raises ServiceError or ModelError with the reason why not.
    """
    rollout.wait(promotion.endpoint, promotion.configuration, stop)
    runtime = aws.client("sagemaker-runtime")
    for number, path in enumerate(photographs):
        if stop.asked:
            raise ServiceError(f"the job was told to stop before {promotion.configuration} was verified")
        data = path.read_bytes()
        try:
            response = runtime.invoke_endpoint(
                EndpointName=promotion.endpoint,
                ContentType=CONTENT_TYPES.get(path.suffix.lower(), "image/jpeg"),
                Body=data,
                InferenceId=f"{deployment.VERIFYING}-{promotion.execution}-{number}",
            )
            answer = json.loads(response["Body"].read())
        except (BotoCoreError, ClientError, ValueError) as error:
            raise ServiceError(
                f"endpoint {promotion.endpoint} does not answer for {path.name}: {error}"
            ) from None
        check(answer, graph.card.name, graph.card.classes, graph(graph.prepare(data)[None])[0], path.name)
    print(f"verified: {len(photographs)} answers are those of {graph.card.name}", flush=True)


def check(answer: dict, name: str, classes: Sequence[int], row: np.ndarray, photograph: str) -> None:
    """Raises ModelError unless an endpoint's answer is what the graph says.

    name, classes: of the graph's card; row: its probabilities, float ``[classes]``. The count must be one of
    the likeliest by the graph, as far as ``TOLERANCE`` tells counts apart.
    """
    try:
        answering = answer["model"]
        served = np.array([float(answer["probabilities"][str(n)]) for n in classes])
        counted = row[list(classes).index(answer["count"])]
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"for {photograph} the endpoint answers {json.dumps(answer):.200}") from None
    if answering != name:
        raise ModelError(f"the endpoint answers as {answering}, and not as {name}")
    apart = float(abs(served - row).max())
    if apart > TOLERANCE or counted < row.max() - 2 * TOLERANCE:
        raise ModelError(
            f"for {photograph} the endpoint counts {answer['count']} and its graph "
            f"{classes[int(row.argmax())]}; their probabilities differ by up to {apart:.3f}, and "
            f"{TOLERANCE:g} is allowed"
        )


def chosen(folder: Path) -> list[Path]:
    """Up to ``ASKED`` test photographs, spread over all of them; raises DataError where there is none."""
    photographs = [path for path, _ in class_folders.listed(folder)]
    places = np.linspace(0, len(photographs) - 1, min(ASKED, len(photographs))).round().astype(int)
    return [photographs[place] for place in places]


def record(promotion: Promotion, evaluation: dict, status: str, reason: str) -> None:
    champion, accuracy = evaluation["champion"] or {}, evaluation["metrics"]["accuracy"]
    arn = registry.record(
        promotion.group,
        status,
        reason,
        {"Image": promotion.image, "ModelDataUrl": promotion.artifact},
        promotion.instance_type,
        promotion.evaluation,
        {
            "model": evaluation["model"],
            "accuracy": f"{accuracy['value']:.4f}",
            "gain": f"{evaluation['comparison']['gain']['value']:+.4f}",
            "data-fingerprint": evaluation["data"]["fingerprint"],
            "training-job": promotion.training_job,
            "pipeline-execution": promotion.execution,
            "endpoint": promotion.endpoint,
            "endpoint-configuration": promotion.configuration,
            "champion-before": champion.get("model", ""),
            "champion-configuration": promotion.champion,
        },
        f"{promotion.execution}-{status}",
    )
    print(f"recorded as {status}: {arn}", flush=True)


def run(promotion: Promotion, stop: job.Stop) -> None:
    """Verify and, on failure, roll back; either is recorded.

    Raises ServiceError with the reason and with what the endpoint serves then.
    """
    evaluation = json.loads(paths.processing("evaluation", "evaluation.json").read_text())
    try:
        with tempfile.TemporaryDirectory() as folder:
            unpack(paths.processing("model", "model.tar.gz"), Path(folder))
            verify(promotion, Graph(Path(folder)), chosen(paths.processing("test")), stop)
    except UNVERIFIED as error:
        after = rollout.back(promotion.endpoint, promotion.configuration, promotion.champion, stop)
        reason = f"{error}; {after}"
        try:
            record(promotion, evaluation, registry.REJECTED, reason)
        except UNVERIFIED as unrecorded:  # why it was rejected matters more
            reason = f"{reason}; not recorded: {unrecorded}"
        raise ServiceError(reason) from None
    record(promotion, evaluation, registry.APPROVED, evaluation["decision"]["reason"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m containers.train.verify")
    for field in fields(Promotion):
        parser.add_argument(f"--{field.name.replace('_', '-')}", required=True)
    promotion = Promotion(**vars(parser.parse_args(arguments)))
    stop = job.Stop()
    signal.signal(signal.SIGTERM, stop.ask)
    try:
        run(promotion, stop)
    except UNVERIFIED as error:
        return job.failed(error, str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
