"""The image registry that stands behind ECR: what it holds, asked through its own HTTP API.

https://distribution.github.io/distribution/spec/api/
"""

import hashlib
import json
from dataclasses import dataclass

import urllib3

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
SECONDS = 60  # for one answer; a body may take longer


class NoRegistry(Exception):
    """No registry answers. One line for the user."""


@dataclass(frozen=True)
class Manifest:
    """What a tag or a digest stands for."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        return digest(self.body)

    @property
    def parts(self) -> list[dict]:
        """The manifests that an index names, each with its digest; none for the manifest of an image."""
        return json.loads(self.body).get("manifests", [])

    @property
    def size(self) -> int:
        """Bytes of an image as it is stored: its configuration and compressed layers."""
        document = json.loads(self.body)
        parts = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        return sum(part["size"] for part in parts)


class Registry:
    """Raises NoRegistry. Safe for threads."""

    def __init__(self, address: str):
        """``address``: ``localhost:5000``."""
        self.address = address
        host, _, port = address.rpartition(":")
        timeout = urllib3.Timeout(connect=5, read=SECONDS)
        self._pool = urllib3.HTTPConnectionPool(host, int(port), maxsize=16, timeout=timeout, retries=False)

    def tags(self, repository: str) -> list[str]:
        answer = self.send("GET", f"/v2/{repository}/tags/list")
        return sorted(answer.json().get("tags") or []) if answer.status == 200 else []

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """``reference``: a tag or a digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self.send("GET", path, headers={"Accept": ", ".join(MANIFESTS)})
        return Manifest(answer.headers["Content-Type"], answer.data) if answer.status == 200 else None

    def size(self, repository: str, manifest: Manifest) -> int:
        """Bytes of an image, or of all images of an index."""
        children = [self.manifest(repository, part["digest"]) for part in manifest.parts]
        return manifest.size + sum(child.size for child in children if child)

    def send(self, method: str, url: str, **options) -> urllib3.BaseHTTPResponse:
        """Any request; ``options`` are urllib3's."""
        try:
            return self._pool.urlopen(method, url, **options)
        except urllib3.exceptions.HTTPError as error:
            raise NoRegistry(
                f"no image registry answers at {self.address}, which holds the images of localcloud's ECR: "
                "start one with 'docker run -d -p 127.0.0.1:5000:5000 registry:2', or set LOCALCLOUD_REGISTRY"
            ) from error


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
