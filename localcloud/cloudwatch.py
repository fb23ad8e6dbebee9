"""CloudWatch as it lives: metrics published, alarms evaluated and their actions taken, every few seconds."""

import json
import logging
import threading
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime, timedelta

from moto.cloudwatch.models import Alarm, MetricAggregatedDatum

from localcloud.alarms import Verdict, backend, evaluate, index, is_evaluated, metric_of, utc
from localcloud.errors import AwsError
from localcloud.metrics import NAMESPACES
from localcloud.settings import ACCOUNT, REGION

TICK_SECONDS = 2
# What endpoints measure is kept in memory, and not for 15 months as by CloudWatch.
FINE = timedelta(minutes=15)  # as it was published, then by the minute
KEPT = timedelta(days=2)
LAMBDA = "arn:aws:lambda:"

log = logging.getLogger(__name__)


class CloudWatch:
    """``publish`` is called with every tick, ``invoke(function ARN, event)`` for an alarm's action."""

    def __init__(self, publish: Callable[[], None], invoke: Callable[[str, dict], None]):
        self._publish = publish
        self._invoke = invoke
        self._states: dict[str, str] = {}  # of the alarms, when their actions were taken last
        self._next_cleaning = datetime.now(UTC)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloudwatch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def shutdown(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def tick(self) -> None:
        """Publish, evaluate, act, forget: all that happens every TICK_SECONDS."""
        self._publish()
        now = datetime.now(UTC)
        alarms = list(backend().alarms.values())
        evaluated = [alarm for alarm in alarms if is_evaluated(alarm)]
        data = index(evaluated, now)
        for alarm in alarms:
            self._notice(alarm)  # what SetAlarmState has made of it
        for alarm in evaluated:
            # A state stays for a tick at least, so that whoever watches has seen it.
            if now - utc(alarm.state_updated_timestamp) >= timedelta(seconds=TICK_SECONDS):
                self._settle(alarm, evaluate(alarm, data, now))
        self._states = {alarm.name: alarm.state_value for alarm in alarms}
        if now >= self._next_cleaning:
            self._next_cleaning = now + FINE
            _fold(now - FINE, now - KEPT)

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self.tick()
            except Exception:  # one alarm that is beyond us must not end the evaluation of all
                log.exception("alarms could not be evaluated")

    def _settle(self, alarm: Alarm, verdict: Verdict) -> None:
        if alarm.state_value != verdict.state:
            alarm.update_state(verdict.reason, json.dumps({"version": "1.0"}), verdict.state)
            log.info("alarm %s is %s: %s", alarm.name, verdict.state, verdict.reason)
            self._notice(alarm)

    def _notice(self, alarm: Alarm) -> None:
        before = self._states.get(alarm.name, "OK")  # which is what moto begins with
        if before == alarm.state_value:
            return
        self._states[alarm.name] = alarm.state_value
        actions = {
            "ALARM": alarm.alarm_actions,
            "OK": alarm.ok_actions,
            "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
        }[alarm.state_value]
        for action in actions if alarm.actions_enabled else ():
            if not action.startswith(LAMBDA):
                log.warning("alarm %s: localcloud does not carry out the action %s", alarm.name, action)
                continue
            try:
                self._invoke(action, event(alarm, before))
            except AwsError as error:
                log.warning("alarm %s: %s: %s", alarm.name, action, error.message)


def event(alarm: Alarm, before: str) -> dict:
    """What a Lambda function gets of an alarm that has changed its state, as CloudWatch sends it."""
    time = utc(alarm.state_updated_timestamp).isoformat(timespec="milliseconds")
    metric = {
        "namespace": alarm.namespace,
        "name": alarm.metric_name,
        "dimensions": {d.name: d.value for d in alarm.dimensions},
    }
    stat = {"metric": metric, "period": alarm.period, "stat": alarm.statistic}
    return {
        "source": "aws.cloudwatch",
        "alarmArn": alarm.alarm_arn,
        "accountId": ACCOUNT,
        "time": time,
        "region": REGION,
        "alarmData": {
            "alarmName": alarm.name,
            "state": {
                "value": alarm.state_value,
                "reason": alarm.state_reason,
                "reasonData": alarm.state_reason_data,
                "timestamp": time,
            },
            "previousState": {"value": before},
            "configuration": {
                "description": alarm.description,
                "metrics": [{"id": "metric", "metricStat": stat, "returnData": True}],
            },
        },
    }


def _fold(finest: datetime, oldest: datetime) -> None:
    """Of what endpoints measured: from ``finest`` back one datum a minute is kept, before ``oldest`` none.

    Requests may append meanwhile, so that only a beginning of the list is replaced.
    """
    data = backend().metric_data
    count, kept, minutes = len(data), [], {}
    for datum in data[:count]:
        time = utc(datum.timestamp)
        if datum.namespace not in NAMESPACES or time >= finest:
            kept.append(datum)
        elif time >= oldest:
            key = (*metric_of(datum), time.replace(second=0, microsecond=0))
            if key not in minutes:
                minutes[key] = copy(datum)
                kept.append(minutes[key])
            else:
                _add(minutes[key], datum)
    data[:count] = kept


def _add(total: MetricAggregatedDatum, datum: MetricAggregatedDatum) -> None:
    total.sample_count += datum.sample_count
    total.sum += datum.sum
    total.min, total.max = min(total.min, datum.min), max(total.max, datum.max)
