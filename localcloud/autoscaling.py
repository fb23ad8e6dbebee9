"""Application Auto Scaling of endpoints: what moto, which records targets and policies, leaves out.

localcloud does not act on load: copies of a container on one machine share its cores, so that more of them
serve no more. What a policy would do, UpdateEndpointWeightsAndCapacities does.
"""

from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, applicationautoscaling_backends

from localcloud.errors import validation
from localcloud.settings import ACCOUNT, REGION

DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def forget_policies_with_their_target() -> None:
    """Have DeregisterScalableTarget delete the target's policies, which moto keeps. Called once, at start."""
    original = ApplicationAutoscalingBackend.deregister_scalable_target

    def deregister_scalable_target(backend, namespace: str, r_id: str, dimension: str) -> None:
        original(backend, namespace, r_id, dimension)
        backend.policies = {
            key: policy
            for key, policy in backend.policies.items()
            if (policy.resource_id, policy.scalable_dimension) != (r_id, dimension)
        }

    ApplicationAutoscalingBackend.deregister_scalable_target = deregister_scalable_target


def refuse_another_instance_type(endpoint: str, current: dict, wanted: dict) -> None:
    """Raises AwsError for an update that gives a variant with a scalable target another instance type.

    ``current``, ``wanted``: snapshots. https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
    """
    targets = applicationautoscaling_backends[ACCOUNT][REGION].targets.get(DIMENSION, {})
    before = _instance_types(current)
    for name, instance_type in _instance_types(wanted).items():
        if f"endpoint/{endpoint}/variant/{name}" in targets and before.get(name) not in (None, instance_type):
            raise validation(
                f"Variant {name} is registered as a scalable target, and its instance type cannot be changed "
                f"from {before[name]} to {instance_type}: deregister it from Application Auto Scaling first."
            )


def _instance_types(deployment: dict) -> dict[str, str | None]:
    return {v["VariantName"]: v.get("InstanceType") for v in deployment["Config"]["ProductionVariants"]}
