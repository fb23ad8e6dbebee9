"""An endpoint's document as DescribeEndpoint and ListEndpoints show it."""

DESCRIBED = (
    "EndpointName",
    "EndpointArn",
    "EndpointConfigName",
    "EndpointStatus",
    "FailureReason",
    "CreationTime",
    "LastModifiedTime",
    "PendingDeploymentSummary",
)
LISTED = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
SORT_KEYS = {"Name": "EndpointName", "CreationTime": "CreationTime", "Status": "EndpointStatus"}
PAGE = 10


def description(document: dict) -> dict:
    """DescribeEndpoint's answer; variants are shown once the endpoint has been in service."""
    answer = {key: document[key] for key in DESCRIBED if document.get(key) is not None}
    config = document["Deployment"]["Config"]
    if document["EndpointStatus"] not in ("Creating", "Failed"):
        answer["ProductionVariants"] = [_variant(v, document) for v in config["ProductionVariants"]]
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
    """ListEndpoints' answer; ``NextToken`` is the position of the next one."""
    found = [d for d in documents if _matches(d, params)]
    key = SORT_KEYS[params.get("SortBy", "CreationTime")]
    found.sort(key=lambda d: d[key], reverse=params.get("SortOrder", "Descending") == "Descending")
    start = int(params.get("NextToken") or 0)
    end = start + params.get("MaxResults", PAGE)
    answer = {"Endpoints": [{k: d[k] for k in LISTED} for d in found[start:end]]}
    return answer if end >= len(found) else {**answer, "NextToken": str(end)}


def _variant(variant: dict, document: dict) -> dict:
    model = document["Deployment"]["Models"][variant["ModelName"]]
    image = (model.get("PrimaryContainer") or model["Containers"][0])["Image"]
    weight = variant.get("InitialVariantWeight", 1.0)
    count = variant.get("InitialInstanceCount", 1)
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [
            {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": document["LastModifiedTime"]}
        ],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
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
