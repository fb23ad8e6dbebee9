"""How an endpoint's traffic moves from one fleet to another: DeploymentConfig, carried out.

The terms are AWS's: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html. ``blue`` is
the fleet that serves, ``green`` its successor; a stage shifts traffic to green and then bakes, which
is to wait while the alarms of AutoRollbackConfiguration are watched.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from localcloud import alarms
from localcloud.errors import validation
from localcloud.fleet import Fleet

LOOK_SECONDS = 0.1  # between two looks at the alarms
TIMEOUT_SECONDS = 8 * 3600  # AWS's longest; it names no default
LARGEST_STEP = 50  # percent of the fleet, AWS's limit for canaries and linear steps


class Overtaken(Exception):
    """The rollout is not wanted any more: the endpoint is being deleted, or localcloud stopped."""


@dataclass(frozen=True)
class Traffic:
    """Who answers an endpoint's requests: one fleet, or during a rollout two."""

    blue: Fleet
    green: Fleet | None = None
    share: float = 0.0  # of the requests, that green answers

    @property
    def fleets(self) -> list[Fleet]:
        return [fleet for fleet in (self.blue, self.green) if fleet]

    def pick(self) -> Fleet:
        """The fleet for one request; all of the request is that fleet's."""
        return self.green if self.green and random.random() < self.share else self.blue


@dataclass(frozen=True)
class Stage:
    """A shift of traffic and the baking after it."""

    share: float  # of all requests, to green from here on
    bake_seconds: int
    wait: str  # the member of the policy that says so, as VariantStatus names it


@dataclass(frozen=True)
class Rollout:
    """A DeploymentConfig as stages; ``document`` is what DescribeEndpoint repeats of it."""

    stages: tuple[Stage, ...]
    alarms: tuple[str, ...]
    timeout_seconds: float
    document: dict = field(default_factory=dict)

    @classmethod
    def parse(cls, document: dict | None, instances: int) -> "Rollout":
        """``instances``: of the new fleet. Raises AwsError for what AWS or localcloud refuses."""
        document = document or {}
        if document.get("RollingUpdatePolicy"):
            raise validation("localcloud does not provide rolling updates (RollingUpdatePolicy).")
        policy = document.get("BlueGreenUpdatePolicy") or {}
        names = [a["AlarmName"] for a in (document.get("AutoRollbackConfiguration") or {}).get("Alarms", [])]
        if missing := alarms.missing(names):
            raise validation(f"Could not find CloudWatch alarm {', '.join(missing)}: create it first.")
        stages = _stages(policy, instances)
        timeout = policy.get("MaximumExecutionTimeoutInSeconds", TIMEOUT_SECONDS)
        if timeout <= (baking := sum(stage.bake_seconds for stage in stages)):
            raise validation(
                f"MaximumExecutionTimeoutInSeconds is {timeout}, and the rollout waits {baking} seconds."
            )
        return cls(tuple(stages), tuple(names), timeout, document)

    def carry_out(
        self,
        shift: Callable[[float], None],
        show: Callable[[str, str], None],
        wanted: Callable[[], bool],
    ) -> str | None:
        """Shift and bake, stage by stage; None, or the reason to roll back.

        ``shift(share)`` moves traffic, ``show(status, message)`` makes VariantStatus. Raises Overtaken once
        ``wanted()`` is false, and whatever the others raise.
        """
        deadline = time.monotonic() + self.timeout_seconds
        for stage in self.stages:
            where = "full capacity" if stage.share == 1 else f"{stage.share:.0%} of capacity"
            show("ActivatingTraffic", f"Activating traffic on {where}.")
            shift(stage.share)
            baking = (
                f"Baking for {stage.bake_seconds} seconds ({stage.wait}) with traffic enabled on {where}."
            )
            show("Baking", baking)
            end = time.monotonic() + stage.bake_seconds
            while True:
                if not wanted():
                    raise Overtaken
                # AWS documents that it rolls back, but not in which words.
                if firing := alarms.firing(self.alarms):
                    return (
                        f"Rolled back: CloudWatch alarm {', '.join(firing)} is in state ALARM "
                        f"with traffic on {where} of the new fleet."
                    )
                if time.monotonic() > deadline:
                    return f"Rolled back: the update took more than {self.timeout_seconds} seconds."
                if (left := end - time.monotonic()) <= 0:
                    break
                time.sleep(min(left, LOOK_SECONDS))
        return None


def _stages(policy: dict, instances: int) -> list[Stage]:
    routing = policy.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE"}
    wait = routing.get("WaitIntervalInSeconds", 0)
    last = Stage(1.0, policy.get("TerminationWaitInSeconds", 0), "TerminationWaitInSeconds")
    if routing["Type"] == "ALL_AT_ONCE":
        return [last]
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}[routing["Type"]]
    if member not in routing:
        raise validation(f"{routing['Type']} traffic routing needs {member}.")
    percent = _percent(member, routing[member], instances)
    shares = [percent] if routing["Type"] == "CANARY" else range(percent, 100, percent)
    return [*(Stage(share / 100, wait, "WaitIntervalInSeconds") for share in shares), last]


def _percent(member: str, size: dict, instances: int) -> int:
    value = size["Value"]
    percent = value if size["Type"] == "CAPACITY_PERCENT" else -(-100 * value // instances)
    if percent > LARGEST_STEP:
        raise validation(
            f"{member} must be at most {LARGEST_STEP} % of the new fleet; {value} ({size['Type']}) is "
            f"{percent} % of {instances} instances."
        )
    return percent
