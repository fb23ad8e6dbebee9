"""The verification job: what it trusts, what it takes back, and what it records of either."""

import json
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from containers.common import aws, deployment, paths
from containers.common.errors import DataError, ModelError, ServiceError
from containers.train import champion, rollout, verify
from tests import squares
from tests.fake_aws import FakeAws, endpoint, refused

CLASSES = [1, 2, 3]
ROW = np.array([0.1, 0.7, 0.2])
ANSWER = {"model": "new", "count": 2, "probabilities": {"1": 0.1, "2": 0.7, "3": 0.2}}
ARGUMENTS = {
    "execution": "abc123",
    "endpoint": "bins",
    "configuration": "bins-promoted-abc123",
    "champion": "bins-before",
    "artifact": "s3://b/new.tar.gz",
    "image": "serve:1",
    "instance-type": "ml.m5.xlarge",
    "evaluation": "s3://b/evaluation.json",
    "training-job": "pipelines-abc123-Train-1",
    "group": "bintally",
}
EVALUATION = {
    "model": "new",
    "metrics": {"accuracy": {"value": 0.5}},
    "data": {"fingerprint": "f" * 64},
    "champion": {"model": "old", "configuration": "bins-before"},
    "comparison": {"gain": {"value": 0.05}},
    "decision": {"promote": True, "reason": "it is better (a lot)"},
}


def test_an_answer_within_the_tolerance_is_the_graphs():
    verify.check(ANSWER, "new", CLASSES, ROW + np.array([0.015, -0.015, 0]), "a.jpg")
    tied = {**ANSWER, "count": 3, "probabilities": {"1": 0.2, "2": 0.4, "3": 0.4}}
    verify.check(tied, "new", CLASSES, np.array([0.2, 0.41, 0.39]), "a.jpg")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "old"}, "answers as old, and not as new"),
        ({"count": 1}, "counts 1 and its graph 2"),
        ({"probabilities": {"1": 0.2, "2": 0.6, "3": 0.2}}, "differ by up to 0.100"),
        ({"probabilities": {"1": 0.2}}, "for a.jpg the endpoint answers"),
        ({"count": 7}, "for a.jpg the endpoint answers"),
    ],
)
def test_an_answer_that_is_not_the_graphs_is_named(change, said):
    with pytest.raises(ModelError, match=said):
        verify.check({**ANSWER, **change}, "new", CLASSES, ROW, "a.jpg")
    with pytest.raises(ModelError, match="the endpoint answers"):
        verify.check(["no document"], "new", CLASSES, ROW, "a.jpg")


@pytest.fixture
def job(tmp_path, monkeypatch) -> Iterator[Callable[..., int]]:
    """A verification job whose challenger's graph always says ROW, and whose waits take no time."""
    inputs = tmp_path / "processing"
    squares.write(inputs, {"test": 30})
    (inputs / "evaluation").mkdir()
    (inputs / "evaluation" / "evaluation.json").write_text(json.dumps(EVALUATION))

    class Graph:
        card = SimpleNamespace(name="new", classes=CLASSES)

        def __init__(self, folder):
            pass

        def prepare(self, data: bytes) -> np.ndarray:
            return np.zeros(1)

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return ROW[None]

    monkeypatch.setattr(verify, "Graph", Graph)
    monkeypatch.setattr(verify, "unpack", lambda archive, folder: None)
    monkeypatch.setattr(rollout, "POLL", 0)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))

    def run(fake: FakeAws, **changed: str) -> int:
        monkeypatch.setattr(aws, "client", fake)
        return verify.main([f"--{name}={value}" for name, value in {**ARGUMENTS, **changed}.items()])

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a job that forgets it is not to end pytest
    yield run
    signal.signal(signal.SIGTERM, before)


PROMOTED, BEFORE = ARGUMENTS["configuration"], ARGUMENTS["champion"]


def test_a_promotion_that_answers_as_its_graph_is_approved_with_its_lineage(job):
    fake = FakeAws(endpoint(BEFORE, "Updating"), endpoint(BEFORE, "Updating"), endpoint(PROMOTED))
    fake.answer = ANSWER
    assert job(fake) == 0
    [package] = fake.made("package")
    assert package["ModelApprovalStatus"] == "Approved" and package["ModelPackageGroupName"] == "bintally"
    assert package["ModelPackageDescription"] == "it is better (a lot)"
    lineage = package["CustomerMetadataProperties"]
    assert (lineage["accuracy"], lineage["gain"]) == ("0.5000", "+0.0500")
    assert (lineage["champion-before"], lineage["pipeline-execution"]) == ("old", "abc123")
    assert "Tags" not in package  # SageMaker refuses them for a version of a group
    assert not fake.made("update")


@pytest.mark.parametrize(
    ("instance_types", "kept"), [({}, deployment.KEEP_INSTANCES), ({BEFORE: "ml.c5.large"}, {})]
)
def test_a_promotion_that_answers_otherwise_is_rolled_back_and_rejected(job, capsys, instance_types, kept):
    fake = FakeAws(endpoint(PROMOTED), endpoint(PROMOTED), endpoint(PROMOTED, "Updating"), endpoint(BEFORE))
    fake.answer, fake.instance_types = {**ANSWER, "count": 1}, instance_types
    assert job(fake) == 1
    assert fake.made("update") == [{"EndpointName": "bins", "EndpointConfigName": BEFORE, **kept}]
    [package] = fake.made("package")
    assert package["ModelApprovalStatus"] == "Rejected"
    reason = paths.failure().read_text()
    assert "counts 1 and its graph 2" in reason and f"endpoint bins was rolled back to {BEFORE}" in reason
    assert package["ModelPackageDescription"] == reason
    assert capsys.readouterr().err == f"error: {reason}\n"


def test_a_rollout_that_failed_is_rejected_with_sagemakers_reason(job):
    fake = FakeAws(endpoint(BEFORE, "Updating"), endpoint(BEFORE, FailureReason="an alarm\n  fired"))
    assert job(fake) == 1
    assert not fake.made("update")
    [package] = fake.made("package")
    assert package["ModelApprovalStatus"] == "Rejected"
    assert package["ModelPackageDescription"] == (
        f"the rollout of {PROMOTED} failed, and endpoint bins serves {BEFORE}: an alarm fired; "
        f"endpoint bins serves {BEFORE}"
    )


def test_a_rejection_that_cannot_be_recorded_keeps_its_reason(job):
    class Closed(FakeAws):
        def create_model_package(self, **_):
            raise refused("the registry is full")

    assert job(Closed(endpoint("another"))) == 1
    reason = paths.failure().read_text()
    assert "endpoint bins serves another; not recorded: " in reason and "the registry is full" in reason


@pytest.mark.parametrize(
    ("then", "rollbacks", "after"),
    [
        ([endpoint(PROMOTED), endpoint(PROMOTED, "Updating")], 1, f"is being rolled back to {BEFORE}"),
        ([], 0, "is Updating and could not be rolled back"),
    ],
)
def test_a_job_that_is_told_to_stop_starts_the_rollback_and_records(job, monkeypatch, then, rollbacks, after):
    naps = iter(range(2 * rollout.LAST_LOOKS))

    def sleep(seconds: float) -> None:
        next(naps)  # which ends a job that goes on waiting
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(rollout.time, "sleep", sleep)
    fake = FakeAws(endpoint(BEFORE, "Updating"), endpoint(BEFORE, "Updating"), *then)
    assert job(fake) == 1
    assert len(fake.made("update")) == rollbacks
    [package] = fake.made("package")
    assert package["ModelApprovalStatus"] == "Rejected"
    assert package["ModelPackageDescription"] == (
        f"the job was told to stop before {PROMOTED} was verified; endpoint bins {after}"
    )


def test_a_first_model_that_fails_leaves_no_endpoint(job):
    failed = endpoint(PROMOTED, "Failed", FailureReason="it did not start")
    fake = FakeAws(failed, failed, None)
    assert job(fake, champion="") == 1
    assert fake.made("delete") == [{"EndpointName": "bins"}]
    assert "it did not start; endpoint bins was deleted" in paths.failure().read_text()


def test_what_somebody_else_put_live_is_left_alone(job):
    fake = FakeAws(endpoint("another"))
    assert job(fake) == 1 and not fake.made("update")
    assert "endpoint bins serves another" in paths.failure().read_text()


def test_a_rollback_that_fails_says_so(job):
    fake = FakeAws(endpoint(PROMOTED), endpoint(PROMOTED), endpoint(PROMOTED, FailureReason="no capacity"))
    assert job(fake) == 1
    reason = paths.failure().read_text()
    assert f"could not be rolled back to {BEFORE}: the rollout of {BEFORE} failed" in reason
    assert reason.endswith(f"endpoint bins serves {PROMOTED}: no capacity")


def test_photographs_are_spread_over_all_counts(tmp_path):
    squares.write(tmp_path, {"test": 200})
    assert {path.parent.name for path in verify.chosen(tmp_path / "test")} == set("12345")
    assert len(verify.chosen(tmp_path / "test")) == verify.ASKED
    with pytest.raises(DataError, match="no photographs"):
        verify.chosen(tmp_path / "nowhere")


def test_the_champion_is_taken_from_the_endpoint_itself(monkeypatch):
    monkeypatch.setattr(aws, "client", FakeAws(endpoint("live")))
    assert champion.deployed("bins") == champion.Champion("bins", "live", "s3://b/model-of-live.tar.gz")
    monkeypatch.setattr(aws, "client", FakeAws(None))
    assert champion.deployed("bins") is None


def test_an_endpoint_that_is_not_in_service_has_no_champion(monkeypatch):
    monkeypatch.setattr(aws, "client", FakeAws(endpoint("live", "Failed")))
    with pytest.raises(ServiceError, match="endpoint bins is Failed, so no champion can be scored"):
        champion.deployed("bins")
