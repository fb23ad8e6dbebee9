"""What a type of resource must be able to do to be part of a stack."""

from collections.abc import Callable
from typing import ClassVar

from botocore.exceptions import ClientError

from localcloud.stack_template import invalid

Client = Callable[[str], object]  # boto3's clients, by service
GONE = {
    "NoSuchBucket", "NoSuchEntity", "RepositoryNotFoundException", "ResourceNotFoundException",
    "NoSuchBucketPolicy",
}  # fmt: skip


class Kind:
    """One type. Every property is carried out, or refused by name.

    ``create`` makes the resource, and fails if it is there; ``configure`` does the rest, for an update too.
    ``fixed`` properties cannot change without replacing the resource.
    """

    required: ClassVar[set[str]]
    optional: ClassVar[set[str]]
    fixed: ClassVar[set[str]]
    tagged = True  # the stack's own tags become the resource's

    def __init__(self, client: Client):
        self._client = client

    def check(self, name: str, properties: dict) -> None:
        """Raises AwsError for properties that are missing or not honoured, before anything is created."""
        if missing := sorted(self.required - properties.keys()):
            raise invalid(f"localcloud needs {missing[0]} of {name}: it makes up no names, and no defaults")
        if unknown := sorted(properties.keys() - self.required - self.optional):
            raise invalid(f"localcloud cannot do {unknown[0]} of {name}: leave it out")

    def check_change(self, name: str, old: dict, new: dict) -> None:
        for member in sorted(self.fixed):
            if old.get(member) != new.get(member):
                raise invalid(f"localcloud cannot replace {name} for another {member}: delete it first")

    def create(self, p: dict) -> None:
        raise NotImplementedError

    def configure(self, p: dict, old: dict) -> None:
        """``old``: the properties so far, none of a resource that has just been created."""

    def delete(self, p: dict) -> None:
        raise NotImplementedError

    def id(self, p: dict) -> str:
        """The physical id, which ``Ref`` gives."""
        raise NotImplementedError

    def attributes(self, p: dict) -> dict[str, str]:
        """What ``Fn::GetAtt`` gives."""
        return {}


def is_gone(error: Exception) -> bool:
    """Whether a ``delete`` found nothing to delete."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE


def some(p: dict, members: tuple[str, ...]) -> dict:
    return {member: p[member] for member in members if member in p}


def only_member(value: dict, member: str):
    """The value of the one member that is honoured."""
    if value.keys() != {member}:
        raise invalid(f"localcloud cannot do {sorted(value)}, only {member}")
    return value[member]


def renamed(members: dict, names: dict[str, str]) -> dict:
    return {names.get(key, key): value for key, value in members.items()}
