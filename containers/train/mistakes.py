"""The worst mistakes on validation: which they are, and pictures of them with saliency beside them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jinja2 import Environment
from PIL import Image

from containers.common import card as cards
from containers.common import photograph
from containers.train import graphs
from containers.train.saliency import saliency

SHOWN = 8
SIDE = 256  # pixels, the longer one of a picture
QUALITY = 80
PAIRS = """<div style="display: grid; gap: 1.25rem 1rem;
            grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr))">
{% for pair in pairs %}
<figure><div style="display:flex; gap:4px">
{% for picture, what in ((pair.photograph, "photograph"), (pair.looked_at, "saliency")) %}
<img style="width:calc(50% - 2px)" alt="{{ what }} of {{ pair.mistake.name }}" src="{{ picture }}">
{% endfor %}
</div><figcaption>{{ pair.mistake.name }}: {{ pair.mistake.said }}</figcaption></figure>
{% endfor %}
</div>"""


@dataclass(frozen=True)
class Mistake:
    """One photograph that was counted wrongly; probabilities of the count given and of the true one."""

    name: str
    true: int
    counted: int
    confidence: float
    true_probability: float

    @property
    def said(self) -> str:
        return f"{self.true} in the bin, counted {self.counted} ({self.confidence * 100:.0f} % sure)"


def worst(
    names: Sequence[str], true: np.ndarray, probabilities: np.ndarray, classes: Sequence[int]
) -> list[Mistake]:
    """Those wrong counts that gave least to the true one, the worst first.

    true: int counts ``[n]``; probabilities: float ``[n, classes]``.
    """
    chosen = probabilities.argmax(1)
    column = np.searchsorted(classes, true)
    found = [
        Mistake(names[i], int(true[i]), int(classes[chosen[i]]), float(row[chosen[i]]), float(row[column[i]]))
        for i, row in enumerate(probabilities)
        if chosen[i] != column[i]
    ]
    return sorted(found, key=lambda m: (m.true_probability, -m.confidence, m.name))[:SHOWN]


def pictures(folder: Path, mistakes: Sequence[Mistake], files: Mapping[str, Path]) -> str:
    """An HTML grid of photographs, each beside what the artifact's network looked at when it counted.

    files: photographs by name; a mistake whose photograph is missing is left out. Raises PhotographError.
    """
    card = cards.read(folder)
    shown = [mistake for mistake in mistakes if mistake.name in files]
    if not shown:
        return ""
    images = [photograph.decode(files[mistake.name].read_bytes()) for mistake in shown]
    batch = torch.from_numpy(np.stack([photograph.resize(image, card.resize) for image in images]))
    answers = torch.tensor([card.classes.index(mistake.counted) for mistake in shown])
    maps = saliency(graphs.load(folder), batch, answers)
    pairs = []
    for mistake, image, looked_at in zip(shown, images, maps, strict=True):
        image.thumbnail((SIDE, SIDE))
        pairs.append(
            {
                "mistake": mistake,
                "photograph": _data_uri(image),
                "looked_at": _data_uri(_overlay(image, looked_at)),
            }
        )
    return Environment(autoescape=True).from_string(PAIRS).render(pairs=pairs)


def _overlay(image: Image.Image, looked_at: np.ndarray) -> Image.Image:
    """The photograph in dark grey, lit where the network looked. looked_at: ``[height, width]`` in 0..1."""
    light = Image.fromarray((looked_at * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
    heat = matplotlib.colormaps["inferno"](np.asarray(light))[..., :3]
    grey = np.asarray(image.convert("L"), dtype=float)[..., None] / 255
    return Image.fromarray(((0.4 * grey + 0.75 * heat).clip(0, 1) * 255).astype(np.uint8))


def _data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
