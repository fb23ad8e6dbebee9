"""The monitor's parts: reading, drift against hand-made numbers, feedback, and what the page says of them."""

import dataclasses
import json
import re
import tracemalloc
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from containers.common import archive, paths
from containers.common import card as cards
from containers.common import photograph as photographs
from containers.common.deployment import VERIFYING
from containers.train.monitor import __main__ as job
from containers.train.monitor import baseline, capture, document, drift, feedback, page, reading, sections
from containers.train.monitor.appearance import measure
from containers.train.monitor.drift import Histogram, psi
from tests import ROOT
from tests.captured import MODEL, NOON, answer, photograph, record

CLASSES = [1, 2, 3, 4, 5]
SPAN = reading.Span(int(NOON.timestamp()), int(NOON.timestamp()) + 3 * 3600, 3600)
RULE = photographs.resize_rule((224, 224))


def read(lines, variant: str = "AllTraffic", key: str = "a.jsonl", sample: int = 5, truth=None):
    return reading.read(lines, key, variant, SPAN, sample, truth)


def test_answers_are_summed_by_window_and_model():
    later = NOON + timedelta(hours=2, minutes=59)
    summary = read(
        [
            record("1", NOON, answer(2, 0.5, "match")),
            record("2", NOON, answer(2, 0.7, "mismatch")),
            record("3", NOON, answer(4, 1.0, None, model="model-b")),
            record("4", later, answer(5, 0.25, "unsure")),
        ]
    )
    first, second, third = (
        summary.cells[where]
        for where in ((SPAN.since, MODEL), (SPAN.since, "model-b"), (SPAN.since + 7200, MODEL))
    )
    assert (first.records, first.counts, first.verdicts) == (2, {2: 2}, {"match": 1, "mismatch": 1})
    assert first.confidence_sum == pytest.approx(1.2)
    assert (second.verdicts, second.confidence[1000]) == ({None: 1}, 1)
    assert (third.counts, third.confidence[250]) == ({5: 1}, 1)
    assert summary.variants == {"AllTraffic": 4} and not summary.unusable


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{\n", reading.UNREADABLE),
        (b"[1]\n", reading.UNREADABLE),
        (b'{"captureData": {}}\n', reading.UNREADABLE),
        (record("1").replace(b"2026-07-01T", b"yesterday.T"), reading.UNREADABLE),
        (record("1").replace(b'"endpointOutput"', b'"elsewhere"'), reading.UNANSWERED),
        (record("1", output={"predictions": [1]}), reading.FOREIGN),
        (record("1", output=answer(confidence=1.5)), reading.FOREIGN),
        (record("1", output=answer(model=None)), reading.FOREIGN),
        (record("1", output=answer(verdict=["match"])), reading.FOREIGN),
    ],
)
def test_what_cannot_be_used_is_counted_and_not_fatal(line, what):
    summary = read([record("0"), line, b"\n", record("2")])
    assert summary.unusable == {what: 1} and summary.records == 2


def test_records_of_another_time_are_left_out():
    summary = read([record("1", NOON - timedelta(seconds=1)), record("2", NOON + timedelta(hours=3))])
    assert summary.outside == 2 and summary.records == 0


def test_requests_that_verify_a_promotion_are_left_out():
    own = json.loads(record("1"))
    own["eventMetadata"]["inferenceId"] = f"{VERIFYING}-execution-7"
    of_others = json.loads(record("2"))
    of_others["eventMetadata"]["inferenceId"] = "camera-7"
    summary = read([json.dumps(line).encode() + b"\n" for line in (own, of_others)])
    assert (summary.verifying, summary.records) == (1, 1) and not summary.unusable


def test_memory_does_not_grow_with_the_records():
    def peak(records: int) -> int:
        lines = (record(str(n), NOON, answer(n % 5 + 1)) for n in range(records))
        tracemalloc.start()
        assert read(lines).records == records
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # what is made once
    assert peak(6000) < 6000 * 20  # not even their inference ids, each a string of 50 bytes and more


def test_the_sample_is_the_same_in_whatever_order_objects_are_read():
    parts = {f"{n}.jsonl": [record(f"{n}-{m}", photograph=b"1") for m in range(20)] for n in range(6)}

    def sampled(keys) -> list:
        total = reading.Summary()
        for key in keys:
            total.add(read(parts[key], key=key), most=5)
        return sorted(total.cells[SPAN.since, MODEL].sample)

    sample = sampled(parts)
    assert sample == sampled(reversed(parts)) and len(sample) == 5
    for reference in sample:  # each leads to its own line
        body = b"".join(parts[reference.key])[reference.offset :][: reference.length]
        assert body in parts[reference.key]


def test_feedback_is_joined_and_later_lines_overrule(tmp_path):
    given = feedback.Feedback(tmp_path / "truth")
    told = [("1", 2), ("2", 5), ("2", 3), ("absent", 1)]
    given.add(json.dumps({"event_id": e, "count": n}).encode() for e, n in told)
    given.add([b"{", b'{"event_id": "3"}', b'{"event_id": "3", "count": -1}', b'{"event_id": 3, "count": 1}'])
    given.add([b'{"event_id": "3", "count": 9223372036854775808}'])
    assert (len(given), given.unreadable) == (3, 5)
    summary = read(
        [
            record("1", output=answer(2, verdict="mismatch", expected=3)),  # right, and a wrong record indeed
            record("2", output=answer(4, verdict="mismatch", expected=3)),  # wrong, and the record was right
            record("3"),
        ],
        truth=feedback.truth(given.path),
    )
    cell = summary.cells[SPAN.since, MODEL]
    assert (cell.checked, cell.exact, cell.alarms_checked, cell.alarms_right) == (2, 1, 2, 1)


def test_the_stability_index_is_the_formula():
    index = psi(Histogram((0.0,), (500, 500)), Histogram((0.0,), (800, 200)))
    by_chance = 1 / 1000 + 1 / 1000
    assert index == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4) - by_chance, abs=0.002)
    assert psi(Histogram((0.0,), (500, 500)), Histogram((0.0,), (500, 500))) == 0
    assert psi(Histogram((0.0,), (500, 500)), Histogram((0.0,), (99, 0))) is None
    assert np.isfinite(psi(Histogram((0.0,), (1000, 0)), Histogram((0.0,), (0, 1000))))


def test_samples_of_one_distribution_do_not_drift():
    """Over many draws of the least number of observations: the index is small on average, rarely some."""
    draw = np.random.default_rng(0)
    base = Histogram.by_deciles(draw.normal(size=1000), digits=3)
    found = [psi(base, Histogram.of(draw.normal(size=drift.LEAST), base.edges)) for _ in range(200)]
    assert np.mean(found) < 0.05 and np.mean(np.array(found) > drift.MUCH) < 0.02
    assert psi(base, Histogram.of(draw.normal(1, size=drift.LEAST), base.edges)) > drift.MUCH


def test_a_value_on_an_edge_and_equal_values_have_their_interval():
    assert Histogram.of([1, 2, 2, 3], [2.0, 3.0]).counts == (1, 2, 1)
    constant = Histogram.by_deciles([7.0] * 200, digits=1)
    assert constant == Histogram((7.0,), (0, 200))


def test_appearance_of_photographs_worked_out_by_hand():
    flat = measure(np.full((6, 8, 3), 100, np.uint8), (400, 300))
    assert flat.brightness == pytest.approx(100) and flat.sharpness == pytest.approx(0, abs=1e-3)
    assert flat.megapixels == 0.12
    board = np.indices((6, 8)).sum(0) % 2 * 10  # each pixel differs from its four neighbours by 10
    assert measure(np.repeat(board[..., None], 3, 2).astype(np.uint8), (8, 6)).sharpness == pytest.approx(
        1600
    )


def look(data: bytes):
    image = photographs.decode(data)
    return measure(photographs.resize(image, RULE), image.size)


@pytest.fixture(scope="module")
def live() -> document.Live:
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(5), 400)
    seen = [look(photograph(seed)) for seed in range(150)]
    return document.Live(
        MODEL, CLASSES, 0.5, "test", baseline.describe(seen, probabilities, CLASSES, [9] * 5)
    )


def told(live: document.Live, light: float, confidence: float | None = None) -> dict:
    """The document of 120 requests of a model whose answers are those of validation, or surer or less."""
    draw = np.random.default_rng(1)
    rows = draw.dirichlet(np.ones(5), 120)
    lines = [
        record(str(n), NOON, answer(int(row.argmax()) + 1, confidence or float(row.max()), "match"))
        for n, row in enumerate(rows)
    ]
    seen = {(SPAN.since, MODEL): [look(photograph(1000 + n, light)) for n in range(120)]}
    return document.describe(SPAN, 3 * 3600, live, read(lines), seen, sample=200)


def test_darkened_photographs_drift_and_others_do_not(live):
    usual, dark = (document.metrics(told(live, light)) for light in (1, 0.6))
    assert usual["InputDrift"] < drift.SOME and usual["PredictionDrift"] < drift.SOME
    assert dark["InputDrift"] > drift.MUCH and dark["Drift"] == dark["InputDrift"]
    assert document.metrics(told(live, 1, confidence=0.3))["PredictionDrift"] > drift.MUCH


def test_few_requests_publish_how_many_and_no_rates(live):
    few = document.describe(SPAN, 3600 * 3, live, read([record("1")]), {}, 5)
    assert document.metrics(few) == {"CapturedRequests": 1}


def test_metrics_are_of_the_live_model_and_of_recent_windows(live):
    lines = [record(f"a{n}", NOON) for n in range(150)]
    lines += [record(f"b{n}", NOON + timedelta(hours=2), answer(verdict="mismatch")) for n in range(120)]
    lines += [record(f"c{n}", NOON + timedelta(hours=2), answer(model="model-b")) for n in range(30)]
    whole = document.describe(SPAN, 3600, live, read(lines), {}, 5)
    assert document.metrics(whole)["MismatchRate"] == 1
    assert whole["recent"]["records"] == 120
    assert [(m["model"], m["live"]) for m in whole["models"]] == [(MODEL, True), ("model-b", False)]
    assert [w["drift"]["counts"] is None for w in whole["windows"]] == [False, False, True]


def test_accuracy_is_of_every_answer_of_the_live_model_and_at_best_wilsons_upper_end(live):
    truths = {f"a{n}": 3 if n < 60 else 1 for n in range(120)} | {f"b{n}": 3 for n in range(100)}
    lines = [record(f"a{n}", NOON) for n in range(120)]
    lines += [record(f"b{n}", NOON, answer(model="model-b")) for n in range(100)]
    whole = document.describe(SPAN, 3600, live, read(lines, truth=truths.get), {}, 5)
    assert whole["recent"]["records"] == 0
    found = document.metrics(whole)
    assert found["Accuracy"] == 0.5 and found["AccuracyAtBest"] == sections.wilson(60, 120)["high"]
    given = {"place": "s3://b/f", "counts": 220, "joined": 220, "unknown": 0, "unreadable": 0}
    text = page.page(complete(whole, feedback=given))
    assert "58.8\u00a0%" in text and "50.0\u00a0% on test" in text


def test_accuracy_is_held_against_that_on_test_where_the_card_says_it():
    card = cards.read(ROOT / "models")
    without = dataclasses.replace(card, metrics={"validation": card.metrics["validation"]})
    for scored_on, live in (("test", document.Live.of(card)), ("validation", document.Live.of(without))):
        assert live.scored_on == scored_on
        assert live.accuracy == card.metrics[scored_on]["accuracy"]["value"]


def complete(part: dict, **members) -> dict:
    """A whole document around what records gave."""
    asked = {t["start"]: 10.0 for t in part["windows"]}
    return {
        "endpoint": "bintally",
        **part,
        "metrics": document.metrics(part),
        "feedback": {"place": "s3://b/f", "counts": 3, "joined": 0, "unknown": 3, "unreadable": 1},
        "capture": {"place": "s3://b/c", "objects": 2, "bytes": 10, "seconds": 1.0},
        "cloudwatch": {
            "variants": {"AllTraffic": {"latency": asked, "slowest": asked, "invocations": asked}},
            "alarms": [
                {"name": "bintally-x", "state": "ALARM", "since": "2026-07-01T12:00:00Z", "reason": ""}
            ],
            "refused": None,
        },
    } | members


def test_the_page_shows_it_and_needs_nothing_from_elsewhere(live):
    text = page.page(complete(told(live, 0.6)))
    assert "much has changed" in text and "3 name no event" in text and "bintally-x" in text
    assert text.count("<svg") == 7
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\((?!#)|(src|href)=\"(?!#)", text)


def test_every_model_is_drawn_however_many_there_are(live):
    names = [f"model-{n}" for n in range(8)]
    lines = [record(name, NOON, answer(model=name)) for name in names]
    text = page.page(complete(document.describe(SPAN, 3600, live, read(lines), {}, 5)))
    assert all(text.count(f">{name}</text>") == 2 for name in names)  # requests, confidence


def test_the_page_of_a_model_without_a_baseline_says_so():
    bare = document.Live(MODEL, CLASSES, 0.5, "test", None)
    part = document.describe(SPAN, 3600, bare, read([record("1", photograph=photograph(1))]), {}, 5)
    refused = {"variants": {}, "alarms": [], "refused": "GetMetricData: AccessDenied"}
    text = page.page(complete(part, cloudwatch=refused))
    assert "carries no baseline" in text and "GetMetricData: AccessDenied" in text
    assert "Has anything moved?" not in text


def test_the_page_of_nothing_says_so(live):
    text = page.page(complete(document.describe(SPAN, 3600, live, reading.Summary(), {}, 5)))
    assert "No answer was captured" in text and "<svg" not in text


def test_accuracy_has_wilsons_interval():
    score = sections.wilson(8, 10)  # 0.490 to 0.943: Newcombe 1998, "Two-sided confidence intervals", table I
    assert (score["low"], score["high"]) == (pytest.approx(0.490, abs=5e-4), pytest.approx(0.943, abs=5e-4))
    assert sections.wilson(5, 5)["high"] == 1 and sections.wilson(0, 0) is None


def test_small_objects_are_fetched_together():
    found = [capture.storage.Found(str(n), 3 << 20, "v") for n in range(5)]
    found.append(capture.storage.Found("large", 100 << 20, "v"))
    batches = [[item.key for item in batch] for batch in capture._batches(found)]
    assert batches == [["0", "1"], ["2", "3"], ["4"], ["large"]]


def test_photographs_that_lie_near_each_other_are_fetched_together():
    def at(key: str, offset: int, length: int = 1000) -> reading.Reference:
        return reading.Reference(0, key, offset, length)

    far = capture.GAP_BYTES + 3000
    sample = [at("a", 0), at("a", 1000), at("a", far), at("b", far), at("b", far + 1000, 5 << 20)]
    assert list(capture._near(sample)) == [sample[:2], sample[2:3], sample[3:4], sample[4:]]


def test_only_requests_that_hold_a_photograph_are_sampled():
    sent = [record("1"), record("2", photograph=b"1"), record("3").replace(b"s3_uri", b"image")]
    sent.append(record("4", photograph=b"1").replace(b', "encoding": "BASE64"', b""))
    cell = read(sent).cells[SPAN.since, MODEL]
    assert sorted(at.offset for at in cell.sample) == [len(sent[0]), len(sent[0]) + len(sent[1])]
    assert cell.records == 4 and not read(sent, sample=0).cells[SPAN.since, MODEL].sample


@pytest.mark.parametrize(
    ("place", "said"), [("nowhere", "'nowhere' is no S3 address"), ("s3://b/c", "model.tar.gz is missing")]
)
def test_plain_mistakes_are_one_line_and_a_failure_file(tmp_path, monkeypatch, capsys, place, said):
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    model = tmp_path / "processing" / "model"
    model.mkdir(parents=True)
    (tmp_path / "card").mkdir()
    if place == "nowhere":
        cards.read(ROOT / "models").write(tmp_path / "card")
        archive.pack(tmp_path / "card", model / "model.tar.gz")
    window = ["--since", "2026-07-01T00:00Z", "--until", "2026-07-02T00:00Z", "--window", "3600"]
    rest = ["--recent", "3600", "--sample", "5", "--feedback", "s3://b/f", "--variants", "v", *window]
    assert job.main(["--endpoint", "e", "--capture", place, *rest]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line
    assert paths.failure().read_text() == line.removeprefix("error: ")


def test_the_trainer_leaves_a_baseline(trained):
    card = cards.read(trained[0] / "model")
    seen, answers = card.baseline["photographs"], card.baseline["answers"]
    assert seen["measured"] == answers["photographs"] == 103
    assert card.baseline["training_counts"] == {str(n): 80 for n in CLASSES}
    for name in ("brightness", "sharpness", "megapixels"):
        assert sum(seen[name]["counts"]) == 103 and len(seen[name]["edges"]) + 1 == len(seen[name]["counts"])
    assert 40 < seen["brightness"]["quantiles"][1] < 110 and seen["megapixels"]["quantiles"] == [0.0077] * 3
    assert 0.2 < answers["mean_confidence"] <= 1 and sum(answers["counts"].values()) == 103
    rows = json.loads((trained[0] / "model" / cards.TRAINING).read_text())["validation"]["rows"]
    assert answers["mean_confidence"] == pytest.approx(np.mean([max(row[3:]) for row in rows]), abs=1e-4)


def test_a_card_without_a_baseline_is_read(trained, tmp_path):
    written = json.loads((trained[0] / "model" / cards.FILE).read_text())
    del written["baseline"]
    (tmp_path / cards.FILE).write_text(json.dumps(written))
    assert cards.read(tmp_path).baseline is None


def test_a_window_starts_at_a_whole_multiple():
    assert SPAN.window(SPAN.since + 3599) == SPAN.since
    assert reading.stamp(SPAN.since) == "2026-07-01T12:00:00Z"
    assert datetime.fromisoformat(reading.stamp(SPAN.until)) == NOON.astimezone(UTC) + timedelta(hours=3)
