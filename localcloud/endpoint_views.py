"""An endpoint's document as DescribeEndpoint and ListEndpoints show it."""

import time

from localcloud.paging import page

DESCRIBED = (
    "EndpointName",
    "EndpointArn",
    "EndpointConfigName",
    "EndpointStatus",
    "FailureReason",
    "CreationTime",
    "LastModifiedTime",
    "PendingDeploymentSummary",
    "LastDeploymentConfig",
)
LISTED = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
SORT_KEYS = {"Name": "EndpointName", "CreationTime": "CreationTime", "Status": "EndpointStatus"}
PAGE = 10


def description(document: dict) -> dict:
    """DescribeEndpoint's answer; variants are shown once the endpoint has been in service."""
    answer = {key: document[key] for key in DESCRIBED if document.get(key) is not None}
    config = document["Deployment"]["Config"]
    if document["EndpointStatus"] not in ("Creating", "Failed"):
        answer["ProductionVariants"] = _variants(
            document["Deployment"], document.get("Desired"), document["LastModifiedTime"]
        )
    if capture := config.get("DataCaptureConfig"):
        enabled = capture.get("EnableCapture", True)
        answer["DataCaptureConfig"] = {
            "EnableCapture": enabled,
            "CaptureStatus": "Started" if enabled else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    return answer


def listing(documents: list[dict], params: dict) -> dict:
    """ListEndpoints' answer."""
    found = [d for d in documents if _matches(d, params)]
    key = SORT_KEYS[params.get("SortBy", "CreationTime")]
    found.sort(key=lambda d: d[key], reverse=params.get("SortOrder", "Descending") == "Descending")
    shown, more = page(found, params, PAGE)
    return {"Endpoints": [{k: d[k] for k in LISTED} for d in shown], **more}


def pending(deployment: dict, status: str, message: str) -> dict:
    """PendingDeploymentSummary of an update that begins: what it brings, and how far it is."""
    now = {"Status": status, "StatusMessage": message, "StartTime": time.time()}
    config = deployment["Config"]
    types = {v["VariantName"]: v.get("InstanceType") for v in config["ProductionVariants"]}
    return {
        "EndpointConfigName": config["EndpointConfigName"],
        "StartTime": now["StartTime"],
        "ProductionVariants": [
            {**v, "InstanceType": types[v["VariantName"]], "VariantStatus": [now]}
            for v in _variants(deployment, None, now["StartTime"])
        ],
    }


def advanced(document: dict, status: str, message: str) -> dict:
    """An endpoint's PendingDeploymentSummary, one stage further."""
    pending = document["PendingDeploymentSummary"]
    now = {"Status": status, "StatusMessage": message, "StartTime": time.time()}
    variants = [{**v, "VariantStatus": [now]} for v in pending["ProductionVariants"]]
    return {**pending, "ProductionVariants": variants}


def _variants(deployment: dict, desired: dict | None, resolved: float) -> list[dict]:
    """``desired``: what the deployment is being scaled to, if it is; ``resolved``: when its images were."""
    present = deployment["Config"]["ProductionVariants"]
    aims = (desired or deployment)["Config"]["ProductionVariants"]
    models = deployment["Models"]
    return [
        _variant(variant, aim, models[variant["ModelName"]], resolved)
        for variant, aim in zip(present, aims, strict=True)
    ]


def _variant(variant: dict, desired: dict, model: dict, resolved: float) -> dict:
    image = (model.get("PrimaryContainer") or model["Containers"][0])["Image"]
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": resolved}],
        "CurrentWeight": variant.get("InitialVariantWeight", 1.0),
        "DesiredWeight": desired.get("InitialVariantWeight", 1.0),
        "CurrentInstanceCount": variant.get("InitialInstanceCount", 1),
        "DesiredInstanceCount": desired.get("InitialInstanceCount", 1),
    }


def _matches(document: dict, params: dict) -> bool:
    created, modified = document["CreationTime"], document["LastModifiedTime"]
    return (
        params.get("NameContains", "") in document["EndpointName"]
        and params.get("StatusEquals", document["EndpointStatus"]) == document["EndpointStatus"]
        and params.get("CreationTimeAfter", created) <= created <= params.get("CreationTimeBefore", created)
        and params.get("LastModifiedTimeAfter", modified)
        <= modified
        <= params.get("LastModifiedTimeBefore", modified)
    )
