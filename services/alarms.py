"""CloudWatch: what the monitor's reading says is published, and alarms watch it."""

from collections.abc import Mapping
from dataclasses import dataclass

from containers.common import deployment
from services.aws import Aws

NAMESPACE = "BinTally"
MINUTE, HOUR = 60, 3600
UNITS = {"CapturedRequests": "Count"}
KINDS = ("mismatch", "confidence", "drift", "accuracy")  # of the alarms on what the monitor publishes
NO_TRAFFIC = "no-traffic"
AGEING = ("drift", "confidence", "accuracy")  # alarms that say that the model, or its world, has changed


@dataclass(frozen=True)
class Thresholds:
    """At which the alarms go off; rates and drops as shares.

    mismatch: twice what is usual: 5 % false alarms, and no more than 5 % of records wrong. confidence_drop:
    below the mean on validation. drift: where Siddiqi calls it a significant change. accuracy_drop: of the
    accuracy at best, below that in the model's card. quiet_hours: without any request.
    """

    mismatch: float = 0.2
    drift: float = 0.25
    confidence_drop: float = 0.05
    accuracy_drop: float = 0.05
    quiet_hours: int = 1


@dataclass(frozen=True)
class Alarm:
    """kind: the end of its name. bound: what the metric must not be above or, with ``below``, under.
    meaning: what its description says beyond that.
    """

    kind: str
    metric: str
    bound: float
    below: bool = False
    meaning: str = ""

    def crossed(self, value: float | None) -> bool:
        return value is not None and (value < self.bound if self.below else value > self.bound)


def prefix(endpoint: str) -> str:
    """What the names of an endpoint's alarms begin with."""
    return f"bintally-{endpoint}-"


def wanted(thresholds: Thresholds, baseline: Mapping | None, accuracy: float) -> list[Alarm]:
    """Of the live model: ``baseline`` and ``accuracy`` are its card's.

    Without a baseline there is nothing that confidence or drift could be held against.
    """
    even_at_best = "the upper end of the accuracy's 95 % interval, so that even at best it is below the bound"
    alarms = [
        Alarm("mismatch", "MismatchRate", thresholds.mismatch),
        # Not the accuracy as it is: of a hundred counts, chance alone moves it by as much as the drop.
        Alarm("accuracy", "AccuracyAtBest", accuracy - thresholds.accuracy_drop, True, even_at_best),
    ]
    if baseline:
        confidence = baseline["answers"]["mean_confidence"] - thresholds.confidence_drop
        alarms += [
            Alarm("confidence", "MeanConfidence", confidence, below=True),
            Alarm("drift", "Drift", thresholds.drift),
        ]
    return alarms


def publish(aws: Aws, endpoint: str, metrics: Mapping[str, float]) -> None:
    """A reading's numbers, at the time of the reading: each is a sample of its own."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}]
    data = [
        {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": UNITS.get(name, "None")}
        for name, value in metrics.items()
    ]
    aws.client("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=data)


def put(aws: Aws, endpoint: str, alarms: list[Alarm]) -> None:
    """Create the alarms, or move their thresholds to those of another model.

    One reading decides, and its word holds until the next: between two there is nothing to evaluate. Alarms
    of a model before that have nothing to watch any more are deleted.
    """
    if idle := set(KINDS) - {alarm.kind for alarm in alarms}:
        names = [prefix(endpoint) + kind for kind in sorted(idle)]
        aws.client("cloudwatch").delete_alarms(AlarmNames=names)
    for alarm in alarms:
        comparison = "LessThanThreshold" if alarm.below else "GreaterThanThreshold"
        aws.client("cloudwatch").put_metric_alarm(
            AlarmName=prefix(endpoint) + alarm.kind,
            AlarmDescription=f"BinTally's monitor: {alarm.metric} of endpoint {endpoint}"
            + (alarm.meaning and f", {alarm.meaning}"),
            Namespace=NAMESPACE,
            MetricName=alarm.metric,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
            Statistic="Average",
            Period=MINUTE,
            EvaluationPeriods=1,
            Threshold=alarm.bound,
            ComparisonOperator=comparison,
            TreatMissingData="ignore",
            Tags=deployment.TAGS,
        )


def put_no_traffic(aws: Aws, endpoint: str, hours: int) -> None:
    """On what SageMaker itself publishes, so that it goes off whether anybody reads captures or not."""
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=prefix(endpoint) + NO_TRAFFIC,
        AlarmDescription=f"BinTally: nobody asks endpoint {endpoint}",
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": deployment.VARIANT},
        ],
        Statistic="Sum",
        Period=HOUR,
        EvaluationPeriods=hours,
        Threshold=1,
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
        Tags=deployment.TAGS,
    )


def delete(aws: Aws, endpoint: str) -> None:
    """The alarms of the monitor; what is already gone is no error."""
    names = [prefix(endpoint) + kind for kind in (*KINDS, NO_TRAFFIC)]
    aws.client("cloudwatch").delete_alarms(AlarmNames=names)


def states(aws: Aws, endpoint: str) -> dict[str, dict]:
    """CloudWatch's descriptions of the endpoint's alarms, by the ends of their names."""
    start = prefix(endpoint)
    pages = aws.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=start)
    return {a["AlarmName"].removeprefix(start): a for page in pages for a in page["MetricAlarms"]}
