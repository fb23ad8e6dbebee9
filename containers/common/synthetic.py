"""Renders bins, with metadata and before/after twins, in the layout of the public bucket.

For tests and first runs without a network, and for a network to learn from before it learns from real bins
(``containers/train/rendered.py``): a drawing says nothing about how well real bins are counted, and no
figure obtained with it may be read so.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from random import Random

from containers.common.errors import DataError
from containers.common.parallel import in_processes
from containers.common.synthetic_items import Product
from containers.common.synthetic_photo import Bin, Item, photograph

RENDERING = 1  # to be raised with every change that alters what is rendered
MIX = {1: 636, 2: 1253, 3: 1481, 4: 1329, 5: 1062}  # of the 5,761 real photographs' counts
TWINS = 2 / 3  # of the bins are photographed twice: two in five neighbours are twins, as among the real
INSIDE = (16.0, 11.0)  # inches, width and height of every bin
ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Photograph:
    """One photograph to be taken; consecutive names may show one bin before and after a change."""

    name: str
    bin: Bin
    moment: int  # seeds light and camera
    with_metadata: bool  # about one in ten of the real ones has none

    @property
    def metadata(self) -> dict:
        """As in the bucket: ``BIN_FCSKU_DATA`` by ASIN with quantities, ``EXPECTED_QUANTITY``."""
        quantities = Counter(item.product for item in self.bin.items)
        return {
            "BIN_FCSKU_DATA": {p.asin: _product_data(p, n) for p, n in quantities.items()},
            "EXPECTED_QUANTITY": len(self.bin.items),
        }


def series(seed: int) -> Iterator[Photograph]:
    """An endless series: the first n are the same however many are taken."""
    names = (f"{number:05d}" for number in count(1))
    for index in count():
        rng = Random(f"bintally {seed} {index}")
        for bin_ in _visits(rng):
            yield Photograph(next(names), bin_, rng.getrandbits(32), rng.random() < 0.9)


def render_dataset(
    folder: Path, photographs: int, seed: int, workers: int, progress: Callable[[int], None] | None = None
) -> None:
    """Write ``bin-images/NAME.jpg``, ``metadata/NAME.json`` and ``file_list.json`` into ``folder``.

    What lies there from an earlier call with the same ``seed`` is kept, so that an interrupted call
    goes on and a larger one adds. ``progress`` is called with the number of photographs done since.
    Raises DataError when ``folder`` was rendered from another seed or by another renderer.
    """
    for kind in ("bin-images", "metadata"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    _claim(folder / "rendering.json", {"seed": seed, "rendering": RENDERING})
    advance = progress or (lambda done: None)
    planned = list(islice(series(seed), photographs))
    rendered = {path.stem for path in (folder / "bin-images").glob("*.jpg")}
    missing = [p for p in planned if p.name not in rendered]
    advance(len(planned) - len(missing))
    if missing:
        for _ in in_processes(partial(_render, folder), missing, workers):
            advance(1)
    listed = {str(n): [f"data/metadata/{p.name}.json" for p in planned if len(p.bin.items) == n] for n in MIX}
    _write(folder / "file_list.json", json.dumps(listed, indent=1).encode())


def _claim(path: Path, wanted: dict) -> None:
    if path.exists() and json.loads(path.read_bytes()) != wanted:
        raise DataError(f"{path.parent} holds other synthetic bins than {wanted}: remove it")
    _write(path, json.dumps(wanted).encode())


def _render(folder: Path, planned: Photograph) -> None:
    """The photograph is written last: where it lies, its metadata does too."""
    if planned.with_metadata:
        metadata = json.dumps(planned.metadata, indent=4)
        _write(folder / "metadata" / f"{planned.name}.json", metadata.encode())
    _write(folder / "bin-images" / f"{planned.name}.jpg", photograph(planned.bin, planned.moment))


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _visits(rng: Random) -> list[Bin]:
    """One bin as it was photographed: once, or before and after one item was taken or put."""
    quantity = rng.choices(list(MIX), list(MIX.values()))[0]
    if rng.random() >= TWINS:
        return [_bin(rng, quantity)]
    other = rng.choice([n for n in (quantity - 1, quantity + 1) if n in MIX])
    fuller = _bin(rng, max(quantity, other))
    taken = rng.randrange(len(fuller.items))
    emptier = Bin(fuller.look, fuller.aspect, fuller.items[:taken] + fuller.items[taken + 1 :])
    return [emptier, fuller] if quantity < other else [fuller, emptier]


def _bin(rng: Random, quantity: int) -> Bin:
    """Columns side by side, each of one item or of two stacked; nearer columns hide parts of farther ones."""
    aspect = rng.uniform(1.25, 1.7) if rng.random() < 0.75 else rng.uniform(0.75, 1.1)
    piles = [1] * quantity
    for _ in range(quantity // 2):
        if rng.random() < 0.35:
            piles = [2, *piles[:-2]] if piles[-1] == 1 else piles
    rng.shuffle(piles)
    shares = [rng.uniform(0.75, 1.25) for _ in piles]
    depths = rng.sample((0.0, 0.25, 0.5, 0.75, 1.0), len(piles))
    items: list[Item] = []
    edge = 0.0
    for column, pile in enumerate(piles):
        room = shares[column] / sum(shares)
        x = edge + room * rng.uniform(0.3, 0.7)
        edge += room
        for level in range(pile):
            top = level == pile - 1
            known = [
                other.product
                for other in items
                if other.pile == pile
                and other.product.width < room * 1.4 * INSIDE[0]
                and (top or other.product.kind != "bottle")
            ]
            again = known and rng.random() < 0.35
            product = rng.choice(known) if again else _product(rng, room, pile, top, aspect)
            tilt = 0.0 if pile > 1 else rng.choice((0.0, rng.uniform(-6, 6), rng.uniform(-18, 18)))
            items.append(Item(
                product, column, pile, x + rng.uniform(-0.02, 0.02), depths[column],
                product.width / INSIDE[0], product.height / INSIDE[1], tilt,
            ))  # fmt: skip
    return Bin(rng.getrandbits(32), aspect, tuple(items))


def _product(rng: Random, room: float, pile: int, top: bool, aspect: float) -> Product:
    """Something new that nearly fills, or overfills, its ``room`` (a fraction of the bin's width)."""
    kinds = {"box": 4, "bag": 3, "book": 2}
    if top:
        kinds["bottle"] = 2  # nothing stands on a bottle
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    width = min(room * rng.uniform(0.85, 1.35), 0.55)
    height = rng.uniform(0.45, 0.85) if pile == 1 else rng.uniform(0.3, 0.42)
    if kind == "bottle":
        width = min(width, height / aspect * rng.uniform(0.45, 0.65))
    elif pile == 1:
        height = min(height, max(0.4, width * aspect * rng.uniform(1.2, 2.2)))
    asin = "B0" + "".join(rng.choices(ALPHABET, k=8))
    size = round(width * INSIDE[0], 1), round(height * INSIDE[1], 1)
    return Product(asin, kind, *size, look=rng.getrandbits(32))


def _product_data(product: Product, quantity: int) -> dict:
    def inches(value: float) -> dict:
        return {"unit": "IN", "value": value}

    return {
        "asin": product.asin,
        "height": inches(product.height),
        "length": inches(round(product.width * 0.7, 1)),
        "name": product.name,
        "normalizedName": product.name,
        "quantity": quantity,
        "weight": {"unit": "pounds", "value": round(product.width * product.height / 50, 2)},
        "width": inches(product.width),
    }
