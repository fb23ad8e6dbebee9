"""What the trainer's watch leaves behind: diagnostics.json, a trace, training.json and the report."""

import gzip
import json
import re
import shutil
import types

import numpy as np
import pytest
import torch
from torch import nn

from containers.common import card as cards
from containers.common import manifest
from containers.train import mistakes, report
from containers.train.measurements import PHASES
from containers.train.saliency import saliency
from tests import squares

JPEG = r"data:image/jpeg;base64,[^\"]+"
TIMED = {"slow_input", "idle_processor", "uneven_ranks"}  # what this machine does beside says nothing of ours


def diagnostics(base) -> dict:
    return json.loads((base / "output/data/diagnostics.json").read_text())


def fired(document: dict) -> dict[str, dict]:
    return {rule["name"]: rule["fired"] for rule in document["rules"] if rule["fired"]}


@pytest.fixture
def artifact(trained, tmp_path):
    """A copy to write reports into."""
    return shutil.copytree(trained[0] / "model", tmp_path / "model")


def test_a_healthy_training_is_measured_and_no_rule_speaks(trained):
    base, log = trained
    found = diagnostics(base)
    assert not set(fired(found)) - TIMED
    assert [epoch["number"] for epoch in found["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert tuple(found["seconds"]) == PHASES and all(value > 0 for value in found["seconds"].values())
    assert [sample["step"] for sample in found["samples"]] == [1, 2, 4, 8, 16, 32, 50, 64, 100]
    losses = re.findall(r" validation_loss=([0-9.]+)", log)
    assert [f"{epoch['validation_loss']:.4f}" for epoch in found["epochs"]] == losses
    assert all(sum(epoch["counted"]) == 103 for epoch in found["epochs"])


def test_a_window_of_steps_is_traced(trained):
    base, _ = trained
    trace = json.loads(gzip.decompress((base / "output/data/trace.json.gz").read_bytes()))
    steps = {e["name"] for e in trace["traceEvents"] if str(e.get("name")).startswith("ProfilerStep#")}
    assert len(steps) == 3
    operators = diagnostics(base)["operators"]
    assert any("conv" in operator["name"] for operator in operators)
    shares = [operator["share"] for operator in operators]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1


def test_a_network_that_does_not_learn_is_said_so_once(tmp_path):
    arguments = ("--epochs", "5", "--learning_rate", "1e-9", "--warmup_epochs", "0")
    log = squares.train(squares.base(tmp_path), *arguments).stdout
    assert set(fired(diagnostics(tmp_path))) - TIMED == {"loss_not_decreasing", "class_collapse"}
    for name in ("loss_not_decreasing", "class_collapse"):
        assert len(re.findall(f"^diagnostics: {name} at epoch .* try ", log, re.MULTILINE)) == 1
    page = (tmp_path / "model" / cards.REPORT).read_text()
    assert fired(diagnostics(tmp_path))["loss_not_decreasing"]["saw"] in page


def test_a_training_that_diverges_leaves_its_diagnostics(tmp_path):
    arguments = ("--learning_rate", "1e12", "--precision", "float32", "--epochs", "30")
    run = squares.train(squares.base(tmp_path), *arguments, check=False)
    assert run.returncode == 1
    assert "was not finite at epoch" in fired(diagnostics(tmp_path))["not_a_number"]["saw"]
    assert run.stdout.count("diagnostics: not_a_number") == 1


def test_the_report_is_whole_and_needs_nothing_else(trained):
    base, _ = trained
    page = (base / "model" / cards.REPORT).read_text()
    for heading in ("What the rules saw", "Learning curves", "Where the time goes", "Worst mistakes"):
        assert f"<h2>{heading}</h2>" in page
    assert "<script" not in page and not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 6
    for rule in diagnostics(base)["rules"]:
        assert rule["watches"] in page
    wrong = len(names(base / "model"))
    assert wrong and page.count("data:image/jpeg") == 2 * min(wrong, mistakes.SHOWN)


def names(folder) -> list[str]:
    """Photographs that the served graph counted wrongly."""
    rows = json.loads((folder / cards.TRAINING).read_text())["validation"]["rows"]
    return [name for name, _, count, *probabilities in rows if np.argmax(probabilities) + 1 != count]


def test_it_is_made_again_without_pictures_and_with_them(trained, artifact, capsys):
    page = artifact / cards.REPORT
    assert report.main(["--model", str(artifact)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    plain = page.read_text()
    assert "data:image/jpeg" not in plain and any(name in plain for name in names(artifact))
    photographs = trained[0] / "input/data/validation"
    assert report.main(["--model", str(artifact), "--photographs", str(photographs)]) == 0
    first = (trained[0] / "model" / cards.REPORT).read_text()
    assert re.sub(JPEG, "", page.read_text()) == re.sub(JPEG, "", first)
    assert len(re.findall(JPEG, page.read_text())) == len(re.findall(JPEG, first)) > 0


@pytest.mark.parametrize(
    ("lost", "photographs", "said"),
    [
        (cards.FILE, None, "no model artifact in"),
        (cards.TRAINING, None, "training.json is missing"),
        ("", "output", "no photographs below"),
    ],
)
def test_what_cannot_be_reported_is_one_line(trained, artifact, capsys, lost, photographs, said):
    if lost:
        (artifact / lost).unlink()
    more = ["--photographs", str(trained[0] / photographs)] if photographs else []
    assert report.main(["--model", str(artifact), *more]) == 1
    assert re.fullmatch(f"error: .*{said}.*\n", capsys.readouterr().err)


def test_a_damaged_record_is_one_line(artifact, capsys):
    (artifact / cards.TRAINING).write_text("{}")
    assert report.main(["--model", str(artifact)]) == 1
    assert re.fullmatch("error: .*training.json is damaged: .*\n", capsys.readouterr().err)


def test_pictures_can_be_left_out_of_a_training(tmp_path):
    squares.train(squares.base(tmp_path), "--epochs", "1", "--report_pictures", "false")
    assert "data:image/jpeg" not in (tmp_path / "model" / cards.REPORT).read_text()


def test_the_record_of_1200_photographs_is_small(trained, artifact):
    photographs = [f"{number:05}" for number in range(1200)]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 1200)
    validation = types.SimpleNamespace(names=photographs, labels=torch.arange(1200) % 5)
    records = [manifest.Row(name, 1, "validation", name, 1, 1, "") for name in photographs]
    # As many epochs and samples as a long training has.
    long = diagnostics(trained[0])
    long["epochs"], long["samples"] = long["epochs"] * 20, long["samples"] * 24
    report.keep(artifact, long, validation, records, probabilities)
    assert (artifact / cards.TRAINING).stat().st_size < 300_000
    report.write(artifact)
    assert f"{1200:,} validation photographs" in (artifact / cards.REPORT).read_text()


def test_the_worst_mistakes_come_first():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9], [0.5, 0.1, 0.4]])
    found = mistakes.worst(["a", "b", "c", "d"], np.array([1, 1, 2, 3]), probabilities, [1, 2, 3])
    assert [(m.name, m.true, m.counted) for m in found] == [("c", 2, 3), ("b", 1, 2), ("d", 3, 1)]
    assert found[0].confidence == 0.9 and found[0].true_probability == 0.05


class LeftHalf(nn.Module):
    """Answers by the left half of a photograph."""

    def logits(self, photographs: torch.Tensor) -> torch.Tensor:
        left = photographs[:, :, : photographs.shape[2] // 2].mean((1, 2, 3)) / 255
        return torch.stack([left**2, -left], 1)


def test_saliency_lies_where_the_answer_comes_from():
    photographs = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    found = saliency(LeftHalf(), photographs, torch.tensor([0, 1]))
    assert found.shape == (2, 64, 96) and found.min() == 0 and found.max() == 1
    assert found[:, :, :40].min() > 0.5 and found[:, :, 56:].max() == 0
