"""Updates in stages: canary, linear, baking, and back again when an alarm says so, under constant load."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from localcloud import alarms, cloudwatch, metrics
from localcloud.errors import AwsError
from localcloud.rollout import Rollout, Traffic
from tests.operator.test_localcloud_endpoints import Cloud, until, variant

ENDLESS = 600  # seconds of baking, which a test ends in another way
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:told"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture
def watch(cloud, monkeypatch) -> cloudwatch.CloudWatch:
    """CloudWatch whose time a test makes go on, by ``tick()``."""
    monkeypatch.setattr(cloudwatch, "TICK_SECONDS", 0)
    monkeypatch.setattr(metrics, "CPU_SECONDS", 0)
    told = []
    watch = cloudwatch.CloudWatch(
        cloud.endpoints.publish_metrics, lambda arn, event: told.append((arn, event))
    )
    watch.told = told
    yield watch
    alarms.backend().alarms.clear()
    alarms.backend().metric_data.clear()


def alarm(name: str, endpoint: str = "any", **members) -> str:
    """An alarm as ``deploy`` makes one: more than one request in a hundred ends with a server error."""
    settings = {
        "namespace": "AWS/SageMaker", "metric_name": "Invocation5XXErrors", "statistic": "Average",
        "period": 60, "evaluation_periods": 1, "threshold": 0.01, "treat_missing_data": "notBreaching",
        "comparison_operator": "GreaterThanThreshold", "description": "", "alarm_actions": [],
    }  # fmt: skip
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}]
    return alarms.backend().put_metric_alarm(name, dimensions=dimensions, **{**settings, **members}).name


def canary(*names: str, wait: int = ENDLESS, percent: int = 50, termination: int = 0) -> dict:
    routing = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": percent},
        "WaitIntervalInSeconds": wait,
    }
    return guarded(routing, *names, termination=termination)


def guarded(routing: dict, *names: str, termination: int = 0) -> dict:
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": termination}
    watched = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in names]}}
    return {"BlueGreenUpdatePolicy": policy, **(watched if names else {})}


def update(cloud: Cloud, endpoint: str, config: str, deployment: dict) -> None:
    params = {"EndpointName": endpoint, "EndpointConfigName": config, "DeploymentConfig": deployment}
    cloud.endpoints.update(params)


def stage(cloud: Cloud, endpoint: str) -> dict:
    pending = cloud.endpoints.describe(endpoint).get("PendingDeploymentSummary")
    return pending["ProductionVariants"][0]["VariantStatus"][0] if pending else {"Status": None}


def baking(cloud: Cloud, endpoint: str, where: str) -> dict:
    return until(
        lambda: (s := stage(cloud, endpoint))["Status"] == "Baking" and where in s["StatusMessage"] and s
    )


@contextmanager
def load(cloud: Cloud, endpoint: str) -> Iterator[tuple[list[str], list[Exception]]]:
    """Three clients that ask without pause: what they were answered, and what failed."""
    answered, failed, ended = [], [], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answered.append(cloud.ask(endpoint, "name"))
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answered, failed
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_share_of_the_requests_goes_to_the_new_fleet():
    random.seed(5)
    picked = Counter(Traffic("blue", "green", 0.25).pick() for _ in range(1000))
    assert 200 < picked["green"] < 300
    assert Traffic("blue", "green", 1.0).pick() == "green" and Traffic("blue").pick() == "blue"


def test_a_canary_answers_some_and_then_all_and_no_request_fails(cloud, watch):
    cloud.deploy("canary", cloud.simple("canary-1"))
    with load(cloud, "canary") as (answered, failed):
        update(cloud, "canary", cloud.simple("canary-2"), canary(alarm("calm"), wait=2, percent=25))
        baking(cloud, "canary", "25% of capacity")
        during = cloud.endpoints.describe("canary")
        until(lambda: cloud.endpoints.describe("canary")["EndpointStatus"] == "InService")
        last = len(answered)
        until(lambda: len(answered) > last + 20)
    assert during["EndpointStatus"] == "Updating" and during["EndpointConfigName"] == "canary-1"
    [pending] = during["PendingDeploymentSummary"]["ProductionVariants"]
    assert pending["VariantStatus"][0]["StatusMessage"] == (
        "Baking for 2 seconds (WaitIntervalInSeconds) with traffic enabled on 25% of capacity."
    )
    assert (pending["CurrentInstanceCount"], pending["InstanceType"]) == (1, "ml.m5.large")
    assert failed == [] and set(answered) == {"canary-1", "canary-2"}
    assert set(answered[last + 3 :]) == {"canary-2"}  # three may have been on their way
    after = cloud.endpoints.describe("canary")
    assert after["EndpointConfigName"] == "canary-2" and "FailureReason" not in after
    assert "PendingDeploymentSummary" not in after
    routing = after["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["Type"] == "CANARY"


@pytest.mark.parametrize(("kind", "where"), [("CANARY", "50% of capacity"), ("ALL_AT_ONCE", "full capacity")])
def test_an_alarm_brings_the_old_fleet_back_and_no_request_fails(cloud, watch, kind, where):
    name = f"back-{kind.lower().replace('_', '-')}"
    cloud.deploy(name, cloud.simple(f"{name}-1"))
    loud = alarm(f"{name}-loud", name)
    deployment = (
        canary(loud)
        if kind == "CANARY"
        else guarded({"Type": kind, "WaitIntervalInSeconds": 0}, loud, termination=ENDLESS)
    )
    with load(cloud, name) as (answered, failed):
        update(cloud, name, cloud.simple(f"{name}-2"), deployment)
        baking(cloud, name, where)
        until(lambda: f"{name}-2" in answered)
        new = psutil.Process(int(cloud.ask(name, "pid")))
        alarms.backend().set_alarm_state(loud, "a test says so", "{}", "ALARM")
        after = cloud.settled(name)
        last = len(answered)
        until(lambda: len(answered) > last + 20)
    assert failed == [] and set(answered) == {f"{name}-1", f"{name}-2"}
    assert set(answered[last + 3 :]) == {f"{name}-1"}
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", f"{name}-1")
    assert after["FailureReason"] == (
        f"Rolled back: CloudWatch alarm {loud} is in state ALARM with traffic on {where} of the new fleet."
    )
    if kind == "ALL_AT_ONCE":  # else it may have been the old fleet's
        assert not new.is_running()


def test_server_errors_of_the_canary_raise_the_alarm_that_takes_it_back(cloud, watch):
    cloud.deploy("sick", cloud.simple("sick-1"))
    loud = alarm("sick-5xx", "sick")
    with load(cloud, "sick") as (answered, failed):
        update(cloud, "sick", cloud.simple("sick-2", STATUS="500"), canary(loud))
        until(lambda: failed)

        def settled() -> dict | None:
            watch.tick()  # a request is measured only after its client has the answer
            now = cloud.endpoints.describe("sick")
            return now if now["EndpointStatus"] == "InService" else None

        after = until(settled)
        last = len(failed)
        until(lambda: len(answered) > 100)
    assert "alarm sick-5xx is in state ALARM" in after["FailureReason"]
    assert after["EndpointConfigName"] == "sick-1" and set(answered) == {"sick-1"}
    assert len(failed) <= last + 3 and {e.response["OriginalStatusCode"] for e in failed} == {500}


def test_an_endpoint_can_be_deleted_while_its_canary_bakes(cloud, watch):
    cloud.deploy("brief", cloud.simple("brief-1"))
    update(cloud, "brief", cloud.simple("brief-2"), canary())
    baking(cloud, "brief", "50% of capacity")
    processes = {cloud.ask("brief", "pid") for _ in range(40)}
    assert len(processes) == 2
    cloud.endpoints.delete({"EndpointName": "brief"})
    until(lambda: cloud.gone("brief"))
    assert not any(psutil.pid_exists(int(pid)) for pid in processes)


def test_a_rollout_that_takes_too_long_is_rolled_back(cloud, watch):
    rollout = Rollout.parse(canary(), instances=1)
    hasty = Rollout(rollout.stages, (), timeout_seconds=-1)
    assert "took more than -1 seconds" in hasty.carry_out(
        lambda share: None, lambda *shown: None, lambda: True
    )


def test_linear_steps_reach_the_whole_fleet():
    routing = {"Type": "LINEAR", "WaitIntervalInSeconds": 5}
    by_count = {**routing, "LinearStepSize": {"Type": "INSTANCE_COUNT", "Value": 1}}
    stages = Rollout.parse(guarded(by_count, termination=7), instances=3).stages
    assert [(s.share, s.bake_seconds) for s in stages] == [(0.34, 5), (0.68, 5), (1.0, 7)]


@pytest.mark.parametrize(
    ("deployment", "named"),
    [
        ({"RollingUpdatePolicy": {"MaximumBatchSize": {}}}, "rolling updates"),
        (canary("nowhere"), "Could not find CloudWatch alarm nowhere"),
        (canary(percent=51), "at most 50 % of the new fleet"),
        (guarded({"Type": "LINEAR", "WaitIntervalInSeconds": 0}), "needs LinearStepSize"),
        (
            {
                "BlueGreenUpdatePolicy": {
                    **canary()["BlueGreenUpdatePolicy"],
                    "MaximumExecutionTimeoutInSeconds": 600,
                }
            },
            "and the rollout waits 600 seconds",
        ),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(cloud, deployment, named):
    with pytest.raises(AwsError, match=named):
        Rollout.parse(deployment, instances=1)


def test_an_endpoint_is_not_touched_by_a_rollout_that_is_refused(cloud):
    cloud.deploy("untouched", cloud.simple("untouched"))
    with pytest.raises(AwsError, match="Could not find CloudWatch alarm"):
        update(cloud, "untouched", "untouched", canary("nowhere"))
    renamed = cloud.config("renamed", variant("Other", "untouched"))
    with pytest.raises(AwsError, match="must keep their names: AllTraffic, not Other"):
        update(cloud, "untouched", renamed, canary())
    with pytest.raises(AwsError, match="Could not find CloudWatch alarm"):
        cloud.endpoints.create(
            {
                "EndpointName": "never",
                "EndpointConfigName": "untouched",
                "DeploymentConfig": canary("nowhere"),
            }
        )
    assert cloud.gone("never") and cloud.endpoints.describe("untouched")["EndpointStatus"] == "InService"


def test_what_an_endpoint_does_is_published(cloud, watch):
    cloud.deploy("measured", cloud.simple("measured"))
    for attributes in ("name=", "name=", "status=404", "status=503"):
        if attributes == "name=":
            cloud.invoke("measured", CustomAttributes=attributes)
        else:
            with pytest.raises(cloud.runtime.exceptions.ModelError):
                cloud.invoke("measured", CustomAttributes=attributes)
    watch.tick()
    watch.tick()
    found = {d.name: d for d in alarms.backend().metric_data if d.dimensions[0].value == "measured"}
    sums = {name: found[name].sum for name in found if name.startswith("Invocation")}
    assert sums == {
        "Invocations": 4, "InvocationsPerInstance": 4, "Invocation4XXErrors": 1, "Invocation5XXErrors": 1,
    }  # fmt: skip
    assert {found[name].sample_count for name in sums} == {4}
    latency, overhead, cpu = (found[n] for n in ("ModelLatency", "OverheadLatency", "CPUUtilization"))
    assert latency.unit == "Microseconds" and 0 < latency.min < latency.max and overhead.min >= 0
    assert (cpu.namespace, cpu.unit) == ("/aws/sagemaker/Endpoints", "Percent") and cpu.min >= 0
    assert [(d.name, d.value) for d in latency.dimensions] == [
        ("EndpointName", "measured"), ("VariantName", "AllTraffic"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "members", "state"),
    [  # one value a minute, the newest first; None is none
        ([5], {}, "ALARM"),
        ([0], {}, "OK"),
        ([5, 0], {"evaluation_periods": 2}, "OK"),
        ([5, 0], {"evaluation_periods": 2, "datapoints_to_alarm": 1}, "ALARM"),
        ([5, 5], {"evaluation_periods": 2}, "ALARM"),
        ([1], {"comparison_operator": "GreaterThanOrEqualToThreshold"}, "ALARM"),
        ([0], {"comparison_operator": "LessThanThreshold"}, "ALARM"),
        ([1], {"comparison_operator": "LessThanOrEqualToThreshold"}, "ALARM"),
        ([None], {}, "OK"),
        ([None], {"treat_missing_data": "breaching"}, "ALARM"),
        ([None], {"treat_missing_data": "missing"}, "INSUFFICIENT_DATA"),
        ([None], {"treat_missing_data": "ignore"}, "OK"),
        ([None, 5], {"evaluation_periods": 2, "treat_missing_data": "missing"}, "ALARM"),
        ([None, 5], {"evaluation_periods": 2}, "OK"),
        ([5], {"unit": "Seconds"}, "OK"),
        ([5], {"dimensions": []}, "OK"),
    ],
)
def test_alarms_are_evaluated_as_cloudwatch_does(watch, values, members, state):
    now = datetime.now(UTC)
    data = [
        {"MetricName": "m", "Value": v, "Timestamp": now - timedelta(seconds=30 + 60 * age),
         "Dimensions": [{"Name": "a", "Value": "b"}]}
        for age, v in enumerate(values) if v is not None
    ]  # fmt: skip
    alarms.backend().put_metric_data("N", data)
    settings = {
        "namespace": "N", "metric_name": "m", "statistic": "Sum", "period": 60, "evaluation_periods": 1,
        "threshold": 1, "comparison_operator": "GreaterThanThreshold", "treat_missing_data": "notBreaching",
        "description": "", "alarm_actions": [], "dimensions": [{"Name": "a", "Value": "b"}],
    }  # fmt: skip
    alarm = alarms.backend().put_metric_alarm("evaluated", **{**settings, **members})
    assert alarms.evaluate(alarm, alarms.index([alarm], now), now).state == state


def test_an_alarms_actions_are_taken_when_its_state_changes(watch, caplog):
    name = alarm("acting", alarm_actions=[FUNCTION, "arn:aws:sns:us-east-1:123456789012:topic"])
    watch.tick()
    assert watch.told == []
    alarms.backend().set_alarm_state(name, "a test says so", "{}", "ALARM")
    watch.tick()
    [(arn, event)] = watch.told
    assert arn == FUNCTION and event["source"] == "aws.cloudwatch"
    assert event["alarmData"]["alarmName"] == name and event["alarmData"]["state"]["value"] == "ALARM"
    assert "does not carry out the action arn:aws:sns" in caplog.text
    assert alarms.backend().alarms[name].state_value == "OK"  # evaluated: nothing failed
    watch.tick()
    assert len(watch.told) == 1


def test_what_endpoints_measured_is_kept_by_the_minute_and_then_dropped(cloud, watch, monkeypatch):
    monkeypatch.setattr(cloudwatch, "FINE", timedelta(0))
    monkeypatch.setattr(cloudwatch, "KEPT", timedelta(days=36500))
    cleaning = cloudwatch.CloudWatch(lambda: None, None)
    cloud.deploy("folded", cloud.simple("folded"))
    fleet = cloud.endpoints.fleet("folded")
    for latency in (0.1, 0.2, 0.3):
        cloud.endpoints.metrics.record(fleet, "AllTraffic", 200, latency)
        cloud.endpoints.metrics.publish([])
    data = alarms.backend().metric_data
    data[:] = [datum for datum in data if datum.name == "ModelLatency"]
    minute = datetime(2026, 1, 1)  # all of them in one, wherever the clock stood
    for datum in data:
        datum.timestamp = minute
    alarms.backend().put_metric_data("Ours", [{"MetricName": "old", "Value": 1, "Timestamp": minute}])
    cleaning.tick()
    total, ours = data
    assert (total.sample_count, total.min, total.max) == (3, 1e5, 3e5) and total.sum == pytest.approx(6e5)
    monkeypatch.setattr(cloudwatch, "KEPT", timedelta(0))
    cleaning.tick()
    assert data == [ours]
