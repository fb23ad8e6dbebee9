"""A Lambda function's document: made from requests, checked as AWS checks, shown as AWS shows it."""

import hashlib
import re
import uuid
from datetime import UTC, datetime

from localcloud.errors import AwsError
from localcloud.runtime import FUNCTION, Runtime, UnknownImage
from localcloud.settings import ACCOUNT, REGION

IDENTIFIER = re.compile(
    r"(?:arn:aws:lambda:[a-z0-9-]+:)?(?:\d{12}:)?(?:function:)?(?P<name>[A-Za-z0-9_-]{1,64})"
    r"(?::(?P<qualifier>[$A-Za-z0-9_-]+))?"
)
CONFIGURED = ("Role", "Description", "Timeout", "MemorySize", "Environment", "ImageConfig")
# Accepted and shown, without effect on one machine.
NOTED = ("EphemeralStorage", "LoggingConfig", "TracingConfig")
CREATED_WITH = {"FunctionName", "Code", "PackageType", "Architectures", "Tags", *CONFIGURED, *NOTED}
LIMITS = {"Timeout": (1, 900), "MemorySize": (128, 10240)}
RESERVED = {
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
}  # fmt: skip


def created(params: dict, runtime: Runtime) -> dict:
    """CreateFunction's parameters as a document; raises AwsError for what AWS or localcloud refuses."""
    if (kind := params.get("PackageType", "Zip")) != "Image":
        raise _invalid(f"localcloud runs PackageType=Image only, and not {kind}.")
    _refuse_others(params, CREATED_WITH)
    name, qualifier = parse_name(params["FunctionName"])
    if qualifier:
        raise _invalid("A function is created without a qualifier.")
    document = {
        "FunctionName": name,
        "FunctionArn": arn(name),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Architectures": params.get("Architectures") or ["x86_64"],
        "Tags": params.get("Tags") or {},
        "EphemeralStorage": {"Size": 512},
        "TracingConfig": {"Mode": "PassThrough"},
    }
    return _stamped({**document, **_configured(params), **_code(params.get("Code") or {}, runtime)})


def changed_configuration(document: dict, params: dict, runtime: Runtime) -> dict:
    """UpdateFunctionConfiguration."""
    _refuse_others(params, {"RevisionId", *CONFIGURED, *NOTED})
    return _stamped({**document, **_configured(params)})


def changed_code(document: dict, params: dict, runtime: Runtime) -> dict:
    """UpdateFunctionCode."""
    _refuse_others(params, {"RevisionId", "Architectures", "ImageUri"})
    architectures = params.get("Architectures") or document["Architectures"]
    return _stamped({**document, **_code(params, runtime), "Architectures": architectures})


def check_revision(document: dict, params: dict) -> None:
    if params.get("RevisionId", document["RevisionId"]) != document["RevisionId"]:
        message = (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )
        raise AwsError("PreconditionFailedException", message, 412)


def configuration(document: dict) -> dict:
    """FunctionConfiguration, as most operations answer it."""
    shown = ("FunctionName", "FunctionArn", "Role", "Description", "Timeout", "MemorySize", "LastModified",
             "CodeSha256", "RevisionId", "Architectures", *NOTED)  # fmt: skip
    answer = {key: document[key] for key in shown if key in document}
    if document.get("Environment"):
        answer["Environment"] = {"Variables": document["Environment"]}
    if document.get("ImageConfig"):
        answer["ImageConfigResponse"] = {"ImageConfig": document["ImageConfig"]}
    return {
        **answer,
        "PackageType": "Image",
        "CodeSize": 0,
        "Version": "$LATEST",
        "State": "Active",
        "LastUpdateStatus": "Successful",
    }


def with_code(document: dict) -> dict:
    """GetFunction's answer."""
    repository = document["ImageUri"].split("@")[0]
    head, slash, tail = repository.rpartition("/")
    resolved = f"{head}{slash}{tail.split(':')[0]}@sha256:{document['CodeSha256']}"
    code = {"RepositoryType": "ECR", "ImageUri": document["ImageUri"], "ResolvedImageUri": resolved}
    return {"Configuration": configuration(document), "Code": code, "Tags": document["Tags"]}


def arn(name: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def parse_name(identifier: str) -> tuple[str, str]:
    """A name, partial ARN or ARN -> (name, qualifier or ``""``)."""
    found = IDENTIFIER.fullmatch(identifier)
    if not found:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value '{identifier}' at 'functionName' failed to satisfy "
            f"constraint: Member must satisfy regular expression pattern: {IDENTIFIER.pattern}",
        )
    return found["name"], found["qualifier"] or ""


def check_qualifier(qualifier: str) -> None:
    if qualifier not in ("", "$LATEST"):
        raise _invalid(f"localcloud has no versions or aliases, only $LATEST, and not {qualifier}.")


def _configured(params: dict) -> dict:
    for member, (least, most) in LIMITS.items():
        if not least <= params.get(member, least) <= most:
            raise _invalid(f"{member} must be from {least} to {most}, and not {params[member]}.")
    found = {key: params[key] for key in (*CONFIGURED, *NOTED) if key in params}
    if "Environment" in found:
        found["Environment"] = found["Environment"].get("Variables") or {}
        reserved = sorted(k for k in found["Environment"] if k in RESERVED or k.startswith("AWS_LAMBDA_"))
        if reserved:
            raise _invalid(
                "Lambda was unable to configure your environment variables because the environment "
                "variables you have provided contains reserved keys that are currently not supported for "
                f"modification. Reserved keys used in this request: {', '.join(reserved)}"
            )
    return found


def _code(code: dict, runtime: Runtime) -> dict:
    uri = code.get("ImageUri")
    if not uri:
        raise _invalid("localcloud needs Code.ImageUri: it runs functions from container images only.")
    try:
        runtime.find_image(uri, FUNCTION)
    except UnknownImage as error:
        message = f"Source image {uri} does not exist. Provide a valid source image. ({error})"
        raise _invalid(message) from error
    # A process has no image to take a digest of; this must only change with the URI.
    return {"ImageUri": uri, "CodeSha256": hashlib.sha256(uri.encode()).hexdigest()}


def _stamped(document: dict) -> dict:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "+0000"
    return {**document, "LastModified": now, "RevisionId": str(uuid.uuid4())}


def _refuse_others(params: dict, known: set[str]) -> None:
    for member in sorted(params.keys() - known):
        if params[member]:
            raise _invalid(f"localcloud does not provide {member} for functions.")


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValueException", message, 400)
