"""What an endpoint configuration asks for, as what this machine runs; the rest is refused by name."""

from dataclasses import dataclass

from localcloud.accepted import NAME
from localcloud.errors import validation
from localcloud.instances import Limits, limits
from localcloud.runtime import SERVE, Image, Runtime, UnknownImage

MOST_INSTANCES = 8  # processes per endpoint, on one machine
STARTUP_SECONDS = 8 * 60  # SageMaker's own limit where the variant names none

# A member of the request -> what it asks for. Not listed, hence accepted and without effect on one
# machine: AcceleratorType, RoutingConfig, volumes, keys, networks, core dumps.
REFUSED_IN_CONFIG = {
    "AsyncInferenceConfig": "asynchronous inference",
    "ShadowProductionVariants": "shadow variants",
    "ExplainerConfig": "online explanations",
}
REFUSED_IN_VARIANT = {
    "ServerlessConfig": "serverless inference",
    "ManagedInstanceScaling": "managed instance scaling",
    "InstancePools": "instance pools",
}
REFUSED_IN_CONTAINER = {
    "MultiModelConfig": "multi-model endpoints",
    "ModelPackageName": "model packages",
    "InferenceSpecificationName": "inference recommendations",
    "ModelDataSource": "ModelDataSource (use ModelDataUrl with a model.tar.gz)",
    "AdditionalModelDataSources": "additional model data sources",
}


@dataclass(frozen=True)
class Variant:
    """One production variant, resolved down to its image and artifact."""

    name: str
    image: Image
    image_uri: str
    model_data_url: str | None
    environment: dict[str, str]
    instances: int
    weight: float
    startup_seconds: float
    limits: Limits


def snapshot(config_name: str, store) -> dict:
    """The configuration with its models, as they are now: ``{"Config": …, "Models": {name: …}}``.

    A deployment keeps it, since configuration and models may be deleted while the endpoint lives.
    Raises AwsError for a configuration or a model that does not exist.
    """
    config = store.get("endpoint-config", config_name)
    if config is None:
        raise validation(f'Could not find endpoint configuration "{config_name}".')
    models = {}
    for variant in config["ProductionVariants"]:
        if name := variant.get("ModelName"):
            models[name] = store.get("model", name)
            if models[name] is None:
                raise validation(f'Could not find model "{name}".')
    return {"Config": config, "Models": models}


def variants(deployment: dict, runtime: Runtime) -> list[Variant]:
    """The variants of a snapshot; raises AwsError for what localcloud cannot honour."""
    config = deployment["Config"]
    _refuse(config, REFUSED_IN_CONFIG, "endpoint configuration")
    found = [_variant(v, deployment["Models"], runtime) for v in config["ProductionVariants"]]
    if (instances := sum(v.instances for v in found)) > MOST_INSTANCES:
        raise validation(
            f"localcloud starts at most {MOST_INSTANCES} instances of an endpoint on one machine, "
            f"and InitialInstanceCount asks for {instances}."
        )
    if not any(v.weight for v in found):
        raise validation("At least one variant needs an InitialVariantWeight above 0.")
    return found


def instances(deployment: dict) -> int:
    """How many instances a snapshot asks for, of all variants."""
    return sum(v.get("InitialInstanceCount", 1) for v in deployment["Config"]["ProductionVariants"])


def refuse_renaming(current: dict, wanted: dict) -> None:
    """Raises AwsError unless both snapshots have the same variants, which a DeploymentConfig needs.

    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-exclusions.html
    """
    before, after = ({v["VariantName"] for v in d["Config"]["ProductionVariants"]} for d in (current, wanted))
    if before != after:
        raise validation(
            f"With a DeploymentConfig the variants must keep their names: {', '.join(sorted(before))}, "
            f"not {', '.join(sorted(after))}."
        )


def rescaled(deployment: dict, desired: list[dict]) -> dict:
    """The snapshot with the counts and weights of UpdateEndpointWeightsAndCapacities.

    Raises AwsError for a variant that it does not have, and for what ``variants`` refuses.
    """
    wanted = {item["VariantName"]: item for item in desired}
    present = [v["VariantName"] for v in deployment["Config"]["ProductionVariants"]]
    if unknown := sorted(wanted.keys() - present):
        raise validation(f"Variant {', '.join(unknown)} not found; the endpoint has {', '.join(present)}.")
    for item in desired:
        _refuse(item, {"ServerlessUpdateConfig": "serverless inference"}, f"variant {item['VariantName']}")
        if item.get("DesiredInstanceCount") == 0:
            raise validation("DesiredInstanceCount must be at least 1: delete the endpoint instead.")
    return _changed(deployment, wanted)


def retained(deployment: dict, current: dict, excluded: list[dict]) -> dict:
    """A new snapshot with what RetainAllVariantProperties keeps of the ``current`` one."""
    left_out = {item["VariantPropertyType"] for item in excluded}
    members = {"DesiredInstanceCount": "InitialInstanceCount", "DesiredWeight": "InitialVariantWeight"}
    kept = {
        v["VariantName"]: {
            desired: v[m] for desired, m in members.items() if desired not in left_out and m in v
        }
        for v in current["Config"]["ProductionVariants"]
    }
    deployment = _changed(deployment, kept)
    capture = current["Config"].get("DataCaptureConfig")
    if capture and "DataCaptureConfig" not in left_out:
        deployment["Config"]["DataCaptureConfig"] = capture
    return deployment


def _changed(deployment: dict, wanted: dict[str, dict]) -> dict:
    def change(variant: dict) -> dict:
        item = wanted.get(variant["VariantName"], {})
        count = item.get("DesiredInstanceCount", variant.get("InitialInstanceCount", 1))
        weight = item.get("DesiredWeight", variant.get("InitialVariantWeight", 1.0))
        return {**variant, "InitialInstanceCount": count, "InitialVariantWeight": weight}

    config = deployment["Config"]
    variants = [change(variant) for variant in config["ProductionVariants"]]
    return {**deployment, "Config": {**config, "ProductionVariants": variants}}


def _variant(variant: dict, models: dict[str, dict], runtime: Runtime) -> Variant:
    where = f"variant {variant['VariantName']}"
    if not NAME.fullmatch(variant["VariantName"]):  # it names folders, too
        raise validation(f"VariantName {variant['VariantName']!r} must match {NAME.pattern}.")
    _refuse(variant, REFUSED_IN_VARIANT, where)
    if not variant.get("ModelName"):
        raise validation(f"localcloud does not provide inference components ({where} names no model).")
    container = _container(models[variant["ModelName"]])
    try:
        image = runtime.find_image(container["Image"], SERVE)
    except UnknownImage as error:
        raise validation(f"Model {variant['ModelName']}: {error}.") from error
    return Variant(
        name=variant["VariantName"],
        image=image,
        image_uri=container["Image"],
        model_data_url=container.get("ModelDataUrl"),
        environment=container.get("Environment") or {},
        instances=variant.get("InitialInstanceCount", 1),
        weight=variant.get("InitialVariantWeight", 1.0),
        startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_SECONDS),
        limits=limits(variant.get("InstanceType", "")),
    )


def _container(model: dict) -> dict:
    where = f"model {model['ModelName']}"
    containers = [c for c in [model.get("PrimaryContainer"), *(model.get("Containers") or [])] if c]
    if len(containers) != 1:
        raise validation(f"localcloud serves one container, and {where} has {len(containers)}.")
    _refuse(containers[0], REFUSED_IN_CONTAINER, where)
    if containers[0].get("Mode", "SingleModel") != "SingleModel":
        raise validation(f"localcloud does not provide multi-model endpoints ({where}).")
    return containers[0]


def _refuse(document: dict, refused: dict[str, str], where: str) -> None:
    for member, feature in refused.items():
        if document.get(member):
            raise validation(f"localcloud does not provide {feature} ({member} in {where}).")
