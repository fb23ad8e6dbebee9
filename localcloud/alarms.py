"""CloudWatch's metric alarms, evaluated: moto keeps them and never looks at a metric.

The rules are those of https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html,
with two simplifications: periods end now instead of on the clock's minutes, so that an alarm answers within
seconds; and missing data is looked for in the evaluation periods alone, not in some before them.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import (
    Alarm,
    CloudWatchBackend,
    Dimension,
    MetricAggregatedDatum,
    MetricDatumBase,
    cloudwatch_backends,
)
from moto.cloudwatch.responses import CloudWatchResponse

from localcloud.settings import ACCOUNT, REGION

STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
COMPARISONS = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
# A member of PutMetricAlarm -> what it asks for, which localcloud does not evaluate.
REFUSED = {
    "Metrics": "alarms on metric math",
    "ExtendedStatistic": "alarms on percentiles",
    "ThresholdMetricId": "alarms on anomaly detection",
}

Key = tuple[str, str, frozenset]


@dataclass(frozen=True)
class Verdict:
    """What an evaluation found: OK, ALARM or INSUFFICIENT_DATA, and why."""

    state: str
    reason: str


def backend() -> CloudWatchBackend:
    return cloudwatch_backends[ACCOUNT][REGION]


def honour_alarms() -> None:
    """Have PutMetricAlarm refuse what is not evaluated, and keep an alarm's state. Called once, at start."""
    original = CloudWatchResponse.put_metric_alarm

    def put_metric_alarm(response: CloudWatchResponse):
        for member, feature in REFUSED.items():
            if response._get_param(member):
                raise ValidationError(f"localcloud does not provide {feature} ({member}).")
        for member in ("Namespace", "MetricName", "Period", "EvaluationPeriods", "Threshold"):
            if response._get_param(member) is None:
                raise ValidationError(f"The parameter {member} is required.")
        for member, known in (("ComparisonOperator", COMPARISONS), ("Statistic", STATISTICS)):
            if (value := response._get_param(member)) not in known:
                raise ValidationError(f"{value} is not one of {member}'s values: {', '.join(known)}.")
        name = response._get_param("AlarmName")
        before = backend().alarms.get(name)
        answer = original(response)
        if before:  # another configuration leaves the state as it is, and since when it is so
            alarm = backend().alarms[name]
            alarm.update_state(before.state_reason, before.state_reason_data, before.state_value)
            alarm.state_updated_timestamp = before.state_updated_timestamp
        return answer

    def put_composite_alarm(response: CloudWatchResponse):
        raise ValidationError("localcloud does not provide composite alarms (AlarmRule).")

    CloudWatchResponse.put_metric_alarm = put_metric_alarm
    CloudWatchResponse.put_composite_alarm = put_composite_alarm


def missing(names: Iterable[str]) -> list[str]:
    """Those of the names that no alarm has."""
    return [name for name in names if name not in backend().alarms]


def is_evaluated(alarm: Alarm) -> bool:
    """False of what came into moto by another way than ``PutMetricAlarm``, and asks for more."""
    return alarm.comparison_operator in COMPARISONS and alarm.statistic in STATISTICS


def firing(names: Iterable[str]) -> list[str]:
    """Those of the alarms that are in state ALARM; one that was deleted since is in none."""
    alarms = backend().alarms
    return [name for name in names if name in alarms and alarms[name].state_value == "ALARM"]


def index(alarms: Iterable[Alarm], now: datetime) -> dict[Key, list[MetricDatumBase]]:
    """The metric data that the alarms' evaluation needs, by metric: one pass for all of them."""
    wanted = {_watched(alarm): [] for alarm in alarms}
    seconds = max((int(a.period) * int(a.evaluation_periods) for a in alarms), default=0)
    start = now - timedelta(seconds=seconds)
    metrics = {key[:2] for key in wanted}
    for datum in list(backend().metric_data):
        if (datum.namespace, datum.name) in metrics and utc(datum.timestamp) > start:
            wanted.get(metric_of(datum), []).append(datum)
    return wanted


def evaluate(alarm: Alarm, data: dict[Key, list[MetricDatumBase]], now: datetime) -> Verdict:
    """The state that an alarm should have. ``data``: from ``index``; ``now``: aware."""
    compare, words = COMPARISONS[alarm.comparison_operator]
    count = int(alarm.evaluation_periods)
    needed = int(alarm.datapoints_to_alarm or count)
    treatment = alarm.treat_missing_data or "missing"
    points = _datapoints(alarm, data[_watched(alarm)], now)
    present = [value for value in points if value is not None]
    breaching = sum(compare(value, float(alarm.threshold)) for value in present)
    if not present and treatment == "missing":
        return Verdict("INSUFFICIENT_DATA", f"Insufficient Data: {count} datapoints were unknown.")
    if not present and treatment == "ignore":
        return Verdict(alarm.state_value, alarm.state_reason)
    if treatment == "breaching":
        breaching += count - len(present)
    elif treatment in ("missing", "ignore"):
        needed = min(needed, len(present))
    shown = ", ".join("missing" if value is None else f"{value:g}" for value in points)
    crossed = breaching >= needed
    reason = (
        f"Threshold Crossed: {breaching} out of the last {count} datapoints [{shown}] "
        f"{'was' if breaching == 1 else 'were'} {words} the threshold ({float(alarm.threshold):g})."
    )
    return Verdict("ALARM" if crossed else "OK", reason)


def metric_of(datum: MetricDatumBase) -> Key:
    """Which metric a datum is of: namespace, name and all of its dimensions."""
    return datum.namespace, datum.name, _dimensions(datum.dimensions)


def utc(time: datetime) -> datetime:
    """moto keeps its own times without a zone, and clients' as they were sent."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _watched(alarm: Alarm) -> Key:
    return alarm.namespace, alarm.metric_name, _dimensions(alarm.dimensions)


def _dimensions(dimensions: Iterable[Dimension]) -> frozenset:
    return frozenset((dimension.name, dimension.value) for dimension in dimensions)


def _datapoints(alarm: Alarm, data: list[MetricDatumBase], now: datetime) -> list[float | None]:
    """The statistic in each of the evaluation periods, the newest first; None where there is no data."""
    periods: list[list[MetricDatumBase]] = [[] for _ in range(int(alarm.evaluation_periods))]
    for datum in data:
        age = int((now - utc(datum.timestamp)).total_seconds() // int(alarm.period))
        if age < len(periods) and (not alarm.unit or alarm.unit == datum.unit):
            periods[max(age, 0)].append(datum)  # a client's clock may be a little ahead
    return [_statistic(alarm.statistic, period) if period else None for period in periods]


def _statistic(name: str, data: list[MetricDatumBase]) -> float:
    sets = [
        (d.sample_count, d.sum, d.min, d.max)
        if isinstance(d, MetricAggregatedDatum)
        else (1, d.value, d.value, d.value)
        for d in data
    ]
    counts, sums, lows, highs = zip(*sets, strict=True)
    match name:
        case "SampleCount":
            return sum(counts)
        case "Sum":
            return sum(sums)
        case "Average":
            return sum(sums) / sum(counts)
        case "Minimum":
            return min(lows)
        case "Maximum":
            return max(highs)
    raise ValueError(name)
