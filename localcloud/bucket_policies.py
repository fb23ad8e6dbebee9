"""Bucket policies: kept and shown as they were put, and enforced as far as this machine can judge them."""

import json

from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.s3.models import FakeBucket


def leave_out_conditions() -> None:
    """Have moto judge by the statements without a condition alone. Called once, at start.

    moto takes a condition that it cannot judge for a refusal. Those of a bucket policy are about TLS,
    networks and accounts, and here everything comes from one account over HTTP on one machine: a policy
    that refuses what comes without TLS would close the bucket.
    """

    def get_permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        statements = json.loads(bucket.policy)["Statement"]
        found = {
            IAMPolicyStatement(statement).is_action_permitted(action, resource)
            for statement in (statements if isinstance(statements, list) else [statements])
            if not statement.get("Condition")
        }
        for result in (PermissionResult.DENIED, PermissionResult.PERMITTED):
            if result in found:
                return result
        return PermissionResult.NEUTRAL

    FakeBucket.get_permission = get_permission
