"""Scores against values worked out by hand, and the properties that make them honest."""

import csv
import json
import re
import shutil
import tarfile

import numpy as np
import pytest

from containers.common import archive, aws, manifest, metrics, paths, verdict
from containers.common import card as cards
from containers.common.errors import DataError
from containers.common.metrics import Resamples
from containers.train import baselines, calibration, detection, evaluate, evaluation_page
from containers.train.detection import Scored
from containers.train.page import Fact, Picture, Section, Table, render
from tests import squares
from tests.fake_aws import FakeAws, endpoint

CLASSES = [1, 2, 3, 4, 5]


def scored(photographs: int, seed: int, sharpness: float = 2, bins: list[str] | None = None) -> Scored:
    """A network that is right more often than not, on photographs each of its own bin."""
    draw = np.random.default_rng(seed)
    true = draw.integers(1, 6, photographs)
    logits = draw.normal(size=(photographs, 5)) + sharpness * np.eye(5)[true - 1]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Scored(probabilities, true, CLASSES, bins or [f"{seed}-{i}" for i in range(photographs)])


def test_each_score_has_its_decoder():
    probabilities = np.array(
        [[0.5, 0.2, 0.1, 0.1, 0.1], [0.05, 0.05, 0.1, 0.3, 0.5], [0, 0.3, 0.25, 0.45, 0]]
    )
    scores = metrics.score(probabilities, np.array([1, 4, 2]), CLASSES, ["a", "b", "c"])
    value = {name: score["value"] for name, score in scores.items()}
    assert value["accuracy"] == pytest.approx(1 / 3)  # 1, 5, 4 against 1, 4, 2
    assert value["within_one"] == pytest.approx(2 / 3)
    assert value["mae"] == pytest.approx((0 + 0 + 1) / 3)  # medians 1, 4, 3
    assert value["rmse"] == pytest.approx(np.sqrt((1.1**2 + 0.15**2 + 1.15**2) / 3))  # means 2.1, 4.15, 3.15
    assert value["log_loss"] == pytest.approx(-np.log([0.5, 0.3, 0.3]).mean())


def test_intervals_draw_bins_and_not_photographs():
    """Twins that are always right or wrong together carry half as much evidence."""
    values = np.repeat(np.arange(200) % 2, 2).astype(float)
    apart = Resamples([str(i) for i in range(400)]).mean(values)
    together = Resamples([str(i // 2) for i in range(400)]).mean(values)
    widths = [i["high"] - i["low"] for i in (apart, together)]
    assert apart["value"] == together["value"] == 0.5
    assert widths[1] / widths[0] == pytest.approx(2**0.5, rel=0.15)


def test_a_bin_photographed_often_is_one_bin():
    """Fifty photographs of one bin: whether it is drawn decides nearly everything."""
    values = np.array([1.0] * 50 + [0.0] * 10)
    score = Resamples(["often"] * 50 + [str(i) for i in range(10)]).mean(values)
    assert score["value"] == pytest.approx(50 / 60) and score["low"] == 0 and score["high"] > 0.9


def test_a_share_of_nothing_is_none():
    assert Resamples(["a", "b"]).ratio(np.zeros(2), np.zeros(2)) is None
    rare = Resamples([str(i) for i in range(50)]).ratio(np.eye(50)[0], np.eye(50)[0])
    assert rare == {"value": 1, "low": 1, "high": 1}  # resamples without the photograph say nothing


def calibrated(photographs: int, too_sure: float, seed: int) -> tuple[np.ndarray, np.ndarray, Resamples]:
    draw = np.random.default_rng(seed)
    confidence = 0.3 + 0.6 * draw.random(photographs)
    correct = draw.random(photographs) < confidence - too_sure
    return confidence, correct, Resamples([str(i) for i in range(photographs)])


def test_calibration_error_is_debiased():
    """For a perfect network, at 0, the folded normal leaves 0.585 of the plug-in; elsewhere all is right."""
    errors = [calibration.expected_error(*calibrated(500, 0, seed)) for seed in range(12)]
    plug_in, debiased = (np.mean([e[key] for e in errors]) for key in ("plug_in", "value"))
    assert plug_in > 0.035 and debiased < 0.7 * plug_in
    assert sum(e["low"] == 0 for e in errors) >= 10
    errors = [calibration.expected_error(*calibrated(500, 0.15, seed)) for seed in range(12)]
    assert np.mean([e["value"] for e in errors]) == pytest.approx(0.15, abs=0.015)
    assert sum(e["low"] <= 0.15 <= e["high"] for e in errors) >= 10


def test_the_bias_is_what_redrawing_the_accuracies_gives():
    """Kumar, Liang & Ma's own procedure, by Monte Carlo."""
    confidence, correct, resamples = calibrated(300, 0.05, 1)
    bins = [b for b in calibration.reliability(confidence, correct, resamples) if b["photographs"]]
    size, sure = (np.array([b[key] for b in bins]) for key in ("photographs", "confidence"))
    accuracy = np.array([b["accuracy"]["value"] for b in bins])
    deviation = np.sqrt(accuracy * (1 - accuracy) / size)
    redrawn = np.random.default_rng(0).normal(accuracy, deviation, (100_000, len(bins)))
    error = calibration.expected_error(confidence, correct, resamples)
    plug_in = abs(accuracy - sure) @ size / 300
    assert error["plug_in"] == pytest.approx(plug_in)
    assert error["value"] == pytest.approx(2 * plug_in - (abs(redrawn - sure) @ size / 300).mean(), abs=2e-4)


def test_reliability_and_risk_are_counted():
    confidence = np.array([0.25, 0.28, 0.95, 1.0])
    correct = np.array([True, False, True, True])
    resamples = Resamples(list("abcd"))
    bins = calibration.reliability(confidence, correct, resamples)
    assert [b["photographs"] for b in bins] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert bins[2]["confidence"] == pytest.approx(0.265) and bins[2]["accuracy"]["value"] == 0.5
    assert bins[0]["confidence"] is None and bins[0]["accuracy"] is None
    points = calibration.risk_coverage(confidence, correct, resamples)
    risk = {p["coverage"]: p["risk"]["value"] for p in points}
    assert risk == {0.25: 0, 0.5: 0, 0.75: pytest.approx(1 / 3), 1: 0.25}


def test_what_is_caught_is_every_wrong_record_weighed():
    """Against the verdict itself, asked of each photograph with each record it could have."""
    validation, test = scored(300, 1), scored(150, 2)
    deployed = verdict.Decision(0.1, 0.5, 0.05, 0.05)
    found = detection.detect(validation, test, deployed, wrong=0.2)["deployed"]
    tally = dict.fromkeys(("false", "caught", "unsure", "missed"), 0.0)
    sizes = {size: [0.0, 0.0] for size in detection.SIZES}
    for probabilities, true in zip(test.probabilities, test.true, strict=True):
        row = dict(zip(CLASSES, probabilities, strict=True))
        weights = {n: 0.5 ** abs(n - true) for n in CLASSES if n != true}
        right, _ = verdict.judge(row, int(true), deployed)
        tally["false"] += right == "mismatch"
        tally["unsure"] += 0.8 * (right == "unsure")
        for recorded, weight in weights.items():
            word, _ = verdict.judge(row, recorded, deployed)
            weight /= sum(weights.values())
            tally["caught"] += weight * (word == "mismatch")
            tally["missed"] += weight * (word == "match")
            tally["unsure"] += 0.2 * weight * (word == "unsure")
            size = sizes[{1: "1", 2: "2"}.get(abs(recorded - int(true)), "3+")]
            size[0], size[1] = size[0] + weight * (word == "mismatch"), size[1] + weight
    share = {name: total / 150 for name, total in tally.items()}
    value = {
        name: score["value"] for name, score in found.items() if name not in ("decision", "caught_by_size")
    }
    assert value["false_alarms"] == pytest.approx(share["false"])
    assert value["caught"] == pytest.approx(share["caught"])
    assert value["missed"] == pytest.approx(share["missed"])
    assert value["unsure"] == pytest.approx(share["unsure"])
    doubted = 0.2 * share["caught"] + 0.8 * share["false"]
    assert value["doubted"] == pytest.approx(doubted)
    assert value["precision"] == pytest.approx(0.2 * share["caught"] / doubted)
    for size, (caught, weight) in sizes.items():
        assert found["caught_by_size"][size]["value"] == pytest.approx(caught / weight)


def test_thresholds_come_from_validation_only():
    deployed = verdict.Decision(0.1, 0.5, 0.05, 0.05)

    def decisions(validation: Scored, test: Scored) -> list[dict]:
        return [level["decision"] for level in detection.detect(validation, test, deployed)["levels"]]

    validation = scored(200, 1)
    first = decisions(validation, scored(100, 2))
    assert first == decisions(validation, scored(100, 3, sharpness=0.5))
    assert first != decisions(scored(200, 4, sharpness=0.5), scored(100, 2))
    assert [d["false_alarm_rate"] for d in first] == [0.01, 0.05, 0.10]


def test_more_false_alarms_catch_more_and_larger_errors_are_caught_more():
    found = detection.detect(scored(800, 1), scored(800, 2), verdict.Decision(0.1, 0.5, 0.05, 0.05))
    for level, asked in zip(found["levels"], detection.FALSE_ALARMS, strict=True):
        assert level["false_alarms"]["value"] == pytest.approx(asked, abs=0.03)
    caught = [level["caught"]["value"] for level in found["levels"]]
    assert caught == sorted(caught) and caught[0] > 0.01
    assert found["curve"]["caught"]["1"] == sorted(found["curve"]["caught"]["1"])


def rows(pairs: int) -> list[manifest.Row]:
    """Bins of two photographs with consecutive names and one count; the next bin is far away."""
    draw = np.random.default_rng(0)
    sides = np.repeat(["train", "validation", "test"], [pairs * 7 // 10, pairs * 2 // 10, pairs // 10])
    return [
        manifest.Row(f"{10 * pair + step:05}", count, str(side), f"{10 * pair:05}", 9, 9, "")
        for pair, (side, count) in enumerate(
            zip(sides, draw.integers(1, 6, len(sides)).tolist(), strict=True)
        )
        for step in (0, 1)
    ]


def test_names_give_nothing_away_by_bin_and_everything_at_random():
    records = rows(400)
    tested = [row.name for row in records if row.split == "test"]
    found = baselines.baselines(records, tested, CLASSES)
    clean, leaky = found["no_pixels"], found["no_pixels_random_split"]
    assert clean["informed"] == 0
    assert clean["metrics"]["accuracy"] == found["majority_class"]["metrics"]["accuracy"]
    assert leaky["leaky"] and leaky["informed"] == pytest.approx(0.7, abs=0.05)
    assert leaky["metrics"]["accuracy"]["low"] > 0.6  # 70 % have a twin to copy from


def test_extras_teach_no_baseline_and_are_not_tested():
    """Though each has a name beside those of a tested or trained bin, and a count that says which."""
    records = rows(400)
    extras = [
        manifest.Row(f"{int(row.name) + 2:05}", row.count, "train", f"x{row.name}", 9, 9, "", manifest.EXTRA)
        for row in records
    ]
    tested = [row.name for row in records if row.split == "test"]
    alone = baselines.baselines(records, tested, CLASSES)
    assert baselines.baselines(records + extras, tested, CLASSES) == alone
    with pytest.raises(DataError, match="extras are for training only"):
        baselines.baselines(records + extras, [*tested, extras[0].name], CLASSES)


def test_the_commonest_count_is_that_of_validation():
    """Photographs that were added for training only do not weaken what the model is compared with."""
    added = [manifest.Row(f"x{i}", 5, "train", f"x{i}", 9, 9, "") for i in range(500)]
    records = [row for row in rows(400) if row.count != 5 or row.split == "train"] + added
    tested = [row.name for row in records if row.split == "test"]
    majority = baselines.baselines(records, tested, CLASSES)["majority_class"]
    assert majority["count"] != 5 and majority["accuracy"] > 0.1


@pytest.fixture
def job(trained, tmp_path, monkeypatch):
    """A processing job's inputs: the trained artifact, and 43 photographs that it has not seen."""
    base, _ = trained
    inputs = tmp_path / "processing"
    seen = manifest.read(base / "input/data/manifest" / manifest.FILE)
    squares.write(inputs, {"test": 43}, seed=10_000)
    shutil.copytree(base / "input/data/validation", inputs / "validation")
    manifest.write(
        inputs / "manifest" / manifest.FILE, [*seen, *manifest.read(inputs / "manifest" / manifest.FILE)]
    )
    (inputs / "model").mkdir()
    with tarfile.open(inputs / "model/model.tar.gz", "w:gz") as archive:
        for name in (cards.FILE, cards.SERVED_GRAPH):
            archive.add(base / "model" / name, name)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return inputs


def test_an_evaluation_from_end_to_end(job):
    assert evaluate.main([]) == 0
    document = json.loads((job / "evaluation/evaluation.json").read_text())
    with (job / "evaluation/predictions.csv").open() as stream:
        predictions = list(csv.DictReader(stream))
    exact = [row["count"] == row["counted"] for row in predictions]
    accuracy = document["metrics"]["accuracy"]
    assert len(predictions) == document["data"]["photographs"] == document["data"]["bins"] == 43
    assert accuracy["value"] == pytest.approx(np.mean(exact)) and accuracy["low"] < accuracy["high"]
    assert accuracy["value"] > document["baselines"]["majority_class"]["accuracy"]
    assert sum(map(sum, document["confusion"].values())) == 43
    bins = Resamples([row["name"] for row in predictions])  # each a bin of its own
    for true, cells in document["confusion_shares"].items():
        held = np.array([row["count"] == true for row in predictions])
        for counted, cell in zip(document["confusion"], cells, strict=True):
            so_counted = np.array([row["counted"] == counted for row in predictions])
            assert cell == bins.ratio((held & so_counted).astype(float), held)
    assert {level["decision"]["false_alarm_rate"] for level in document["detection"]["levels"]} == {
        0.01,
        0.05,
        0.1,
    }
    assert not document["trained_on_this_data"]
    page = (job / "evaluation/evaluation.html").read_text()
    assert document["model"] in page and f"{100 * accuracy['value']:.1f}" in page and "Careful" in page


def test_the_page_gives_the_range_of_each_share_of_the_confusion_matrix(job):
    assert evaluate.main([]) == 0
    document = json.loads((job / "evaluation/evaluation.json").read_text())
    document["confusion"]["1"] = [3, 1, 0, 0, 0]
    nothing = {"value": 0, "low": 0, "high": 0}
    document["confusion_shares"]["1"] = [
        {"value": 0.75, "low": 0.312, "high": 0.988},
        {"value": 0.25, "low": 0.012, "high": 0.688},
        *[nothing] * 3,
    ]
    page = evaluation_page.page(document)
    assert ">31–99<" in page and ">1–69<" in page and ">0–0<" not in page


def test_a_test_side_may_lack_a_count_and_be_tiny(job):
    for count in (1, 2, 4):
        shutil.rmtree(job / "test" / str(count))
    for path in sorted((job / "test").glob("*/*"))[2:]:
        path.unlink()
    assert evaluate.main(["--wrong-records", "0.2"]) == 0
    document = json.loads((job / "evaluation/evaluation.json").read_text())
    assert set(document["by_count"]) == {"3"} and document["detection"]["wrong_records"] == 0.2
    assert document["confusion_shares"]["1"] == [None] * 5 and None not in document["confusion_shares"]["3"]
    page = (job / "evaluation/evaluation.html").read_text()
    assert "No tested bin holds 1 or 2 or 4 or 5" in page and "2 bins are too few" in page


@pytest.mark.parametrize(
    ("spoil", "arguments", "said"),
    [
        (lambda job: shutil.rmtree(job / "validation"), [], "no photographs below"),
        (
            lambda job: shutil.copytree(job / "validation/1", job / "test/1", dirs_exist_ok=True),
            [],
            "are tested on",
        ),
        (
            lambda job: shutil.copy(next(job.glob("test/1/*")), job / "test/1/stranger.jpg"),
            [],
            "does not name 1",
        ),
        (lambda job: (job / "test/5").rename(job / "test/7"), [], "counts 1 to 5 items only"),
        (lambda job: (job / "test/1/test00000.jpg").write_text("no photograph"), [], "test00000.jpg: "),
        (lambda job: None, ["--wrong-records", "1.5"], "between 0 and 1"),
    ],
)
def test_plain_mistakes_are_one_line_and_a_failure_file(job, capsys, spoil, arguments, said):
    spoil(job)
    assert evaluate.main(arguments) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line
    assert paths.failure().read_text() == line.removeprefix("error: ")
    assert not (job / "evaluation").exists()


@pytest.fixture
def champion(job, trained, tmp_path, monkeypatch):
    """An endpoint that serves the same artifact as the job scores; what changes its card is returned."""
    folder = tmp_path / "champion"
    folder.mkdir()
    for name in (cards.FILE, cards.SERVED_GRAPH):
        shutil.copy(trained[0] / "model" / name, folder / name)
    fake = FakeAws(endpoint("live"))
    fake.files["s3://b/model-of-live.tar.gz"] = tmp_path / "champion.tar.gz"
    monkeypatch.setattr(aws, "client", fake)

    def change(**changed) -> None:
        card = json.loads((folder / cards.FILE).read_text()) | changed
        (folder / cards.FILE).write_text(json.dumps(card))
        archive.pack(folder, tmp_path / "champion.tar.gz")

    change(name="the-champion")
    return change


def test_a_challenger_is_compared_with_the_champion_of_the_endpoint(job, champion, capsys):
    assert evaluate.main(["--challenge", "bins", "--level", "0.95"]) == 0
    document = json.loads((job / "evaluation/evaluation.json").read_text())
    assert document["champion"] == {
        "model": "the-champion",
        "endpoint": "bins",
        "configuration": "live",
        "artifact": "s3://b/model-of-live.tar.gz",
        "trained_on_this_data": False,
    }
    found, decision = document["comparison"], document["decision"]
    assert found["against"] == "the-champion" and found["level"] == 0.95
    assert (
        found["accuracies"]["challenger"] == found["accuracies"]["other"] == document["metrics"]["accuracy"]
    )
    assert decision["promote"] is False and decision["reason"] in capsys.readouterr().out
    page = (job / "evaluation/evaluation.html").read_text()
    assert "Does it replace what is deployed?" in page and decision["reason"] in page
    assert page == evaluation_page.page(document) and page.count("<svg") == 6


def test_a_champion_that_may_have_seen_the_test_bins_is_named(job, champion, capsys):
    careful = "careful: the-champion was trained on another data set"
    assert evaluate.main(["--challenge", "bins"]) == 0 and careful in capsys.readouterr().out
    champion(data={"fingerprint": manifest.fingerprint(manifest.read(job / "manifest/manifest.csv"))})
    assert evaluate.main(["--challenge", "bins"]) == 0 and careful not in capsys.readouterr().out


def test_without_an_endpoint_a_challenger_must_beat_the_majority_class(job, monkeypatch):
    monkeypatch.setattr(aws, "client", FakeAws(None))
    assert evaluate.main(["--challenge", "bins"]) == 0
    document = json.loads((job / "evaluation/evaluation.json").read_text())
    majority = document["baselines"]["majority_class"]
    assert document["champion"] is None
    assert document["comparison"]["against"] == f"always answering {majority['count']}"
    assert document["comparison"]["accuracies"]["other"]["value"] == pytest.approx(majority["accuracy"])
    assert document["decision"]["promote"] is True


@pytest.mark.parametrize(
    ("spoil", "arguments", "said"),
    [
        (lambda change: change(classes=[0, 1, 2, 3, 4]), [], "the challenger other classes"),
        (lambda change: change(nonsense=1), [], "which endpoint bins serves, cannot be scored"),
        (lambda change: None, ["--level", "0.3"], "level is 0.3"),
    ],
)
def test_a_champion_that_cannot_be_scored_promotes_nothing(job, champion, capsys, spoil, arguments, said):
    spoil(champion)
    assert evaluate.main(["--challenge", "bins", *arguments]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line
    assert not (job / "evaluation").exists()


def test_the_page_needs_nothing_from_elsewhere_and_is_the_same_again(job):
    assert evaluate.main([]) == 0
    document = json.loads((job / "evaluation/evaluation.json").read_text())
    page = (job / "evaluation/evaluation.html").read_text()
    assert page == evaluation_page.page(document)
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\((?!#)|(src|href)=\"(?!#)", page)
    assert "held the truth 84 times in 100" in page and "extras, trained on and never tested" in page
    assert page.count("<svg") == 5 and len(set(re.findall(r' id="([^"]+)"', page))) > 0


def test_whatever_a_page_is_told_is_escaped_but_its_pictures():
    section = Section(
        "<a>", "<b>\n\nsecond", [Table(["<c>", "d"], [["<e>", "1\n2"]])], [Picture("<svg></svg>", "<f>")]
    )
    text = render("<g>", [section], "<h>", [Fact("<i>", "<j>")])
    assert "<svg></svg>" in text and "<p>second</p>" in text
    assert not re.search("<[acefghij]>", text.split("</style>")[1])
