"""From a trained network to the artifact of the contract: graphs, weights and the card."""

import copy
import dataclasses
import logging
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime.quantization as quantization
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process
from safetensors.torch import save_file
from torch.nn import functional

from containers.common import card as cards
from containers.common import manifest, metrics, photograph, verdict
from containers.common.graph import Graph
from containers.train.data import Photographs
from containers.train.hyperparameters import Hyperparameters
from containers.train.network import CLASSES, Counter

CALIBRATION_PHOTOGRAPHS = 256
OPSET = 18
QUANTIZED = "Conv Gemm MatMul Add Mul Clip Relu Concat MaxPool AveragePool GlobalAveragePool ReduceMean"
NEAR_TIE = 0.1  # difference of two probabilities
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "pillow", "numpy")


def write(
    folder: Path,
    counter: Counter,
    hp: Hyperparameters,
    photographs: dict[str, Photographs],
    records: list[manifest.Row],
    logits: torch.Tensor,
    best_epochs: list[int],
) -> tuple[cards.Card, np.ndarray]:
    """Write every file of the artifact into ``folder``, but the report.

    logits: of the validation photographs; temperature and thresholds are fitted on them.
    best_epochs: from 1, of each member's weights.
    Returns: (the card, the served graph's probabilities of the validation photographs).
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = photographs["validation"].labels
    temperature = fit_temperature(logits, labels)
    counter = Counter(
        copy.deepcopy(counter.network).to("cpu", memory_format=torch.contiguous_format),
        temperature,
        hp.mirror,
    ).eval()
    validation, training = photographs["validation"], photographs["train"]
    size = hp.image_size

    save_file({k: v.contiguous() for k, v in counter.network.state_dict().items()}, folder / cards.WEIGHTS)
    float_graph(counter, size, folder / cards.FLOAT_GRAPH)
    quantize(folder / cards.FLOAT_GRAPH, folder / cards.SERVED_GRAPH, training)
    if hp.torchscript:
        torch.jit.trace(counter, torch.zeros(2, size, size, 3, dtype=torch.uint8)).save(
            folder / cards.TORCHSCRIPT
        )

    fingerprint = manifest.fingerprint(records)
    card = cards.Card(
        name=f"{hp.architecture}-{size}-{fingerprint[:8]}-{datetime.now(UTC):%Y%m%d%H%M%S}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=CLASSES,
        input_size=[size, size],
        resize=photograph.resize_rule((size, size)),
        data={"fingerprint": fingerprint, "train": len(training), "validation": len(validation)},
        recipe=dataclasses.asdict(hp),
        metrics={},
        calibration={"temperature": temperature},
        decision=verdict.Decision(0, 1, hp.false_alarm_rate, hp.missed_error_rate).as_dict(),
        exports={},
        versions={name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
    )
    card.write(folder)  # what the graphs need to be run; the rest is measured by running them
    expected = torch.softmax(logits / temperature, 1).numpy()
    graphs = {
        file: run(Graph(folder, file, threads=torch.get_num_threads()), validation, hp.batch_size)
        for file in (cards.FLOAT_GRAPH, cards.SERVED_GRAPH)
    }
    served = graphs[cards.SERVED_GRAPH]
    counts = np.asarray(CLASSES)[labels.numpy()]
    bins = {row.name: row.group for row in records}
    card = dataclasses.replace(
        card,
        metrics={
            "validation": metrics.score(served, counts, CLASSES, [bins[n] for n in validation.names]),
            "best_epochs": best_epochs,
        },
        decision=verdict.fit(served, counts, CLASSES, hp.false_alarm_rate, hp.missed_error_rate).as_dict(),
        exports={file: agreement(probabilities, expected) for file, probabilities in graphs.items()},
    )
    card.write(folder)
    return card, served


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """One temperature that minimises the log loss (Guo et al. 2017, "On Calibration of Modern Neural
    Networks"). float ``[n, classes]``, int ``[n]`` -> positive float."""
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], lr=0.1, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits.detach() / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_temperature.exp().detach().clamp(0.05, 20))


def float_graph(counter: Counter, size: int, path: Path) -> None:
    """Export by the dynamo exporter: its graph quantises to a faster one than the tracing exporter's."""
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            counter,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=["photographs"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )
    program.save(path)


def quantize(source: Path, target: Path, training: Photographs) -> None:
    """Static int8 in QDQ form, calibrated on training photographs; the softmax stays float.

    Weights are quantised per channel. Only convolutions and matrix products, and what runs between
    them, are quantised.
    """
    prepared = target.with_suffix(".prepared")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    # Evenly over the photographs, which are in the order of their counts.
    chosen = (
        np.linspace(0, len(training) - 1, min(CALIBRATION_PHOTOGRAPHS, len(training))).round().astype(int)
    )
    quantization.quantize_static(
        str(prepared),
        str(target),
        _Calibration([training[int(i)][0].numpy() for i in chosen]),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=QUANTIZED.split(),
        # One outlier in a thousand photographs must not stretch the range of all the others.
        calibrate_method=quantization.CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": 99.999},
    )
    prepared.unlink()


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, photographs: list[np.ndarray]):
        self._batches = iter([{"photographs": p[None]} for p in photographs])

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def run(graph: Graph, photographs: Photographs, batch_size: int) -> np.ndarray:
    """float32 ``[n, classes]`` for a whole split, in its order."""
    return np.concatenate(
        [
            graph(photographs.__getitems__(list(range(i, min(i + batch_size, len(photographs)))))[0].numpy())
            for i in range(0, len(photographs), batch_size)
        ]
    )


def agreement(probabilities: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """How far an exported graph is from the trained network; both float ``[n, classes]``.

    ``same_count_when_clear`` leaves out the near ties, which any rounding may turn: photographs
    whose two likeliest counts are within ``NEAR_TIE`` of each other.
    """
    same = probabilities.argmax(1) == expected.argmax(1)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = same[first - second > NEAR_TIE]
    return {
        "same_count": float(same.mean()),
        "same_count_when_clear": float(clear.mean()) if len(clear) else 1.0,
        "mean_difference": float(abs(probabilities - expected).mean()),
        "largest_difference": float(abs(probabilities - expected).max()),
    }
