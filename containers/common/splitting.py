"""Splits photographs by bin, never by photograph: a bin before and after one item moved stays on one side.

Consecutive names are often such twins, so that a random split would let a model recognise the bin
instead of counting. Nothing here reads a file, and nothing depends on the order of its input.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

RATIOS = {"train": 0.7, "validation": 0.2, "test": 0.1}
LONG = 5  # names of this many characters and more are one series, zero-padded; shorter ones another


def groups(names: Iterable[str], asins: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """The bin of every name, called after the first of its names.

    ``asins`` maps a name to the products in its metadata; a name without metadata is absent (or maps
    to an empty set). Names n and n+1 or n+2 of one series are one bin when they share a product;
    n and n+1 also when either has no metadata. A name that is not a number is a bin of its own.
    """
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for name in parent:
        for step in (1, 2):
            other = _successor(name, step)
            if other in parent and _same_bin(asins.get(name), asins.get(other), step):
                first, second = sorted((root(name), root(other)), key=_order)
                parent[second] = first
    return {name: root(name) for name in parent}


def position(name: str) -> tuple[bool, int] | None:
    """(series, place in it) of a name; None for one that is not a number."""
    return (len(name) >= LONG, int(name)) if name.isascii() and name.isdigit() else None


def split(
    counts: Mapping[str, int],
    group_of: Mapping[str, str],
    seed: int,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """``train``, ``validation`` or ``test`` for every name in ``counts``: 70/20/10 within every count.

    Whole groups are dealt out, the largest first, each to the side where it brings the counts
    nearest to their targets (least chi-square: the greedy form of Sechidis et al., "On the
    Stratification of Multi-Label Data", 2011). The single photographs at the end even out what
    the large groups left. ``seed`` decides the order among groups of one size.

    A group of which ``earlier`` has a name goes where that was, before the others are dealt out: one more
    photograph moves hundreds of others, and models would be tested on what they were trained on. Where
    neighbours have joined groups of several sides, the first of train, validation and test has them.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        members[group_of[name]].append(name)
    totals = Counter(counts.values())
    targets = {side: {c: ratio * n for c, n in totals.items()} for side, ratio in RATIOS.items()}
    missing = {side: dict(target) for side, target in targets.items()}

    def misfit(side: str, content: Counter[int]) -> float:
        """Change of the side's chi-square when ``content`` (photographs by count) joins it."""
        return sum(n * (n - 2 * missing[side][c]) / targets[side][c] for c, n in content.items())

    known: dict[str, set[str]] = defaultdict(set)
    for name, side in (earlier or {}).items():
        if name in group_of:
            known[group_of[name]].add(side)
    sides = {}
    for group in sorted(members, key=lambda g: (g not in known, -len(members[g]), _draw(seed, g))):
        content = Counter(counts[name] for name in members[group])
        kept = next((side for side in RATIOS if side in known.get(group, ())), None)
        side = kept or min(RATIOS, key=lambda s: misfit(s, content))
        for count, n in content.items():
            missing[side][count] -= n
        sides |= dict.fromkeys(members[group], side)
    return sides


def admitted(
    extras: Iterable[str], sides: Mapping[str, str], group_of: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Extras that may join the training side, and those left out: their bin is validated or tested on."""
    closed = {group_of[name] for name, side in sides.items() if side != "train"}
    admit, leave = [], []
    for name in sorted(extras, key=_order):
        (leave if group_of[name] in closed else admit).append(name)
    return admit, leave


def _successor(name: str, step: int) -> str | None:
    """The name ``step`` later in the series: 99999 is followed by 100000, but 9999 not by 10000."""
    if position(name) is None:
        return None
    later = str(int(name) + step).zfill(len(name))
    return later if (len(later) >= LONG) == (len(name) >= LONG) else None


def _same_bin(one: frozenset[str] | None, other: frozenset[str] | None, step: int) -> bool:
    return bool(one & other) if one and other else step == 1


def _order(name: str) -> tuple[int, str]:
    return len(name), name


def _draw(seed: int, group: str) -> str:
    """A place in the order that any Python, on any machine, draws alike."""
    return hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()
