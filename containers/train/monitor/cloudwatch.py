"""What SageMaker itself publishes about an endpoint, and the state of its alarms."""

from datetime import UTC, datetime

from botocore.exceptions import ClientError

from containers.common.aws import client
from containers.train.monitor.reading import Span, stamp

NAMESPACE = "AWS/SageMaker"
QUERIES = {  # name in the document -> (metric, statistic); latencies are in microseconds
    "invocations": ("Invocations", "Sum"),
    "client_errors": ("Invocation4XXErrors", "Sum"),
    "server_errors": ("Invocation5XXErrors", "Sum"),
    "latency": ("ModelLatency", "Average"),
    "slowest": ("ModelLatency", "Maximum"),
    "overhead": ("OverheadLatency", "Average"),
}


def endpoint_metrics(endpoint: str, variant: str, span: Span) -> dict[str, dict[str, float]]:
    """Of one variant, by name and start of the window: counts, and latencies in milliseconds.

    Empty where nothing is published.
    """
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions},
                "Period": span.step,
                "Stat": statistic,
            },
        }
        for name, (metric, statistic) in QUERIES.items()
    ]
    start, end = (datetime.fromtimestamp(time, UTC) for time in (span.since, span.until))
    pages = client("cloudwatch").get_paginator("get_metric_data")
    found: dict[str, dict[str, float]] = {}
    for page in pages.paginate(MetricDataQueries=queries, StartTime=start, EndTime=end):
        for result in page["MetricDataResults"]:
            scale = 1e-3 if QUERIES[result["Id"]][0].endswith("Latency") else 1
            for time, value in zip(result["Timestamps"], result["Values"], strict=True):
                window = stamp(span.window(int(time.timestamp())))
                found.setdefault(result["Id"], {})[window] = value * scale
    return found


def alarms(prefix: str) -> list[dict]:
    """The alarms whose names begin so: ``{"name", "state", "since", "reason"}``."""
    pages = client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
    return [
        {
            "name": alarm["AlarmName"],
            "state": alarm["StateValue"],
            "since": alarm["StateUpdatedTimestamp"].astimezone(UTC).isoformat(timespec="seconds"),
            "reason": alarm.get("StateReason", ""),
        }
        for page in pages
        for alarm in page["MetricAlarms"]
    ]


def refused(error: ClientError) -> str:
    """One line on why CloudWatch told nothing."""
    return f"{error.operation_name}: {error.response['Error']['Code']}"
