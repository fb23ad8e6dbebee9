"""ECR as moto answers it, with images that are really there: in the registry, which alone is asked for them.

Pushing and pulling go through ``registry_front``, at localcloud's own address, and so repositories
are called here what ``docker push`` can reach.
"""

import base64
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageNotFoundException, RepositoryNotEmptyException
from moto.ecr.models import Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from localcloud.registry import Manifest, NoRegistry, Registry
from localcloud.settings import ACCOUNT, REGION, Settings
from localcloud.store import Store

USER, PASSWORD = "AWS", "localcloud"  # what GetAuthorizationToken gives away
HOURS = 12  # for which a token is good on AWS
KIND = "image"  # in the store: when which digest was pushed
REFUSED = (
    "batch_check_layer_availability", "batch_delete_image", "complete_layer_upload", "initiate_layer_upload",
    "put_image", "upload_layer_part",
)  # fmt: skip


def install(settings: Settings, registry: Registry, store: Store) -> None:
    """Replace moto's operations on images. Until then moto answers alone, and nothing is deleted."""
    images = Images(registry, store)
    address = f"{settings.host}:{settings.port}"
    for known in ecr_backends[ACCOUNT][REGION].repositories.values():
        known.uri = f"{address}/{known.name}"
    original_create = ECRResponse.create_repository
    original_delete = ECRResponse.delete_repository

    def create_repository(response: ECRResponse) -> ActionResult:
        answer = original_create(response)
        created: Repository = answer.result["repository"]
        created.uri = f"{address}/{created.name}"
        return answer

    def delete_repository(response: ECRResponse) -> ActionResult:
        found = repository(response._get_param("repositoryName"))
        images.clear(found, force=response._get_param("force", False))
        return original_delete(response)

    def get_authorization_token(response: ECRResponse) -> ActionResult:
        token = {
            "authorizationToken": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
            "expiresAt": datetime.now(UTC) + timedelta(hours=HOURS),
            "proxyEndpoint": f"http://{address}",
        }
        return ActionResult({"authorizationData": [token]})

    ECRResponse.create_repository = create_repository
    ECRResponse.delete_repository = _answering(delete_repository)
    ECRResponse.get_authorization_token = get_authorization_token
    ECRResponse.list_images = _answering(images.list)
    ECRResponse.describe_images = _answering(images.describe)
    ECRResponse.batch_get_image = _answering(images.get)
    for name in REFUSED:
        setattr(ECRResponse, name, _refusing(name))


def repository(name: str) -> Repository:
    """Raises moto's RepositoryNotFoundException."""
    return ecr_backends[ACCOUNT][REGION]._get_repository(name)


def authorized(header: str) -> bool:
    """Whether an Authorization header carries what GetAuthorizationToken gives."""
    scheme, _, token = header.partition(" ")
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return scheme.lower() == "basic" and hmac.compare_digest(token.strip().encode(), expected.encode())


class Images:
    """The operations on images. The registry lists no image that has lost its tag, nor do these."""

    def __init__(self, registry: Registry, store: Store):
        self._registry = registry
        self._store = store

    def list(self, response: ECRResponse) -> ActionResult:
        """ListImages."""
        name = repository(response._get_param("repositoryName")).name
        if response._get_param("filter", {}).get("tagStatus") == "UNTAGGED":
            return ActionResult({"imageIds": []})
        found = self._tagged(name)
        return ActionResult({
            "imageIds": [{"imageDigest": m.digest, "imageTag": tag} for tag, m in found.items()]
        })  # fmt: skip

    def describe(self, response: ECRResponse) -> ActionResult:
        """DescribeImages: the named images, or all; one that is missing is an error."""
        found = repository(response._get_param("repositoryName"))
        tagged = self._tagged(found.name)
        manifests = {manifest.digest: manifest for manifest in tagged.values()}
        if wanted := response._get_param("imageIds"):
            manifests = {m.digest: m for m in (self._find(found, image_id) for image_id in wanted)}
        return ActionResult({
            "imageDetails": [self._details(found, m, tagged) for m in manifests.values()]
        })  # fmt: skip

    def get(self, response: ECRResponse) -> ActionResult:
        """BatchGetImage."""
        found = repository(response._get_param("repositoryName"))
        images, failures = [], []
        for image_id in response._get_param("imageIds"):
            try:
                manifest = self._find(found, image_id)
            except ImageNotFoundException:
                reason = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
                failures.append({"imageId": image_id, **reason})
                continue
            images.append(
                {
                    "registryId": ACCOUNT,
                    "repositoryName": found.name,
                    "imageId": {**image_id, "imageDigest": manifest.digest},
                    "imageManifest": manifest.body.decode(),
                    "imageManifestMediaType": manifest.media_type,
                }
            )
        return ActionResult({"images": images, "failures": failures})

    def clear(self, found: Repository, force: bool) -> None:
        """Delete every image; raises RepositoryNotEmptyException if there is one and ``force`` is not set.

        No registry need answer for a repository that nothing has been pushed to.
        """
        try:
            tagged = self._tagged(found.name)
        except NoRegistry:
            if any(name.startswith(f"{found.name}@") for name in self._store.names(KIND)):
                raise
            return
        if tagged and not force:
            raise RepositoryNotEmptyException(found.name, ACCOUNT)
        for digest in {manifest.digest for manifest in tagged.values()}:
            answer = self._registry.send("DELETE", f"/v2/{found.name}/manifests/{digest}")
            if answer.status not in (202, 404):
                raise JsonRESTError(
                    "ServerException",
                    f"the registry at {self._registry.address} does not delete images "
                    "(REGISTRY_STORAGE_DELETE_ENABLED)",
                )
            self._store.delete(KIND, f"{found.name}@{digest}")

    def _tagged(self, name: str) -> dict[str, Manifest]:
        found = {tag: self._registry.manifest(name, tag) for tag in self._registry.tags(name)}
        return {tag: manifest for tag, manifest in found.items() if manifest}

    def _find(self, found: Repository, image_id: dict) -> Manifest:
        digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
        manifest = self._registry.manifest(found.name, tag or digest)
        if manifest is None or digest not in (None, manifest.digest):
            shown = f"{{imageDigest:'{digest or 'null'}', imageTag:'{tag or 'null'}'}}"
            raise ImageNotFoundException(image_id=shown, repository_name=found.name, registry_id=ACCOUNT)
        return manifest

    def _details(self, found: Repository, manifest: Manifest, tagged: dict[str, Manifest]) -> dict:
        details = {
            "registryId": ACCOUNT,
            "repositoryName": found.name,
            "imageDigest": manifest.digest,
            "imageSizeInBytes": self._registry.size(found.name, manifest),
            "imageManifestMediaType": manifest.media_type,
        }
        if tags := [tag for tag, other in tagged.items() if other.digest == manifest.digest]:
            details["imageTags"] = tags
        if pushed := self._store.get(KIND, f"{found.name}@{manifest.digest}"):
            details["imagePushedAt"] = datetime.fromtimestamp(pushed["PushedAt"], UTC)
        return details


def note_push(store: Store, name: str, digest: str) -> None:
    """The registry itself does not keep when an image came."""
    store.put(KIND, f"{name}@{digest}", {"PushedAt": time.time()})


def _answering(operation: Callable[[ECRResponse], ActionResult]) -> Callable:
    def method(response: ECRResponse) -> ActionResult:
        try:
            return operation(response)
        except NoRegistry as error:
            raise JsonRESTError("ServerException", str(error)) from error

    return method


def _refusing(name: str) -> Callable:
    def method(response: ECRResponse):
        raise NotImplementedError(f"ecr.{name}; images come and go by docker push and DeleteRepository")

    return method
