"""Synthetic bins: reproducible, with twins and metadata, in the bucket's layout."""

import hashlib
import io
import json
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from containers.common import splitting, synthetic
from containers.common.errors import DataError
from containers.common.synthetic import series
from containers.common.synthetic_photo import Bin, photograph


@pytest.fixture(scope="module")
def planned():
    return list(islice(series(0), 4000))


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_one_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path):
    synthetic.render_dataset(tmp_path / "a", 40, seed=5, workers=1)
    synthetic.render_dataset(tmp_path / "b", 40, seed=5, workers=2)
    synthetic.render_dataset(tmp_path / "c", 40, seed=6, workers=2)
    first = _hashes(tmp_path / "a")
    assert first == _hashes(tmp_path / "b")
    assert len([path for path in first if path.startswith("bin-images/")]) == 40
    other = _hashes(tmp_path / "c")
    assert all(first[path] != other[path] for path in first if path.endswith(".jpg"))


def test_an_interrupted_rendering_goes_on_and_a_larger_one_adds(tmp_path):
    synthetic.render_dataset(tmp_path / "whole", 30, seed=5, workers=1)
    synthetic.render_dataset(tmp_path / "parts", 20, seed=5, workers=1)
    (tmp_path / "parts" / "bin-images" / "00007.jpg").unlink()
    (tmp_path / "parts" / "bin-images" / "00003.jpg").write_bytes(b"kept as it is")
    done = []
    synthetic.render_dataset(tmp_path / "parts", 30, seed=5, workers=1, progress=done.append)
    whole, parts = _hashes(tmp_path / "whole"), _hashes(tmp_path / "parts")
    assert {path for path in whole if whole[path] != parts.get(path)} == {"bin-images/00003.jpg"}
    assert whole.keys() == parts.keys()
    assert sum(done) == 30


def test_a_folder_keeps_to_its_seed(tmp_path):
    synthetic.render_dataset(tmp_path, 2, seed=5, workers=1)
    with pytest.raises(DataError, match="remove it"):
        synthetic.render_dataset(tmp_path, 2, seed=6, workers=1)


def test_the_layout_is_the_buckets(tmp_path):
    synthetic.render_dataset(tmp_path, 60, seed=1, workers=1)
    lists = json.loads((tmp_path / "file_list.json").read_text())
    assert list(lists) == ["1", "2", "3", "4", "5"]
    with_metadata = 0
    for count, paths in lists.items():
        for path in paths:
            name = path.removeprefix("data/metadata/").removesuffix(".json")
            with Image.open(tmp_path / "bin-images" / f"{name}.jpg") as image:
                image.load()
                assert image.format == "JPEG" and image.mode == "RGB"
            metadata_file = tmp_path / "metadata" / f"{name}.json"
            if metadata_file.exists():
                with_metadata += 1
                metadata = json.loads(metadata_file.read_text())
                quantities = [entry["quantity"] for entry in metadata["BIN_FCSKU_DATA"].values()]
                assert metadata["EXPECTED_QUANTITY"] == sum(quantities) == int(count)
                assert all(asin == e["asin"] and e["name"] for asin, e in metadata["BIN_FCSKU_DATA"].items())
    assert sum(map(len, lists.values())) == 60
    assert 40 < with_metadata < 60


def test_counts_are_mixed_as_the_real_ones(planned):
    tally = Counter(len(p.bin.items) for p in planned)
    for count, real in synthetic.MIX.items():
        assert abs(tally[count] / len(planned) - real / 5761) < 0.04


def test_about_two_in_five_neighbours_are_twins_one_item_apart(planned):
    twins = [(one, other) for one, other in pairwise(planned) if one.bin.look == other.bin.look]
    assert 0.35 < len(twins) / len(planned) < 0.45
    for one, other in twins:
        few, many = sorted((one.bin, other.bin), key=lambda bin_: len(bin_.items))
        assert len(many.items) - len(few.items) == 1
        assert set(few.items) <= set(many.items)


def test_splitting_keeps_twins_together(planned):
    asins = {p.name: frozenset(p.metadata["BIN_FCSKU_DATA"]) for p in planned if p.with_metadata}
    group_of = splitting.groups([p.name for p in planned], asins)
    shared = [
        group_of[one.name] == group_of[other.name]
        for one, other in pairwise(planned)
        if one.bin.look == other.bin.look
        and {p.product for p in one.bin.items} & {p.product for p in other.bin.items}
    ]
    assert len(shared) > 1000 and all(shared)
    assert len(set(group_of.values())) > len(planned) / 3


def test_every_item_can_be_seen(planned):
    """Taking any one item out changes a visible part of the photograph."""
    for plan in planned[:60]:
        full = _pixels(plan.bin, plan.moment)
        for taken in range(len(plan.bin.items)):
            items = plan.bin.items[:taken] + plan.bin.items[taken + 1 :]
            without = _pixels(Bin(plan.bin.look, plan.bin.aspect, items), plan.moment)
            changed = (
                ImageChops.difference(full, without).convert("L").point(lambda value: 255 * (value > 24))
            )
            assert ImageStat.Stat(changed).mean[0] / 255 > 0.004, (plan.name, taken)


def _pixels(bin_: Bin, moment: int) -> Image.Image:
    return Image.open(io.BytesIO(photograph(bin_, moment))).convert("RGB")


def test_sizes_vary_around_the_real_shape(planned):
    sizes = [_pixels(plan.bin, plan.moment).size for plan in planned[:40]]
    assert len(set(sizes)) > 30
    assert {width > height for width, height in sizes} == {True, False}
    assert all(200 <= width <= 450 and 180 <= height <= 400 for width, height in sizes)
