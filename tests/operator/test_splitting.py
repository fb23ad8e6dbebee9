"""Splitting by bin: who is whose neighbour, 70/20/10, and the real lists."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from containers.common import manifest, splitting
from containers.common.errors import DataError
from containers.common.manifest import Row
from tests import ABID, ROOT

real = pytest.mark.skipif(not ABID.exists(), reason="the real photographs are not here")

A, B = frozenset({"A", "X"}), frozenset({"B", "X"})
OTHER = frozenset({"Z"})


def together(asins: dict[str, frozenset[str]], *names: str) -> bool:
    """Whether all of ``names`` are one bin, in whichever order they are given."""
    answers = set()
    for order in (list(names), list(reversed(names))):
        group_of = splitting.groups(order, asins)
        answers.add(len({group_of[name] for name in names}) == 1)
    (answer,) = answers
    return answer


@pytest.mark.parametrize("second", ["00011", "00012"])
def test_neighbours_that_share_a_product_are_one_bin(second):
    assert together({"00010": A, second: B}, "00010", second)
    assert not together({"00010": A, second: OTHER}, "00010", second)


def test_three_apart_is_another_bin():
    assert not together({"00010": A, "00013": A}, "00010", "00013")


@pytest.mark.parametrize("asins", [{}, {"00010": A}, {"00011": A}, {"00010": A, "00011": frozenset()}])
def test_without_metadata_only_adjacent_names_are_one_bin(asins):
    assert together(asins, "00010", "00011")
    assert not together({"00010": A}, "00010", "00012")


def test_a_bin_can_be_longer_than_two():
    assert together({"00010": A, "00011": A, "00013": A}, "00010", "00011", "00013")


def test_names_are_strings_in_two_series():
    assert not together({"1044": A, "01044": A}, "1044", "01044")
    assert not together({"1044": A, "01045": A}, "1044", "01045")
    assert not together({"9999": A, "10000": A}, "9999", "10000")
    assert together({"1044": A, "1045": A}, "1044", "1045")
    assert together({"99": A, "100": A}, "99", "100")
    assert together({"99999": A, "100000": A}, "99999", "100000")


def test_a_name_that_is_no_number_is_a_bin_of_its_own():
    assert splitting.groups(["shelf-a", "shelf-b"], {}) == {"shelf-a": "shelf-a", "shelf-b": "shelf-b"}


def test_a_group_is_called_after_its_first_name():
    assert set(splitting.groups(["100000", "99999", "100001"], {}).values()) == {"99999"}


def test_extras_join_training_unless_their_bin_is_elsewhere():
    group_of = {"1": "1", "2": "2", "3": "1", "4": "2", "5": "5"}
    admit, leave = splitting.admitted(["5", "4", "3"], {"1": "train", "2": "test"}, group_of)
    assert (admit, leave) == (["3", "5"], ["4"])


def test_one_photograph_of_every_count_does_not_fail():
    counts = {str(n): n for n in range(1, 6)}
    assert splitting.split(counts, {name: name for name in counts}, seed=0).keys() == counts.keys()


def test_seeds_give_different_splits():
    counts = {f"{n:05d}": 1 + n % 5 for n in range(0, 900, 3)}
    alone = {name: name for name in counts}
    assert splitting.split(counts, alone, seed=1) != splitting.split(counts, alone, seed=2)


def test_photographs_of_an_earlier_split_stay_on_their_side():
    counts = {f"{n:05d}": 1 + n % 5 for n in range(0, 900, 3)}
    alone = {name: name for name in counts}
    before = splitting.split(counts, alone, seed=0)
    later = {f"{n:05d}": 1 + n % 5 for n in range(900, 990, 3)}
    names = [*counts, *later]
    after = splitting.split(counts | later, {name: name for name in names}, 0, before)
    assert {name: after[name] for name in counts} == before
    assert Counter(after[name] for name in later).keys() == splitting.RATIOS.keys()

    tested, trained = (next(n for n in counts if before[n] == side) for side in ("test", "train"))
    twins = {"twin": tested, "joined": trained}
    group_of = alone | twins | {tested: trained}  # a neighbour has made one bin of two
    both = splitting.split(counts | {"joined": 1}, group_of, 0, before)
    assert both[tested] == both["joined"] == "train"
    assert splitting.split(counts | {"twin": 1}, alone | twins, 0, before)["twin"] == "test"


def _listed(name: str) -> dict[str, int]:
    lists = json.loads((ABID / name).read_text())
    return {Path(path).stem: int(count) for count, paths in lists.items() for path in paths}


@pytest.fixture(scope="module")
def bins():
    main, extra = _listed("file_list.json"), _listed("extra_list.json")
    asins = {
        path.stem: frozenset(json.loads(path.read_bytes())["BIN_FCSKU_DATA"])
        for path in (ABID / "metadata").glob("*.json")
    }
    return main, extra, asins


def _real_split(bins, order_seed=None):
    main, extra, asins = bins
    names, counts = [*main, *extra], list(main.items())
    if order_seed is not None:
        random.Random(order_seed).shuffle(names)
        random.Random(order_seed).shuffle(counts)
    group_of = splitting.groups(names, asins)
    return splitting.split(dict(counts), group_of, seed=0), group_of


@real
@pytest.mark.photographs
def test_the_real_list_is_split_70_20_10_within_every_count(bins):
    sides, _ = _real_split(bins)
    main = bins[0]
    assert len(sides) == len(main) == 5761
    tally, total = Counter((side, main[name]) for name, side in sides.items()), Counter(main.values())
    for side, ratio in splitting.RATIOS.items():
        assert abs(sum(n for (s, _), n in tally.items() if s == side) / 5761 - ratio) < 0.01
        for count in manifest.COUNTS:
            assert abs(tally[side, count] / total[count] - ratio) < 0.015


@real
@pytest.mark.photographs
def test_the_real_list_has_no_bin_on_two_sides(bins):
    """Against a second, naive reading of the rule: colour the graph by repeated flooding."""
    main, extra, asins = bins
    sides, group_of = _real_split(bins)
    admitted, left_out = splitting.admitted(extra, sides, group_of)
    number = {name: int(name) for name in (*main, *extra)}
    by_place = {(len(name) >= 5, number[name]): name for name in number}
    neighbours: dict[str, set[str]] = {name: set() for name in number}
    for name in number:
        for step in (1, 2):
            other = by_place.get((len(name) >= 5, number[name] + step))
            if other is None:
                continue
            known = name in asins and other in asins
            same = bool(asins[name] & asins[other]) if known else step == 1
            if same:
                neighbours[name].add(other)
                neighbours[other].add(name)
    bin_of: dict[str, str] = {}
    for start in number:
        todo = [start] if start not in bin_of else []
        while todo:
            name = todo.pop()
            if name not in bin_of:
                bin_of[name] = start
                todo += neighbours[name]
    used: dict[str, set[str]] = {}
    for name, side in [*sides.items(), *((name, "train") for name in admitted)]:
        used.setdefault(bin_of[name], set()).add(side)
    assert len({bin_of[name] for name in sides}) < len(sides)
    assert all(len(of_bin) == 1 for of_bin in used.values())
    assert left_out and all(used[bin_of[name]] & {"validation", "test"} for name in left_out)
    assert {"1046", "01046"} <= number.keys() and bin_of["1046"] != bin_of["01046"]


@real
@pytest.mark.photographs
def test_the_real_split_depends_on_neither_order_nor_process(bins):
    sides, group_of = _real_split(bins)
    for order_seed in range(3):
        assert _real_split(bins, order_seed) == (sides, group_of)
    code = (
        "import json, sys; from containers.common import splitting; counts, group_of = json.load(sys.stdin);"
        "print(json.dumps(splitting.split(counts, group_of, 0)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([bins[0], group_of]),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert json.loads(done.stdout) == sides


def _rows() -> list[Row]:
    return [
        Row("1044", 2, "train", "1044", 300, 200, "a" * 64),
        Row("01044", 3, "test", "01044", 20, 10, "b" * 64),
    ]


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest.write(tmp_path / "manifest.csv", _rows())
    assert manifest.read(tmp_path / "manifest.csv") == sorted(_rows())


def test_the_fingerprint_knows_what_matters():
    rows = _rows()
    same = manifest.fingerprint(rows)
    assert manifest.fingerprint(rows[::-1]) == same
    changed = [Row("1044", 3, "train", "1044", 300, 200, "a" * 64), rows[1]]
    assert manifest.fingerprint(changed) != same
    assert len(same) == 64


@pytest.mark.parametrize(
    "text", ["", "name,count\n1,2\n", ",".join(manifest.COLUMNS) + "\n1,two,train,1,3,4,x\n"]
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, text):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=str(path)):
        manifest.read(path)
