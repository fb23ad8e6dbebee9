"""The Lambda function ``promote``: what it starts, what it refuses, and that it may be called again."""

import pytest

from containers.common import aws
from containers.functions.promote import app
from tests.fake_aws import FakeAws, endpoint

NAME = "bins-promoted-abc123"
EVENT = {
    "execution": "abc123",
    "endpoint": "bins",
    "evaluation": "s3://b/pipeline/abc123/evaluation.json",
    "artifact": "s3://b/model.tar.gz",
    "image": "serve:1",
    "role": "arn:aws:iam::123456789012:role/r",
    "instance_type": "ml.m5.xlarge",
    "instances": 2,
    "bucket": "b",
    "capture": "s3://b/capture",
    "bake_seconds": "300",
}


def cloud(
    monkeypatch, *described: dict | None, champion: str | None = "live", promote: bool = True
) -> FakeAws:
    fake = FakeAws(*described)
    fake.objects[EVENT["evaluation"]] = {
        "decision": {"promote": promote, "reason": "so it is"},
        "champion": champion and {"configuration": champion, "model": "old"},
    }
    monkeypatch.setattr(aws, "client", fake)
    return fake


def test_the_champion_is_replaced_under_the_alarms_that_exist(monkeypatch):
    fake = cloud(monkeypatch, endpoint("live"))
    fake.alarms = {"bintally-bins-5xx": "OK"}
    assert app.handler(EVENT, None) == {"configuration": NAME, "champion": "live"}
    [model], [configuration] = fake.made("model"), fake.made("configuration")
    assert model["PrimaryContainer"]["ModelDataUrl"] == "s3://b/model.tar.gz"
    assert configuration["EndpointConfigName"] == model["ModelName"] == NAME
    assert configuration["DataCaptureConfig"]["EnableCapture"] is True
    assert configuration["DataCaptureConfig"]["InitialSamplingPercentage"] == 25  # as the champion's
    assert configuration["Tags"] == model["Tags"] == [{"Key": "project", "Value": "bintally"}]
    [update] = fake.made("update")
    deployment = update["DeploymentConfig"]
    assert deployment["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "bintally-bins-5xx"}]}
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["WaitIntervalInSeconds"] == 300
    assert update["RetainAllVariantProperties"] is True  # as many instances as autoscaling has come to


@pytest.mark.parametrize(
    "capture", [{}, {"DataCaptureConfig": {"EnableCapture": False, "InitialSamplingPercentage": 25}}]
)
def test_capture_that_an_operator_turned_off_stays_off(monkeypatch, capture):
    fake = cloud(monkeypatch, endpoint("live"))
    variants = fake.describe_endpoint_config("live")["ProductionVariants"]
    monkeypatch.setattr(
        fake, "describe_endpoint_config", lambda **_: {"ProductionVariants": variants, **capture}
    )
    app.handler(EVENT, None)
    assert "DataCaptureConfig" not in fake.made("configuration")[0]


def test_another_instance_type_begins_with_its_own_number_of_instances(monkeypatch):
    fake = cloud(monkeypatch, endpoint("live"))
    app.handler({**EVENT, "instance_type": "ml.c5.large"}, None)
    assert "RetainAllVariantProperties" not in fake.made("update")[0]
    assert fake.made("configuration")[0]["ProductionVariants"][0]["InitialInstanceCount"] == 2


def test_a_first_model_gets_an_endpoint(monkeypatch):
    fake = cloud(monkeypatch, None, champion=None)
    assert app.handler(EVENT, None) == {"configuration": NAME, "champion": ""}
    [create] = fake.made("create")
    assert (create["EndpointName"], create["EndpointConfigName"]) == ("bins", NAME)
    assert fake.made("configuration")[0]["DataCaptureConfig"]["InitialSamplingPercentage"] == 100


@pytest.mark.parametrize(
    "begun",
    [
        endpoint("live", "Updating", PendingDeploymentSummary={"EndpointConfigName": NAME}),
        endpoint(NAME),
        endpoint(NAME, "Creating"),
    ],
)
def test_a_rollout_that_has_begun_is_left_alone(monkeypatch, begun):
    fake = cloud(monkeypatch, begun)
    assert app.handler(EVENT, None) == {"configuration": NAME, "champion": "live"}
    assert fake.calls == []


def test_a_call_that_was_cut_off_is_carried_on(monkeypatch):
    fake = cloud(monkeypatch, endpoint("live"))
    fake.taken = True
    app.handler(EVENT, None)
    assert [name for name, _ in fake.calls] == ["update"]


@pytest.mark.parametrize(
    ("described", "champion", "said"),
    [
        (endpoint("another"), "live", "serves another by now, and the champion that was scored was live"),
        (endpoint("live", "Updating"), "live", "endpoint bins is Updating: retry"),
        (None, "live", "endpoint bins was deleted after the evaluation"),
        (endpoint("another"), None, "endpoint bins was created after the evaluation"),
    ],
)
def test_anything_but_the_scored_champion_is_not_replaced(monkeypatch, described, champion, said):
    fake = cloud(monkeypatch, described, champion=champion)
    with pytest.raises(app.Refused, match=said):
        app.handler(EVENT, None)
    assert fake.calls == []


def test_an_alarm_that_fires_already_is_named(monkeypatch):
    fake = cloud(monkeypatch, endpoint("live"))
    fake.alarms = {"bintally-bins-5xx": "OK", "bintally-bins-latency": "ALARM"}
    with pytest.raises(app.Refused, match="bintally-bins-latency is in state ALARM already"):
        app.handler(EVENT, None)
    assert fake.calls == []


def test_what_no_pipeline_would_ask_for_is_refused(monkeypatch):
    cloud(monkeypatch, endpoint("live"), promote=False)
    with pytest.raises(app.Refused, match="does not promote: so it is"):
        app.handler(EVENT, None)
    with pytest.raises(app.Refused, match="not an event of the pipeline"):
        app.handler({"endpoint": "bins"}, None)
