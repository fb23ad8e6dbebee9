"""One page of a listing, as List operations give it: MaxResults of them, and a NextToken for the rest."""

from localcloud.errors import validation


def page(documents: list[dict], params: dict, most: int) -> tuple[list[dict], dict[str, str]]:
    """(the documents of the page, the answer's NextToken if there are more); raises AwsError.

    ``most`` is the operation's own MaxResults. A token is the position of the next document.
    """
    token = params.get("NextToken") or "0"
    if not token.isdigit():
        raise validation("Invalid NextToken")
    start = int(token)
    end = start + (params.get("MaxResults") or most)
    return documents[start:end], {"NextToken": str(end)} if end < len(documents) else {}


def created_within(document: dict, after: float | None, before: float | None) -> bool:
    """Whether the document's CreationTime, epoch seconds, lies between two that may be None."""
    created = document["CreationTime"]
    return (after is None or created > after) and (before is None or created < before)


def ordered(documents: list[dict], params: dict, keys: dict[str, str], direction: str) -> list[dict]:
    """By SortBy and SortOrder; raises AwsError.

    ``keys``: SortBy -> member, the operation's default first; ``direction``: its default SortOrder.
    """
    by = params.get("SortBy") or next(iter(keys))
    if by not in keys:
        raise validation(f"SortBy must be {' or '.join(keys)}, and not {by}")
    member = keys[by]
    descending = (params.get("SortOrder") or direction) == "Descending"
    return sorted(documents, key=lambda document: document[member], reverse=descending)
