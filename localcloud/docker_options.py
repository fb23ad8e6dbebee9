"""What a container is in Docker's own terms: names of images, commands, mounts, users, limits."""

from localcloud.runtime import FUNCTION, OPT_ML, PROCESS, SERVE, TRAIN, Spec

COMMANDS = {TRAIN: ["train"], SERVE: ["serve"]}  # what SageMaker appends to `docker run IMAGE`


def split_uri(uri: str) -> tuple[str, str]:
    """``host:5000/team/name:tag`` -> (``team/name``, ``:tag``), or ``@sha256:…``; no tag is ``:latest``."""
    repository, at, digest = uri.partition("@")
    head, slash, rest = repository.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        repository = rest
    repository, _, tag = repository.partition(":")
    return repository, f"@{digest}" if at else f":{tag or 'latest'}"


def volumes(spec: Spec) -> dict[str, dict[str, str]]:
    """``/opt/ml`` as SageMaker mounts it: the job's own folder, and a model that cannot be written to.

    A function has its image's files alone, as on Lambda.
    """
    if spec.role == FUNCTION:
        return {}
    mounts = {str(spec.folder): {"bind": OPT_ML, "mode": "rw"}}
    if spec.role == SERVE:
        mounts[str(spec.folder / "model")] = {"bind": f"{OPT_ML}/model", "mode": "ro"}
    return mounts


def user(role: str, uid: int, gid: int) -> dict:
    """The caller, who so owns what is written below ``/opt/ml``; a function is whom its image says.

    SageMaker runs as root, whatever the image says; so does this, if root is who asks.
    """
    if role not in (TRAIN, SERVE, PROCESS):
        return {}
    return {"user": f"{uid}:{gid}"}


def limits(spec: Spec) -> dict:
    """Cores and memory, of which swap is none."""
    options = {}
    if spec.limits.cpus:
        options["nano_cpus"] = int(spec.limits.cpus * 10**9)
    if memory := spec.limits.memory:
        # Data loaders hand photographs over through /dev/shm, of which Docker gives 64 MiB.
        options |= {"mem_limit": memory, "memswap_limit": memory, "shm_size": memory // 2}
    return options
