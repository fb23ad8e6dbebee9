"""SageMaker's API as moto answers it, with the operations replaced that localcloud really carries out.

moto's response layer is where a request is still whole; its backend has dropped half of it. Every
replaced operation first has moto do its own bookkeeping (ARNs, tags, listings of other kinds).
"""

import json
import time
from collections.abc import Callable

from moto.core.utils import camelcase_to_underscores, get_service_model
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig
from moto.sagemaker.responses import SageMakerResponse

from localcloud.accepted import ANY, Table, check
from localcloud.endpoints import Endpoints
from localcloud.errors import AwsError, validation
from localcloud.jobs import Jobs
from localcloud.model_packages import ModelRegistry
from localcloud.pipelines import Pipelines
from localcloud.processing import ProcessingContract
from localcloud.settings import ACCOUNT, REGION
from localcloud.store import Store
from localcloud.training import TrainingContract

MODEL: Table = {
    "ModelName": ANY,
    "PrimaryContainer": ANY,  # what of it cannot be served is refused when an endpoint is to serve it
    "Containers": ANY,
    "InferenceExecutionConfig": ANY,
    "ExecutionRoleArn": ANY,
    "Tags": ANY,
    "VpcConfig": ANY,
    "EnableNetworkIsolation": (False,),
}

Bookkeeping = Callable[[], None]
Operation = Callable[[dict, Bookkeeping], dict]


def install(store: Store, jobs: Jobs, endpoints: Endpoints, pipelines: Pipelines) -> None:
    """Replace moto's operations. Until then moto answers alone, and nothing is carried out."""
    operations = {
        **_jobs(jobs, TrainingContract, "TrainingJob"),
        **_jobs(jobs, ProcessingContract, "ProcessingJob"),
        **_endpoints(endpoints),
        **pipelines.operations(),
        **ModelRegistry(store).operations(),
        **_documents(store, "Model", "model", "model", _no_check, MODEL),
        **_documents(
            store, "EndpointConfig", "endpoint-config", "endpoint configuration",
            lambda params: _check_models(store, params),
        ),
    }  # fmt: skip
    for name, operation in operations.items():
        method = camelcase_to_underscores(name)
        setattr(SageMakerResponse, method, _answering(operation, getattr(SageMakerResponse, method, None)))


def honour_instance_types() -> None:
    """Have moto take every instance type that botocore knows for hosting: its own list is years old.

    Called once, before anything is created.
    """
    known = get_service_model("sagemaker").shape_for("ProductionVariantInstanceType").enum

    def validate_instance_type(config: FakeEndpointConfig, instance_type: str) -> None:
        if instance_type not in known:
            raise ValidationError(message=f"{instance_type!r} is not an instance type for hosting")

    FakeEndpointConfig.validate_instance_type = validate_instance_type


def _answering(operation: Operation, original) -> Callable:
    def method(response: SageMakerResponse):
        params = json.loads(response.body or "{}")

        def bookkeeping() -> None:
            if original is not None:
                original(response)

        try:
            return _wire(200, operation(params, bookkeeping))
        except AwsError as error:
            return _wire(error.status, {"__type": error.code, "message": error.message})

    return method


def _wire(status: int, document: dict) -> tuple[int, dict, str]:
    headers = {"status": status, "Content-Type": "application/x-amz-json-1.1"}
    return status, headers, json.dumps(document)


def _jobs(jobs: Jobs, contract, noun: str) -> dict[str, Operation]:
    def name(params: dict) -> str:
        return params.get(f"{noun}Name", "")

    return {
        f"Create{noun}": lambda params, keep: jobs.create(contract, params, keep),
        f"Describe{noun}": lambda params, _: jobs.describe(contract, name(params)),
        f"Stop{noun}": lambda params, _: jobs.stop(contract, name(params)),
        f"List{noun}s": lambda params, _: jobs.list(contract, params),
    }


def _endpoints(endpoints: Endpoints) -> dict[str, Operation]:
    def then_kept(carry_out: Callable[[dict], dict]) -> Operation:
        def operation(params: dict, keep: Bookkeeping) -> dict:
            answer = carry_out(params)
            keep()
            return answer

        return operation

    return {
        "CreateEndpoint": then_kept(endpoints.create),
        "UpdateEndpoint": then_kept(endpoints.update),
        "UpdateEndpointWeightsAndCapacities": lambda params, _: endpoints.scale(params),
        "DeleteEndpoint": then_kept(endpoints.delete),
        "DescribeEndpoint": lambda params, _: endpoints.describe(params.get("EndpointName", "")),
        "ListEndpoints": lambda params, _: endpoints.list(params),
    }


def _documents(
    store: Store, noun: str, kind: str, words: str, check_more, table: Table | None = None
) -> dict[str, Operation]:
    """Create, Describe and Delete of what is only described: kept as it was requested."""
    member = f"{noun}Name"

    def create(params: dict, keep: Bookkeeping) -> dict:
        check(f"Create{noun}", params, member, table)
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{params[member]}"
        if store.get(kind, params[member]):
            raise validation(f'Cannot create already existing {words} "{arn}".')
        check_more(params)
        keep()
        document = {key: value for key, value in params.items() if key != "Tags"}
        store.put(kind, params[member], {**document, f"{noun}Arn": arn, "CreationTime": time.time()})
        return {f"{noun}Arn": arn}

    def describe(params: dict, keep: Bookkeeping | None) -> dict:
        document = store.get(kind, params.get(member, ""))
        if document is None:
            raise validation(f'Could not find {words} "{params.get(member, "")}".')
        return document

    def delete(params: dict, keep: Bookkeeping) -> dict:
        describe(params, None)
        keep()
        store.delete(kind, params[member])
        return {}

    return {f"Create{noun}": create, f"Describe{noun}": describe, f"Delete{noun}": delete}


def _no_check(params: dict) -> None:
    pass


def _check_models(store: Store, params: dict) -> None:
    for variant in params["ProductionVariants"]:
        if (name := variant.get("ModelName")) and store.get("model", name) is None:
            raise validation(f'Could not find model "{name}".')
