"""What SageMaker publishes about an endpoint to CloudWatch, measured here.

Names, units and dimensions: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html.
A request only adds to sums in memory; ``publish`` carries them to CloudWatch, from another thread.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from localcloud.alarms import backend
from localcloud.fleet import Fleet

INVOCATIONS = "AWS/SageMaker"
INSTANCES = "/aws/sagemaker/Endpoints"
NAMESPACES = (INVOCATIONS, INSTANCES)
UNITS = {"ModelLatency": "Microseconds", "OverheadLatency": "Microseconds", "CPUUtilization": "Percent"}
CPU_SECONDS = 10  # between two readings of what an instance's processes have used


@dataclass
class StatisticSet:
    """CloudWatch's own: what is left of many values."""

    count: int = 0
    sum: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, value: float) -> None:
        self.count += 1
        self.sum += value
        self.low = min(self.low, value)
        self.high = max(self.high, value)

    def document(self) -> dict:
        return {"SampleCount": self.count, "Sum": self.sum, "Minimum": self.low, "Maximum": self.high}


class Metrics:
    """Of all endpoints. Safe for threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._sets: dict[tuple[str, str], dict[str, StatisticSet]] = {}
        self._used: dict[object, tuple[float, float]] = {}  # instance -> when it was read, seconds of CPU
        self._next_reading = 0.0

    def record(
        self, fleet: Fleet, variant: str, status: int, model: float | None = None, overhead: float = 0.0
    ) -> None:
        """One request to a variant: its status (0: the container gave none), and the seconds spent in the
        model, where it was asked, and around it.
        """
        values = {
            "Invocations": 1,
            "InvocationsPerInstance": 1 / max(fleet.instances(variant), 1),
            "Invocation4XXErrors": int(400 <= status < 500),
            "Invocation5XXErrors": int(status >= 500 or status == 0),
        }
        if model is not None:
            values |= {"ModelLatency": model * 1e6, "OverheadLatency": overhead * 1e6}
        with self._lock:
            sets = self._sets.setdefault((fleet.endpoint, variant), defaultdict(StatisticSet))
            for name, value in values.items():
                sets[name].add(value)

    def publish(self, fleets: Iterable[Fleet]) -> None:
        """What was recorded since the last time, and how busy the instances of ``fleets`` were."""
        with self._lock:
            sets, self._sets = self._sets, {}
        for (endpoint, variant), metrics in sets.items():
            _put(INVOCATIONS, endpoint, variant, metrics)
        if (now := time.monotonic()) >= self._next_reading:
            self._next_reading = now + CPU_SECONDS
            self._publish_cpu(fleets)

    def _publish_cpu(self, fleets: Iterable[Fleet]) -> None:
        """CPUUtilization in percent of one core, so that an instance of four has up to 400."""
        before, self._used = self._used, {}
        sets: dict[tuple[str, str], StatisticSet] = defaultdict(StatisticSet)
        for fleet in fleets:
            for variant, instance, seconds in fleet.cpu_seconds():
                self._used[instance] = now, _ = time.monotonic(), seconds
                then, seconds_then = before.get(instance, (now, seconds))
                if now > then and seconds >= seconds_then:  # less than before: it has been started again
                    sets[fleet.endpoint, variant].add(100 * (seconds - seconds_then) / (now - then))
        for (endpoint, variant), usage in sets.items():
            _put(INSTANCES, endpoint, variant, {"CPUUtilization": usage})


def _put(namespace: str, endpoint: str, variant: str, metrics: dict[str, StatisticSet]) -> None:
    dimensions = [
        {"Name": "EndpointName", "Value": endpoint},
        {"Name": "VariantName", "Value": variant},
    ]
    data = [
        {
            "MetricName": name,
            "Dimensions": dimensions,
            "StatisticValues": values.document(),
            "Unit": UNITS.get(name, "None"),
        }
        for name, values in metrics.items()
    ]
    backend().put_metric_data(namespace, data)
