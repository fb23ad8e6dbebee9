"""Photographs a synthetic bin: the fabric, what stands in it, the bands in front, the camera.

For tests and first runs; see ``synthetic``.
"""

import io
import math
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from containers.common.synthetic_items import PRINT, Product, font, sprite

FABRIC = (222, 200, 122)
ALUMINIUM = (150, 148, 142)


@dataclass(frozen=True)
class Item:
    """A product where it stands. Items of one column are stacked in the order of the bin's tuple."""

    product: Product
    column: int
    pile: int  # items in the column while the bin is full
    x: float  # centre of the column, as a fraction of the bin's inner width
    depth: float  # 0 at the front edge, 1 at the back wall
    width: float  # fractions of the bin's inner width and height
    height: float
    tilt: float  # degrees


@dataclass(frozen=True)
class Bin:
    """A bin as it is photographed: its shape (width / height) and what lies in it."""

    look: int  # seeds the fabric and the label
    aspect: float
    items: tuple[Item, ...]


def photograph(bin_: Bin, seed: int) -> bytes:
    """One JPEG; ``seed`` is the moment: light, camera, where the bands hang. Equal arguments, equal bytes."""
    rng = Random(seed)
    area = rng.uniform(62_000, 110_000)
    width = round(math.sqrt(area * bin_.aspect))
    height = round(area / width)
    image = Image.new("RGB", (width, height))
    inner = _fabric(Random(bin_.look), image)
    _stand(bin_.items, rng, image, inner)
    _lips(Random(bin_.look), image, inner)
    _bands(rng, image, inner)
    return _expose(rng, image)


def _fabric(rng: Random, image: Image.Image) -> tuple[int, int, int, int]:
    """Draw the open bin; returns its inner rectangle (left, top, right, bottom) in pixels."""
    w, h = image.size
    left, right = int(w * rng.uniform(0.01, 0.05)), int(w * rng.uniform(0.95, 0.99))
    top, bottom = int(h * rng.uniform(0.05, 0.1)), int(h * rng.uniform(0.86, 0.92))
    inset_x, inset_top = int(w * rng.uniform(0.05, 0.11)), int(h * rng.uniform(0.03, 0.08))
    floor = int(h * rng.uniform(0.09, 0.16))
    back = (left + inset_x, top + inset_top, right - inset_x, bottom - floor)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, w, h), fill=ALUMINIUM)
    walls = (
        (0.42, [(left, top), (right, top), (back[2], back[1]), (back[0], back[1])]),
        (0.74, [(left, top), (back[0], back[1]), (back[0], back[3]), (left, bottom)]),
        (0.66, [(right, top), (back[2], back[1]), (back[2], back[3]), (right, bottom)]),
        (0.60, [(left, bottom), (right, bottom), (back[2], back[3]), (back[0], back[3])]),
    )
    for light, corners in walls:
        draw.polygon(corners, fill=_lit(light))
    size = (back[2] - back[0], back[3] - back[1])
    rise = Image.linear_gradient("L").resize(size)
    image.paste(
        Image.composite(Image.new("RGB", size, _lit(0.68)), Image.new("RGB", size, _lit(0.5)), rise), back
    )
    for _ in range(rng.randint(2, 4)):
        x, lean = rng.uniform(back[0], back[2]), rng.uniform(-12, 12)
        draw.line((x, back[1], x + lean, back[3]), fill=_lit(rng.choice((0.5, 0.72))), width=2)
    return left, top, right, bottom


def _stand(
    items: tuple[Item, ...], rng: Random, image: Image.Image, inner: tuple[int, int, int, int]
) -> None:
    """Put the items in, the farthest first, each with a soft shadow around it."""
    left, top, right, bottom = inner
    w, h = right - left, bottom - top
    stacked: dict[int, float] = {}
    places = []
    for item in items:
        base = stacked.get(item.column, 0.0)
        stacked[item.column] = base + item.height * 0.97
        places.append((item, base))
    for item, base in sorted(places, key=lambda place: -place[0].depth):
        near = 1 - 0.15 * item.depth
        size = max(14, round(item.width * w * near)), max(14, round(item.height * h * near))
        drawn = sprite(item.product, *size)
        tilt = item.tilt + rng.uniform(-1.5, 1.5)
        drawn = drawn.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
        x = left + item.x * w + rng.uniform(-2, 2) - drawn.width / 2
        # the floor rises towards the back wall; a tilted sprite's corner may sink a little behind the lip
        foot = bottom - h * (0.14 * item.depth + base * near) + (drawn.height - size[1]) * 0.4
        x = min(max(x, left - 2), right + 2 - drawn.width)
        corner = round(x), round(foot - drawn.height)
        alpha = drawn.getchannel("A")
        halo = Image.new("L", (drawn.width + 20, drawn.height + 20))
        halo.paste(alpha, (10, 10))
        halo = halo.filter(ImageFilter.BoxBlur(5)).point(lambda value: value * 0.6)
        image.paste((34, 28, 20), (corner[0] - 8, corner[1] - 8), halo)
        image.paste(drawn, corner, alpha)


def _lips(rng: Random, image: Image.Image, inner: tuple[int, int, int, int]) -> None:
    """The seams in front: this bin's lip and label below, the next bin's above."""
    w, h = image.size
    draw = ImageDraw.Draw(image)
    sag = rng.uniform(0.0, 0.02) * h
    draw.polygon([(0, inner[3]), (w / 2, inner[3] + sag), (w, inner[3]), (w, h), (0, h)], fill=_lit(0.98))
    draw.polygon([(0, 0), (w, 0), (w, inner[1]), (w / 2, inner[1] + sag), (0, inner[1])], fill=_lit(0.92))
    draw.line([(0, inner[3]), (w / 2, inner[3] + sag), (w, inner[3])], fill=_lit(0.7), width=2)
    draw.line([(0, inner[1]), (w / 2, inner[1] + sag), (w, inner[1])], fill=_lit(0.55), width=2)
    _address(rng, draw, w * rng.uniform(0.3, 0.5), inner[3] + (h - inner[3]) * 0.2, w * 0.24, h * 0.11)
    _address(rng, draw, w * rng.uniform(0.3, 0.5), inner[1] - h * 0.13, w * 0.24, h * 0.11)


def _address(rng: Random, draw: ImageDraw.ImageDraw, x: float, y: float, w: float, h: float) -> None:
    """A bin's printed address: a coloured strip with "2C" and a square code."""
    draw.rectangle((x, y, x + w, y + h), fill=rng.choice(PRINT))
    draw.rectangle((x + w * 0.08, y + h * 0.15, x + w * 0.5, y + h * 0.85), fill=(238, 236, 230))
    text = f"{rng.randint(1, 4)}{rng.choice('ABCDEFGHJK')}"
    draw.text((x + w * 0.14, y + h * 0.12), text, fill=(20, 20, 20), font=font(max(8, int(h * 0.62))))
    cell = h * 0.1
    draw.rectangle(
        (x + w * 0.62, y + h * 0.1, x + w * 0.62 + cell * 8, y + h * 0.1 + cell * 8), fill=(238, 236, 230)
    )
    for index in range(49):
        if rng.random() < 0.5:
            cx, cy = x + w * 0.62 + cell * (0.5 + index % 7), y + h * 0.1 + cell * (0.5 + index // 7)
            draw.rectangle((cx, cy, cx + cell, cy + cell), fill=(24, 24, 24))


def _bands(rng: Random, image: Image.Image, inner: tuple[int, int, int, int]) -> None:
    """Elastic bands across the opening: bundles of thin, half transparent cords."""
    w, h = image.size
    mask = Image.new("L", (w, h))
    draw = ImageDraw.Draw(mask)
    opacity = rng.randint(90, 190)
    for _ in range(rng.randint(1, 4)):
        y = rng.uniform(inner[1], inner[3] - 10)
        pitch, slope, sag = rng.uniform(2.6, 4.5), rng.uniform(-6, 6), rng.uniform(-4, 4)
        for _ in range(rng.randint(5, 16)):
            if y > inner[3] - 3:
                break
            jitter = rng.uniform(-0.8, 0.8)
            draw.line([(0, y + jitter), (w / 2, y + slope / 2 + sag), (w, y + slope - jitter)], fill=opacity)
            y += pitch
    image.paste(rng.choice(((196, 188, 180), (176, 168, 160), (214, 200, 170), (150, 140, 134))), mask=mask)
    if rng.random() < 0.25:
        y, slope = rng.uniform(inner[1] + 10, inner[3] - 10), rng.uniform(-14, 14)
        ImageDraw.Draw(image).line((0, y, w, y + slope), fill=(206, 164, 70), width=2)


def _expose(rng: Random, image: Image.Image) -> bytes:
    """Glare, focus, light that falls off, sensor noise, JPEG."""
    w, h = image.size
    if rng.random() < 0.4:
        size = int(w * rng.uniform(0.2, 0.5)), int(h * rng.uniform(0.15, 0.4))
        spot = (
            ImageChops.invert(Image.radial_gradient("L")).resize(size).point(lambda v: max(0, v - 75) * 0.8)
        )
        image.paste((255, 252, 240), (rng.randint(0, w - size[0]), rng.randint(0, h - size[1])), spot)
    out_of_focus = rng.random() < 0.08
    image = image.filter(
        ImageFilter.GaussianBlur(rng.uniform(1.2, 2.2) if out_of_focus else rng.uniform(0.4, 0.8))
    )
    across = np.linspace(rng.uniform(0.8, 1.05), rng.uniform(0.8, 1.05), w, dtype=np.float32)
    down = np.linspace(rng.uniform(0.75, 1.0), rng.uniform(0.9, 1.1), h, dtype=np.float32)
    warmth = np.array([rng.uniform(0.95, 1.05), 1.0, rng.uniform(0.88, 1.04)], dtype=np.float32)
    exposure = rng.uniform(0.78, 1.15)
    pixels = np.asarray(image, dtype=np.float32) * (down[:, None] * across * exposure)[..., None]
    pixels *= warmth
    grain = _grain()
    y, x = rng.randrange(grain.shape[0] - h), rng.randrange(grain.shape[1] - w)
    pixels += (grain[y : y + h, x : x + w] * np.float32(rng.uniform(2, 6)))[..., None]
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=rng.randint(60, 92))
    return content.getvalue()


@cache
def _grain() -> np.ndarray:
    """Float32 noise of unit variance, larger than any photograph; each takes another part of it."""
    return np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)


def _lit(light: float) -> tuple[int, int, int]:
    red, green, blue = (int(channel * light) for channel in FABRIC)
    return red, green, blue
