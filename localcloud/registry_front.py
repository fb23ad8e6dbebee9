"""The address to which ``docker push`` sends an image: the registry behind it, with ECR's own rules.

One must have logged in, the repository must have been created, and an immutable tag stays what it is.
"""

import io
import json
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus

from moto.ecr.exceptions import RepositoryNotFoundException

from localcloud import ecr
from localcloud.registry import NoRegistry, Registry, digest
from localcloud.settings import ACCOUNT
from localcloud.store import Store

ROOT = "/v2/"
PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")
PASSED_ON = ("Accept", "Content-Range", "Host", "Range", "User-Agent")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "date"}
CHUNK = 1 << 18


class Refused(Exception):
    """An answer in the form that registries give and ``docker`` shows."""

    def __init__(self, status: HTTPStatus, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()


class RegistryFront:
    """WSGI application for everything below ``/v2/``."""

    def __init__(self, registry: Registry, store: Store):
        self._registry = registry
        self._store = store

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        try:
            if not ecr.authorized(environ.get("HTTP_AUTHORIZATION", "")):
                how = "log in with 'aws ecr get-login-password'"
                raise Refused(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", how)
            return self._pass_on(environ, start_response)
        except NoRegistry as error:
            refused = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", str(error))
        except Refused as error:
            refused = error
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(refused.body))),
            ("Docker-Distribution-Api-Version", "registry/2.0"),
        ]
        if refused.status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", 'Basic realm="localcloud"'))
        start_response(f"{refused.status.value} {refused.status.phrase}", headers)
        return [refused.body]

    def _pass_on(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        method, body, pushed = environ["REQUEST_METHOD"], environ["wsgi.input"], None
        if (path := PATH.fullmatch(environ["PATH_INFO"])) is not None:
            name = path["repository"]
            immutable = _repository_is_immutable(name)
            if method == "PUT" and path["kind"] == "manifests":
                manifest = body.read()
                pushed, body = f"{name}@{digest(manifest)}", io.BytesIO(manifest)
                if immutable:
                    self._check_tag(name, path["rest"], digest(manifest))
        elif environ["PATH_INFO"] != ROOT:
            raise Refused(HTTPStatus.NOT_FOUND, "UNSUPPORTED", "ECR does not list repositories here")
        headers = {
            name: value
            for name in PASSED_ON
            if (value := environ.get(f"HTTP_{name.upper().replace('-', '_')}"))
        }
        headers |= {"Content-Length": environ.get("CONTENT_LENGTH") or "0"}
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        answer = self._registry.send(
            method,
            environ["REQUEST_URI"],
            headers=headers,
            body=body if headers["Content-Length"] != "0" else None,
            preload_content=False,
            redirect=False,
        )
        if pushed and answer.status == HTTPStatus.CREATED:
            ecr.note_push(self._store, *pushed.split("@"))
        kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
        start_response(f"{answer.status} {answer.reason}", kept)
        return _chunks(answer)

    def _check_tag(self, name: str, reference: str, pushed: str) -> None:
        before = None if reference.startswith("sha256:") else self._registry.manifest(name, reference)
        if before is not None and before.digest != pushed:
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                "TAG_INVALID",
                f"The image tag '{reference}' already exists in the '{name}' repository and cannot be "
                "overwritten because the repository is immutable.",
            )


def _repository_is_immutable(name: str) -> bool:
    try:
        return ecr.repository(name).is_tag_immutable()
    except RepositoryNotFoundException as error:
        message = f"The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'"
        raise Refused(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", message) from error


def _chunks(answer) -> Iterable[bytes]:
    try:
        yield from answer.stream(CHUNK, decode_content=False)
    finally:
        answer.release_conn()
