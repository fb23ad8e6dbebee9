"""From a trained network to the artifact of the contract: graphs, weights and the card."""

import copy
import dataclasses
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from containers.common import card as cards
from containers.common import manifest, metrics, photograph, verdict
from containers.common.graph import Graph
from containers.train import graphs, scoring
from containers.train.data import Photographs
from containers.train.hyperparameters import Hyperparameters
from containers.train.monitor import appearance, baseline
from containers.train.network import CLASSES, Counter

NEAR_TIE = 0.1  # difference of two probabilities
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "pillow", "numpy")


def write(
    folder: Path,
    counter: Counter,
    hp: Hyperparameters,
    photographs: dict[str, Photographs],
    records: list[manifest.Row],
    logits: torch.Tensor,
    kept_epochs: list[int],
) -> tuple[cards.Card, np.ndarray]:
    """Write every file of the artifact into ``folder``, but the report.

    logits: of the validation photographs; temperature and thresholds are fitted on them.
    kept_epochs: from 1, of the weights of each network, the one that is kept last.
    Returns: (the card, the served graph's probabilities of the validation photographs).
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = photographs["validation"].labels
    temperature = scoring.fit_temperature(logits, labels)
    counter = Counter(
        copy.deepcopy(counter.network).to("cpu", memory_format=torch.contiguous_format),
        temperature,
        hp.mirror,
    ).eval()
    validation, training = photographs["validation"], photographs["train"]
    size = hp.input_size
    shape = "x".join(map(str, dict.fromkeys(size)))  # one number where height and width are the same

    save_file(stored(counter.network.state_dict()), folder / cards.WEIGHTS)
    graphs.float_graph(counter, size, folder / cards.FLOAT_GRAPH)
    graphs.quantize(folder / cards.FLOAT_GRAPH, folder / cards.SERVED_GRAPH, training)
    if hp.torchscript:
        graphs.torchscript(counter, size, folder / cards.TORCHSCRIPT)

    fingerprint = manifest.fingerprint(records)
    card = cards.Card(
        name=f"{hp.architecture}-{shape}-{fingerprint[:8]}-{datetime.now(UTC):%Y%m%d%H%M%S}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=CLASSES,
        input_size=list(size),
        resize=photograph.resize_rule(size),
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
    exported = {
        file: run(Graph(folder, file, threads=torch.get_num_threads()), validation, hp.batch_size)
        for file in (cards.FLOAT_GRAPH, cards.SERVED_GRAPH)
    }
    served = exported[cards.SERVED_GRAPH]
    counts = np.asarray(CLASSES)[labels.numpy()]
    bins = {row.name: row.group for row in records}
    card = dataclasses.replace(
        card,
        metrics={
            "validation": metrics.score(served, counts, CLASSES, [bins[n] for n in validation.names]),
            "kept_epochs": kept_epochs,
        },
        decision=verdict.fit(served, counts, CLASSES, hp.false_alarm_rate, hp.missed_error_rate).as_dict(),
        exports={
            file: agreement(probabilities, expected)
            | {"accuracy": metrics.accuracy(probabilities.argmax(1), labels.numpy())}
            for file, probabilities in exported.items()
        },
        baseline=baseline.describe(
            seen(validation, records),
            served,
            CLASSES,
            torch.bincount(training.labels, minlength=len(CLASSES)).tolist(),
        ),
    )
    card.write(folder)
    return card, served


def stored(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A network's state as an artifact holds it: kernels and matrices, nearly all of it, in half precision,
    which halves the file. A network is rounded to it before it is scored and exported."""
    return {
        name: (values.half() if values.is_floating_point() and values.dim() > 1 else values).contiguous()
        for name, values in state.items()
    }


def seen(photographs: Photographs, records: list[manifest.Row]) -> list[appearance.Appearance]:
    """What the photographs of a split look like; of many, some."""
    sizes = {row.name: (row.width, row.height) for row in records}
    return [
        appearance.measure(photographs[i][0].numpy(), sizes[photographs.names[i]])
        for i in baseline.chosen(len(photographs)).tolist()
    ]


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
