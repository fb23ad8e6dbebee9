"""The graphs of an artifact: float ONNX, int8 ONNX and TorchScript.

``python -m containers.train.graphs --model models --to folder`` writes the float ones of an artifact that
came without them.
"""

import argparse
import contextlib
import dataclasses
import logging
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization as quantization
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process
from safetensors import SafetensorError
from safetensors.torch import load_file

from containers.common import card as cards
from containers.common.errors import BinTallyError, ModelError
from containers.train import network
from containers.train.data import Photographs
from containers.train.hyperparameters import Hyperparameters
from containers.train.network import Counter

CALIBRATION_PHOTOGRAPHS = 256
CALIBRATED_AT_ONCE = 16  # of these, so that not all of what a network computes of them is in memory at once
OPSET = 18
QUANTIZED = "Conv Gemm MatMul Add Mul Clip Relu Concat MaxPool AveragePool"
STEM = 6  # first convolutions that stay float


def load(folder: Path) -> Counter:
    """The counter of an unpacked artifact, from its weights and card; raises ModelError."""
    card = cards.read(folder)
    try:
        # Its own weights follow, so that none have to be had from elsewhere.
        recipe = dataclasses.replace(Hyperparameters(**card.recipe), pretrained=False)
        weights = network.create(recipe)
        weights.load_state_dict(load_file(folder / cards.WEIGHTS))
    except (OSError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} cannot be used: {error}") from None
    return Counter(weights, card.calibration["temperature"], recipe.mirror).eval()


def float_graph(counter: Counter, input_size: Sequence[int], path: Path) -> None:
    """Export by the dynamo exporter: its graph quantises to a faster one than the tracing exporter's.

    input_size: (height, width) in pixels.
    """
    example = torch.zeros(2, *input_size, 3, dtype=torch.uint8)
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


def torchscript(counter: Counter, input_size: Sequence[int], path: Path) -> None:
    """A trace, which Elastic Inference and other accelerators take."""
    torch.jit.trace(counter, torch.zeros(2, *input_size, 3, dtype=torch.uint8)).save(path)


def quantize(source: Path, target: Path, training: Photographs) -> None:
    """Static int8 in QDQ form, calibrated on training photographs; the softmax stays float.

    Weights are quantised per channel. Only convolutions and matrix products, and what runs between
    them, are quantised, and neither the stem nor the classifier: see ``_ends``.
    """
    prepared = target.with_suffix(".prepared")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    # Evenly over the photographs, which are in the order of their counts.
    chosen = (
        np.linspace(0, len(training) - 1, min(CALIBRATION_PHOTOGRAPHS, len(training))).round().astype(int)
    )
    with contextlib.redirect_stdout(None):  # it prints a line for every few photographs
        quantization.quantize_static(
            str(prepared),
            str(target),
            _Calibration([training[int(i)][0].numpy() for i in chosen]),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=QUANTIZED.split(),
            nodes_to_exclude=_ends(onnx.load(prepared).graph),
            # One outlier in a thousand photographs must not stretch the range of all the others.
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={
                "CalibPercentile": 99.999,
                # Which must divide their number.
                "CalibStridedMinMax": math.gcd(len(chosen), CALIBRATED_AT_ONCE),
            },
        )
    prepared.unlink()


def _ends(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that cost most when they are quantised, and gain little.

    With the first convolutions of efficientnet-lite0 in float, probabilities move half as far from the float
    graph's as with two of them, and log loss not at all; the classifier is a thousandth of the work.
    """
    names, convolutions = [], 0
    for node in graph.node:
        convolutions += node.op_type == "Conv"
        if convolutions > STEM:
            break
        names.append(node.name)
    else:
        names = []  # so few convolutions are no stem
    products = [node.name for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    return names + products[-1:]


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, photographs: list[np.ndarray]):
        self._photographs = photographs
        self.set_range(0, len(photographs))

    def __len__(self) -> int:
        return len(self._photographs)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._batches = iter([{"photographs": p[None]} for p in self._photographs[start_index:end_index]])

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m containers.train.graphs", description="Writes the float graphs of an artifact"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an unpacked artifact")
    parser.add_argument("--to", type=Path, required=True, help="folder for the graphs")
    flags = parser.parse_args(arguments)
    try:
        counter, size = load(flags.model), cards.read(flags.model).input_size
        flags.to.mkdir(parents=True, exist_ok=True)
        for write, name in ((float_graph, cards.FLOAT_GRAPH), (torchscript, cards.TORCHSCRIPT)):
            write(counter, size, flags.to / name)
            print(flags.to / name)
    except (BinTallyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
