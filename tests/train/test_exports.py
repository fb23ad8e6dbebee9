"""Every exported graph agrees with the trained network, for networks of different kinds."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from containers.common import card as cards
from containers.common.graph import Graph
from containers.common.verdict import fit, judge
from containers.train import data, graphs, hyperparameters, network, verify
from tests import ABID, ROOT, squares

SHIPPED = ROOT / "models"

# Stated tolerances: float graphs are the same network; int8 may turn a near tie, and no more.
FLOAT_DIFFERENCE = 1e-3
SUMS = 1e-4  # in another order; a graph of weights that were not rounded as they are kept is further away
INT8_SAME_WHEN_CLEAR, INT8_MEAN_DIFFERENCE = 0.97, 0.025


def check(card: cards.Card) -> None:
    whole, served = card.exports[cards.FLOAT_GRAPH], card.exports[cards.SERVED_GRAPH]
    assert whole["same_count"] == 1 and whole["largest_difference"] < FLOAT_DIFFERENCE
    assert served["same_count_when_clear"] >= INT8_SAME_WHEN_CLEAR
    assert served["mean_difference"] < INT8_MEAN_DIFFERENCE


def test_every_graph_gives_the_trained_networks_probabilities(trained):
    """The weights are read back and run by torch, so that nothing is taken from the card."""
    base, _ = trained
    card = cards.read(base / "model")
    hp = hyperparameters.Hyperparameters(**card.recipe)
    weights = network.create(hp)
    kept = load_file(base / "model" / cards.WEIGHTS)
    assert {values.dtype for values in kept.values() if values.dim() > 1} == {torch.float16}
    weights.load_state_dict(kept)
    counter = network.Counter(weights, card.calibration["temperature"]).eval()
    photographs = data.Photographs(base / "input/data/validation", hp.input_size, hp.cache_megabytes)
    batch, _ = photographs.__getitems__(list(range(len(photographs))))
    with torch.no_grad():
        expected = counter(batch).numpy()
        traced = torch.jit.load(base / "model" / cards.TORCHSCRIPT)(batch).numpy()
    assert abs(traced - expected).max() < SUMS
    assert abs(Graph(base / "model", cards.FLOAT_GRAPH)(batch.numpy()) - expected).max() < SUMS
    served = Graph(base / "model")(batch.numpy())
    assert abs(served - expected).mean() < INT8_MEAN_DIFFERENCE
    assert served.sum(1) == pytest.approx(np.ones(len(batch)), abs=1e-5)
    check(card)


def test_the_served_graph_is_int8_and_takes_any_batch(trained):
    base, _ = trained
    sizes = {file: (base / "model" / file).stat().st_size for file in (cards.FLOAT_GRAPH, cards.SERVED_GRAPH)}
    assert sizes[cards.SERVED_GRAPH] < sizes[cards.FLOAT_GRAPH] / 3
    graph = Graph(base / "model")
    one = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert graph(one.repeat(5, 0))[4] == pytest.approx(graph(one)[0], abs=1e-5)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"])
def test_networks_of_other_kinds_train_and_export_wider_than_high(tmp_path, architecture):
    squares.train(
        squares.base(tmp_path), "--epochs", "1", "--architecture", architecture,
        "--image_size", "64", "--image_width", "96",
    )  # fmt: skip
    card = cards.read(tmp_path / "model")
    assert card.input_size == [64, 96] and f"{architecture}-64x96-" in card.name
    assert card.exports[cards.FLOAT_GRAPH]["largest_difference"] < FLOAT_DIFFERENCE
    assert Graph(tmp_path / "model")(np.zeros((2, 64, 96, 3), np.uint8)).shape == (2, 5)


@pytest.mark.photographs
@pytest.mark.skipif(not ABID.exists(), reason="the real photographs are not here")
@pytest.mark.parametrize("architecture", ["resnet10t", "tf_efficientnet_lite0"])
def test_exports_agree_on_real_photographs(tmp_path, architecture):
    """Fine-tuned or trained for a few steps only: what is checked is the export, not the counting."""
    squares.base(tmp_path, train=0, validation=0)
    listed = json.loads((ABID / "file_list.json").read_text())
    rows = []
    for count, names in listed.items():
        for index, name in enumerate(n.split("/")[-1].removesuffix(".json") for n in sorted(names)[:120]):
            split = "validation" if index % 3 == 0 else "train"
            place = tmp_path / "input/data" / split / count / f"{name}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ABID / "bin-images" / f"{name}.jpg", place)
            rows.append((name, int(count), split))
    squares.write_manifest(tmp_path / "input/data", rows)
    pretrained = str(architecture != "resnet10t")
    squares.train(
        tmp_path, "--architecture", architecture, "--pretrained", pretrained, "--image_size", "96",
        "--epochs", "3", "--learning_rate", "0.001",
    )  # fmt: skip
    check(cards.read(tmp_path / "model"))


def test_an_artifact_that_came_without_its_float_graphs_gets_the_same_ones(trained, tmp_path):
    model = trained[0] / "model"
    assert graphs.main(["--model", str(model), "--to", str(tmp_path)]) == 0
    shutil.copy(model / cards.FILE, tmp_path)
    batch = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    expected = Graph(model, cards.FLOAT_GRAPH)(batch)
    assert abs(Graph(tmp_path, cards.FLOAT_GRAPH)(batch) - expected).max() < FLOAT_DIFFERENCE
    with torch.no_grad():
        traced = torch.jit.load(tmp_path / cards.TORCHSCRIPT)(torch.from_numpy(batch)).numpy()
    assert abs(traced - expected).max() < FLOAT_DIFFERENCE


@pytest.mark.photographs
@pytest.mark.skipif(not ABID.exists(), reason="the real photographs are not here")
def test_the_model_that_ships_still_says_what_its_report_says():
    """Its graph and its weights, of the validation photographs whose probabilities it keeps."""
    served, counter = Graph(SHIPPED), graphs.load(SHIPPED)
    kept = json.loads((SHIPPED / cards.TRAINING).read_text())["validation"]
    rows = kept["rows"][::24]
    batch = np.stack([served.prepare((ABID / "bin-images" / f"{row[0]}.jpg").read_bytes()) for row in rows])
    stated = np.array([row[3:] for row in rows])
    assert abs(served(batch) - stated).max() < verify.TOLERANCE
    with torch.no_grad():
        assert abs(counter(torch.from_numpy(batch)).numpy() - stated).mean() < INT8_MEAN_DIFFERENCE


def test_thresholds_keep_their_promises():
    draw = np.random.default_rng(0)
    counts = draw.integers(1, 6, 4000)
    logits = draw.normal(size=(4000, 5)) + 2 * np.eye(5)[counts - 1]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = [1, 2, 3, 4, 5]
    decision = fit(probabilities, counts, classes, false_alarm_rate=0.05, missed_error_rate=0.05)

    def share(verdict: str, step: int) -> float:
        given = [
            judge(dict(zip(classes, row, strict=True)), int(n) + step, decision)[0]
            for row, n in zip(probabilities, counts, strict=True)
            if int(n) + step in classes
        ]
        return given.count(verdict) / len(given)

    assert 0.03 < share("mismatch", 0) <= 0.05  # right records called wrong
    wrong = (share("match", 1) + share("match", -1)) / 2
    assert 0.03 < wrong <= 0.055  # wrong records believed
    assert share("mismatch", 1) > 0.3


def test_thresholds_of_a_perfect_network_leave_nothing_unsure():
    counts = np.array([1, 2, 3, 4, 5] * 20)
    probabilities = np.eye(5)[counts - 1] * 0.96 + 0.008
    decision = fit(probabilities, counts, [1, 2, 3, 4, 5])
    row = dict(zip([1, 2, 3, 4, 5], probabilities[0], strict=True))
    assert judge(row, 1, decision)[0] == "match" and judge(row, 2, decision)[0] == "mismatch"
    assert judge(row, 0, decision) == ("unsure", "out_of_range") and judge(row, None, decision) == (
        None,
        None,
    )
