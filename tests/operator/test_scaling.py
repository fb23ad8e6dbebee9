"""Instances of an endpoint, scaled without a lost request; all that ``deploy`` sets up, and removes."""

import io
import json
import tarfile
import threading
from collections.abc import Iterator

import psutil
import pytest

from localcloud.errors import AwsError
from services import console, rollout
from services import deploy as deploy_service
from services.scaling import vcpus
from tests.operator.conftest import Cloud, eventually
from tests.operator.test_localcloud_endpoints import SERVER, until, variant
from tests.operator.test_localcloud_endpoints import Cloud as Endpoints
from tests.operator.test_rollout import load

TARGET = "endpoint/guarded/variant/AllTraffic"
ALARMS = ["bintally-guarded-5xx", "bintally-guarded-latency"]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory) -> Iterator[Endpoints]:
    endpoints = Endpoints(tmp_path_factory.mktemp("cloud"))
    yield endpoints
    endpoints.stop()


def scale(endpoints: Endpoints, name: str, **members) -> None:
    desired = [{"VariantName": "AllTraffic", **members}]
    endpoints.endpoints.scale({"EndpointName": name, "DesiredWeightsAndCapacities": desired})


def counts(endpoints: Endpoints, name: str) -> tuple[int, int]:
    [found] = endpoints.endpoints.describe(name)["ProductionVariants"]
    return found["CurrentInstanceCount"], found["DesiredInstanceCount"]


def pids(endpoints: Endpoints, name: str) -> set[str]:
    return {endpoints.ask(name, "pid") for _ in range(10)}


def test_instances_come_and_go_without_a_lost_request(endpoints):
    endpoints.deploy("wide", endpoints.simple("wide"))
    before = pids(endpoints, "wide")
    with load(endpoints, "wide") as (answered, failed):
        scale(endpoints, "wide", DesiredInstanceCount=3)
        assert endpoints.endpoints.describe("wide")["EndpointStatus"] == "Updating"
        assert counts(endpoints, "wide") == (1, 3)
        with pytest.raises(AwsError, match="Cannot update in-progress endpoint"):
            scale(endpoints, "wide", DesiredInstanceCount=2)
        endpoints.settled("wide")
        assert counts(endpoints, "wide") == (3, 3)
        during = pids(endpoints, "wide")
        assert len(during) == 3 and before < during  # requests really go to all of them
        scale(endpoints, "wide", DesiredInstanceCount=1)
        endpoints.settled("wide")
        last = len(answered)
        until(lambda: len(answered) > last + 20)
    assert failed == [] and set(answered) == {"wide"}
    assert pids(endpoints, "wide") == before
    assert not any(psutil.pid_exists(int(pid)) for pid in during - before)


def test_an_instance_that_cannot_start_leaves_the_endpoint_as_it_was(endpoints, tmp_path):
    endpoints.deploy("stuck", endpoints.simple("stuck", DIE_IF=str(tmp_path / "broken")))
    before = pids(endpoints, "stuck")
    (tmp_path / "broken").touch()
    scale(endpoints, "stuck", DesiredInstanceCount=2)
    after = endpoints.settled("stuck")
    assert "the model cannot be loaded" in after["FailureReason"]
    assert counts(endpoints, "stuck") == (1, 1) and pids(endpoints, "stuck") == before


def test_an_endpoint_can_be_deleted_while_it_is_scaled(endpoints):
    endpoints.deploy("torn", endpoints.simple("torn", PINGS="5"))
    [before] = pids(endpoints, "torn")
    scale(endpoints, "torn", DesiredInstanceCount=3)
    endpoints.endpoints.delete({"EndpointName": "torn"})
    until(lambda: endpoints.gone("torn"))
    assert not psutil.pid_exists(int(before))
    assert not (endpoints.settings.home / "endpoints" / "torn").exists()


def test_weights_decide_which_variant_is_asked(endpoints):
    endpoints.model("old")
    endpoints.model("new")
    config = endpoints.config("pair", variant("AllTraffic", "old"), variant("Other", "new", weight=0.0))
    endpoints.deploy("pair", config)
    desired = [
        {"VariantName": "AllTraffic", "DesiredWeight": 0.0},
        {"VariantName": "Other", "DesiredWeight": 1.0},
    ]
    endpoints.endpoints.scale({"EndpointName": "pair", "DesiredWeightsAndCapacities": desired})
    described = endpoints.settled("pair")["ProductionVariants"]
    assert [v["CurrentWeight"] for v in described] == [0.0, 1.0]
    assert {endpoints.ask("pair", "name") for _ in range(10)} == {"new"}


@pytest.mark.parametrize(
    ("desired", "named"),
    [
        ({"DesiredInstanceCount": 0}, "at least 1"),
        ({"DesiredInstanceCount": 9}, "at most 8 instances"),
        ({"VariantName": "Other", "DesiredInstanceCount": 2}, "Variant Other not found"),
        ({"DesiredWeight": 0.0}, "above 0"),
        ({"ServerlessUpdateConfig": {"MaxConcurrency": 1}}, "serverless inference"),
    ],
)
def test_what_cannot_be_scaled_is_refused(endpoints, desired, named):
    if "firm" not in [e["EndpointName"] for e in endpoints.endpoints.list({"MaxResults": 100})["Endpoints"]]:
        endpoints.deploy("firm", endpoints.simple("firm"))
    with pytest.raises(AwsError, match=named):
        scale(endpoints, "firm", **{"VariantName": "AllTraffic", **desired})
    assert endpoints.endpoints.describe("firm")["EndpointStatus"] == "InService"


def test_an_update_keeps_what_it_is_told_to_keep(endpoints):
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 0,
        "DestinationS3Uri": "s3://endpoint-tests/kept",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    endpoints.deploy("kept", endpoints.simple("kept-1", {"DataCaptureConfig": capture}))
    scale(endpoints, "kept", DesiredInstanceCount=2)
    endpoints.settled("kept")
    update = {"EndpointName": "kept", "RetainAllVariantProperties": True}
    endpoints.endpoints.update({**update, "EndpointConfigName": endpoints.simple("kept-2")})
    kept = endpoints.settled("kept")
    assert counts(endpoints, "kept") == (2, 2) and "DataCaptureConfig" in kept
    assert len(pids(endpoints, "kept")) == 2
    left_out = [{"VariantPropertyType": name} for name in ("DesiredInstanceCount", "DataCaptureConfig")]
    endpoints.endpoints.update(
        {**update, "EndpointConfigName": "kept-2", "ExcludeRetainedVariantProperties": left_out}
    )
    assert "DataCaptureConfig" not in endpoints.settled("kept")
    assert counts(endpoints, "kept") == (1, 1)


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [("ml.t2.medium", 2), ("ml.m5.large", 2), ("ml.m5.xlarge", 4), ("ml.c6i.12xlarge", 48)],
)
def test_vcpus_of_an_instance_type(instance_type, expected):
    assert vcpus(instance_type) == expected


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Cloud]:
    """A localcloud of this module's own, since it is stopped and started; ``deploy`` finds tiny images."""
    cloud = Cloud(tmp_path_factory.mktemp("localcloud") / "own")
    cloud.environment |= {
        "BINTALLY_SERVE_IMAGE": cloud.image("tiny-serve", "serve", SERVER),
        "BINTALLY_ENDPOINT": "guarded",
        "BINTALLY_FUNCTION": "guarded-count",
    }
    assert cloud("up").returncode == 0
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz"):
        pass
    cloud.client("s3").create_bucket(Bucket="models")
    cloud.client("s3").put_object(Bucket="models", Key="model.tar.gz", Body=packed.getvalue())
    yield cloud
    cloud("down")


@pytest.fixture
def deploy(cloud, monkeypatch, capsys):
    """``deploy(*arguments)`` in this process, which is quick: its exit status and what it says on stderr."""
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rollout, "POLL", 0.1)

    def run(*arguments: str) -> tuple[int, str]:
        model = ["--model", "s3://models/model.tar.gz"]
        status = console.run(lambda: deploy_service.main([*model, *arguments]))
        return status, capsys.readouterr().err

    return run


def endpoint(cloud: Cloud) -> dict:
    return cloud.client("sagemaker").describe_endpoint(EndpointName="guarded")


def policies(cloud: Cloud) -> dict[str, float]:
    """Names of the policies of ours, and what they aim at."""
    found = cloud.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    return {
        p["PolicyName"]: p["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        for p in found["ScalingPolicies"]
    }


def targets(cloud: Cloud) -> list[tuple]:
    found = cloud.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    return [(t["ResourceId"], t["MinCapacity"], t["MaxCapacity"]) for t in found["ScalableTargets"]]


def alarm_states(cloud: Cloud) -> dict[str, str]:
    found = cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix="bintally-")["MetricAlarms"]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}


def fail_a_request(cloud: Cloud) -> None:
    """As far as CloudWatch knows."""
    dimensions = [
        {"Name": "EndpointName", "Value": "guarded"},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]
    datum = {"MetricName": "Invocation5XXErrors", "Dimensions": dimensions, "Value": 1}
    cloud.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=[datum])


def test_deploy_sets_up_alarms_and_autoscaling(cloud, deploy):
    assert deploy() == (0, "")
    assert sorted(alarm_states(cloud)) == ALARMS
    assert targets(cloud) == [(TARGET, 1, 3)]
    assert policies(cloud) == {"bintally-guarded-invocations": 7800, "bintally-guarded-cpu": 280}
    cloudwatch = cloud.client("cloudwatch")
    for alarm in cloudwatch.describe_alarms(AlarmNames=ALARMS)["MetricAlarms"]:
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        assert tags == [{"Key": "project", "Value": "bintally"}]


def test_all_of_it_survives_a_restart_and_an_update_keeps_the_instances(cloud, deploy):
    desired = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
    sagemaker = cloud.client("sagemaker")
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="guarded", DesiredWeightsAndCapacities=desired
    )
    eventually(lambda: endpoint(cloud)["EndpointStatus"] == "InService")
    cloud("down")
    assert cloud("up").returncode == 0
    assert sorted(alarm_states(cloud)) == ALARMS and len(policies(cloud)) == 2
    assert targets(cloud) == [(TARGET, 1, 3)]
    eventually(lambda: endpoint(cloud)["EndpointStatus"] == "InService")
    status, shown = deploy("--bake", "1")
    assert status == 0 and "with traffic enabled on 10% of capacity" in shown
    after = endpoint(cloud)
    assert after["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert after["LastDeploymentConfig"] == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
                "WaitIntervalInSeconds": 1,
            },
            "TerminationWaitInSeconds": 1,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in ALARMS]},
    }


def test_another_instance_type_needs_the_target_deregistered_which_deploy_does(cloud, deploy):
    config = cloud.client("sagemaker").describe_endpoint_config(
        EndpointConfigName=endpoint(cloud)["EndpointConfigName"]
    )
    config["ProductionVariants"][0]["InstanceType"] = "ml.m5.large"
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_endpoint_config(
        EndpointConfigName="another", ProductionVariants=config["ProductionVariants"]
    )
    with pytest.raises(sagemaker.exceptions.ClientError, match="deregister it from Application Auto Scaling"):
        sagemaker.update_endpoint(EndpointName="guarded", EndpointConfigName="another")
    sagemaker.delete_endpoint_config(EndpointConfigName="another")
    status, _ = deploy("--bake", "0", "--serve-instance", "ml.m5.large", "--max-instances", "2")
    assert status == 0
    assert targets(cloud) == [(TARGET, 1, 2)]
    assert policies(cloud) == {"bintally-guarded-invocations": 3900, "bintally-guarded-cpu": 140}
    assert endpoint(cloud)["ProductionVariants"][0]["CurrentInstanceCount"] == 1


def test_a_rollout_that_an_alarm_takes_back_says_which(cloud, deploy):
    before = endpoint(cloud)["EndpointConfigName"]
    ended = []
    rolling = threading.Thread(target=lambda: ended.append(deploy("--bake", "600")))
    rolling.start()
    eventually(lambda: "Baking" in json.dumps(endpoint(cloud).get("PendingDeploymentSummary"), default=str))
    fail_a_request(cloud)
    rolling.join()
    [(status, said)] = ended
    [line] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert status == 1 and f"serves {before} as before" in line
    assert "alarm bintally-guarded-5xx is in state ALARM" in line
    assert endpoint(cloud)["EndpointConfigName"] == before

    fail_a_request(cloud)  # and the alarm goes on
    eventually(lambda: alarm_states(cloud)["bintally-guarded-5xx"] == "ALARM")
    status, said = deploy()
    assert status == 1 and "or deploy with --no-rollback" in said
    assert deploy("--no-rollback", "--max-instances", "1")[0] == 0
    assert endpoint(cloud)["EndpointConfigName"] != before
    assert targets(cloud) == [] and policies(cloud) == {}


def test_delete_leaves_nothing_behind(cloud, deploy):
    assert deploy("--no-rollback")[0] == 0
    assert len(targets(cloud)) == 1
    assert deploy("--delete") == (0, "")
    sagemaker = cloud.client("sagemaker")
    assert alarm_states(cloud) == policies(cloud) == {} and targets(cloud) == []
    assert sagemaker.list_endpoints()["Endpoints"] == sagemaker.list_models()["Models"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert deploy("--delete") == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--canary", "51"], "a canary is 1 to 50 %"),
        (["--bake", "3601"], "0 to 3600 seconds"),
        (["--instances", "4", "--max-instances", "3"], "between 1 and --max-instances 3"),
    ],
)
def test_plain_mistakes_end_with_one_clear_line(cloud, deploy, arguments, said):
    status, error = deploy(*arguments)
    [line] = error.splitlines()
    assert status == 1 and line.startswith("error: ") and said in line


def test_alarms_that_cannot_be_evaluated_are_refused(cloud):
    cloudwatch = cloud.client("cloudwatch")
    settings = {
        "AlarmName": "refused", "Namespace": "N", "MetricName": "m", "Period": 60, "EvaluationPeriods": 1,
        "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    }  # fmt: skip
    with pytest.raises(cloudwatch.exceptions.ClientError, match="alarms on percentiles"):
        cloudwatch.put_metric_alarm(**settings, ExtendedStatistic="p90")
    with pytest.raises(cloudwatch.exceptions.ClientError, match="not one of Statistic's values"):
        cloudwatch.put_metric_alarm(**settings)
    with pytest.raises(cloudwatch.exceptions.ClientError, match="composite alarms"):
        cloudwatch.put_composite_alarm(AlarmName="refused", AlarmRule="ALARM(a)")
    assert "refused" not in json.dumps(cloudwatch.describe_alarms(), default=str)
