"""The things in a synthetic bin: boxes, bags, bottles and books, drawn as sprites.

For tests and first runs; see ``synthetic``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFont

Colour = tuple[int, int, int]

CARTON = ((172, 132, 92), (158, 118, 80), (186, 148, 108), (146, 108, 74))
PRINT = (
    (188, 44, 40), (36, 76, 150), (40, 120, 80), (232, 232, 226), (36, 36, 42), (206, 120, 40),
    (108, 60, 130), (60, 150, 170), (226, 196, 60), (204, 110, 140),
)  # fmt: skip
MAILER = ((196, 200, 204), (222, 222, 216), (70, 74, 80), (120, 140, 160), (206, 190, 160), (150, 60, 66))
WORDS = ("NATURAL", "ULTRA", "PRO", "MIX", "HOME", "CLASSIC", "VITA", "KIDS", "SPORT", "CAFE", "LUX", "EXTRA")
NOUNS = {
    "box": ("Storage Box", "Gift Set", "Board Game", "Phone Charger"),
    "bag": ("Cotton T-Shirt", "Yoga Strap", "Plush Toy", "Cable Pack"),
    "bottle": ("Shampoo, 12 oz", "Vitamin C, 90 Capsules", "Body Lotion", "Dish Soap"),
    "book": ("Cookbook", "Field Guide", "Planner", "Novel"),
}


@dataclass(frozen=True)
class Product:
    """What an ASIN stands for. ``look`` seeds everything that is drawn on it."""

    asin: str
    kind: str  # a key of NOUNS
    width: float  # inches, as it stands in the bin
    height: float
    look: int

    @property
    def name(self) -> str:
        rng = Random(self.look)
        return f"{rng.choice(WORDS).title()} {rng.choice(NOUNS[self.kind])}"


def sprite(product: Product, width: int, height: int) -> Image.Image:
    """RGBA, ``width`` × ``height`` pixels; equal arguments give equal pixels."""
    rng = Random(product.look)
    image = Image.new("RGB", (width, height))
    mask = Image.new("L", (width, height))
    PAINTERS[product.kind](rng, image, mask)
    image.putalpha(mask)
    return image


def _box(rng: Random, image: Image.Image, mask: Image.Image) -> None:
    w, h = image.size
    plain = rng.random() < 0.55
    colour = _vary(rng, rng.choice(CARTON if plain else PRINT))
    draw, shape = ImageDraw.Draw(image), ImageDraw.Draw(mask)
    top, side = int(h * rng.uniform(0.08, 0.2)), int(w * rng.uniform(0.05, 0.18))
    outline = [(side, 0), (w - 1, 0), (w - 1, h - top), (w - 1 - side, h - 1), (0, h - 1), (0, top)]
    shape.polygon(outline, fill=255)
    draw.polygon([(0, top), (side, 0), (w - 1, 0), (w - 1 - side, top)], fill=_scale(colour, 1.18))
    draw.polygon(
        [(w - 1 - side, top), (w - 1, 0), (w - 1, h - top), (w - 1 - side, h - 1)], _scale(colour, 0.62)
    )
    front = (0, top, w - 1 - side, h - 1)
    _shade(image, front, colour, 1.0, 0.82)
    if plain:
        middle = front[2] * rng.uniform(0.4, 0.6)
        tape = max(3, int(w * 0.07))
        draw.rectangle((middle - tape, top, middle + tape, top + h * 0.35), fill=_scale(colour, 1.22))
        draw.polygon(
            [
                (middle - tape, top),
                (middle + tape, top),
                (middle + tape + side, 0),
                (middle - tape + side, 0),
            ],
            fill=_scale(colour, 1.3),
        )
        _label(rng, draw, front)
    else:
        _cover(rng, draw, front, colour)
    draw.line([(0, top), (w - 1 - side, top), (w - 1 - side, h - 1)], fill=_scale(colour, 0.5))
    draw.line([*outline, outline[0]], fill=_scale(colour, 0.4))


def _book(rng: Random, image: Image.Image, mask: Image.Image) -> None:
    w, h = image.size
    colour = _vary(rng, rng.choice(PRINT))
    draw = ImageDraw.Draw(image)
    pages = max(3, int(w * rng.uniform(0.06, 0.14)))
    ImageDraw.Draw(mask).rectangle((0, 0, w - 1, h - 1), fill=255)
    draw.rectangle((w - pages, 0, w - 1, h - 1), fill=(214, 206, 186))
    for x in range(w - pages, w, 2):
        draw.line((x, 2, x, h - 3), fill=(170, 160, 140))
    _shade(image, (0, 0, w - pages, h - 1), colour, 0.8, 1.05)
    spine = max(2, pages // 2)
    draw.rectangle((0, 0, spine, h - 1), fill=_scale(colour, 0.6))
    _cover(rng, draw, (spine, 0, w - pages, h - 1), colour)
    draw.rectangle((0, 0, w - 1, h - 1), outline=_scale(colour, 0.35))


def _bottle(rng: Random, image: Image.Image, mask: Image.Image) -> None:
    w, h = image.size
    colour = _vary(rng, rng.choice(PRINT))
    draw, shape = ImageDraw.Draw(image), ImageDraw.Draw(mask)
    neck, shoulder, cap = w * rng.uniform(0.18, 0.3), h * rng.uniform(0.2, 0.3), h * rng.uniform(0.09, 0.15)
    left, right = w / 2 - neck, w / 2 + neck
    shape.rounded_rectangle((0, shoulder, w - 1, h - 1), radius=w * 0.12, fill=255)
    shape.polygon(
        [(left, cap), (right, cap), (w - 1, shoulder + w * 0.12), (0, shoulder + w * 0.12)], fill=255
    )
    shape.rounded_rectangle((left - 1, 0, right + 1, cap), radius=2, fill=255)
    draw.rectangle((0, 0, w, h), fill=colour)
    draw.rectangle((0, 0, w, cap), fill=_vary(rng, rng.choice(((235, 235, 230), (40, 40, 44), colour))))
    draw.line((0, cap, w, cap), fill=_scale(colour, 0.4))
    paper = (0, int(shoulder + h * 0.14), w - 1, int(h * rng.uniform(0.8, 0.9)))
    _cover(
        rng,
        draw,
        paper,
        _vary(rng, rng.choice(((240, 238, 230), (226, 210, 150), (200, 220, 226)))),
        fill=True,
    )
    image.paste(ImageChops.multiply(image, _round_shade(w, h)))
    draw.line(
        (w * 0.25, shoulder + 4, w * 0.25, h * 0.94), fill=_scale(colour, 0.4, 150), width=max(1, w // 18)
    )


def _bag(rng: Random, image: Image.Image, mask: Image.Image) -> None:
    """A poly mailer or a plastic bag; the latter is partly transparent."""
    w, h = image.size
    colour = _vary(rng, rng.choice(MAILER + PRINT[:3]))
    clear = rng.random() < 0.4
    edge = [
        (w * (x + rng.uniform(-0.05, 0.05) * (0 < x < 1)), h * (y + rng.uniform(-0.05, 0.05) * (0 < y < 1)))
        for x, y in ((0.05, 0.06), (0.3, 0.03), (0.6, 0.05), (0.95, 0.04), (0.97, 0.35), (0.94, 0.7),
                     (0.98, 0.96), (0.6, 0.98), (0.3, 0.96), (0.03, 0.97), (0.06, 0.6), (0.02, 0.3))
    ]  # fmt: skip
    ImageDraw.Draw(mask).polygon(edge, fill=215 if clear else 255)
    _shade(image, (0, 0, w - 1, h - 1), colour, 1.08, 0.78)
    draw = ImageDraw.Draw(image)
    if clear:
        inner = (int(w * 0.16), int(h * 0.2), int(w * 0.84), int(h * 0.86))
        _cover(rng, draw, inner, _vary(rng, rng.choice(PRINT)), fill=True)
    for _ in range(rng.randint(6, 11)):
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        dx, dy = rng.uniform(-0.35, 0.35) * w, rng.uniform(-0.35, 0.35) * h
        fold = [(x, y), (x + dx * 0.5 + rng.uniform(-4, 4), y + dy * 0.5), (x + dx, y + dy)]
        draw.line(
            fold, fill=_scale(colour, rng.choice((0.62, 0.75, 1.25, 1.45))), width=rng.choice((1, 2, 3))
        )
    if not clear:
        _label(rng, draw, (int(w * 0.12), int(h * 0.15), int(w * 0.88), int(h * 0.85)))
    for _ in range(rng.randint(1, 3)):
        x, y = rng.uniform(0.1, 0.8) * w, rng.uniform(0.1, 0.8) * h
        draw.polygon([(x, y), (x + w * 0.13, y + 2), (x + w * 0.04, y + h * 0.09)], fill=(246, 246, 242))
    draw.line([*edge, edge[0]], fill=_scale(colour, 0.5))


PAINTERS: dict[str, Callable[[Random, Image.Image, Image.Image], None]] = {
    "box": _box, "bag": _bag, "bottle": _bottle, "book": _book,
}  # fmt: skip


def _cover(rng: Random, draw: ImageDraw.ImageDraw, area: tuple, colour: Colour, fill: bool = False) -> None:
    """Printed matter: a word, a picture, lines of text."""
    x0, y0, x1, y1 = area
    w, h = x1 - x0, y1 - y0
    if fill:
        draw.rectangle(area, fill=colour)
    ink = (240, 238, 230) if sum(colour) < 380 else (40, 40, 50)
    picture = _vary(rng, rng.choice(PRINT))
    x, y = x0 + w * rng.uniform(0.12, 0.3), y0 + h * rng.uniform(0.35, 0.5)
    shape = rng.choice((draw.ellipse, draw.rectangle))
    shape((x, y, x + w * rng.uniform(0.35, 0.55), y + h * rng.uniform(0.2, 0.35)), fill=picture)
    draw.text(
        (x0 + w * 0.1, y0 + h * 0.08), rng.choice(WORDS), fill=ink, font=font(int(max(8, min(w / 5, h / 4))))
    )
    for line in range(rng.randint(1, 3)):
        y = y1 - h * (0.06 + 0.05 * line)
        draw.line((x0 + w * 0.12, y, x0 + w * rng.uniform(0.5, 0.88), y), fill=ink)


def _label(rng: Random, draw: ImageDraw.ImageDraw, area: tuple) -> None:
    """A white sticker with a bar code."""
    x0, y0, x1, y1 = area
    w, h = (x1 - x0) * rng.uniform(0.3, 0.5), (y1 - y0) * rng.uniform(0.18, 0.32)
    x, y = rng.uniform(x0 + 2, x1 - w - 2), rng.uniform(y0 + (y1 - y0) * 0.35, y1 - h - 2)
    draw.rectangle((x, y, x + w, y + h), fill=(236, 234, 228))
    for bar in range(int(x) + 3, int(x + w) - 2, 2):
        if rng.random() < 0.6:
            draw.line((bar, y + 2, bar, y + h * 0.6), fill=(30, 30, 30))
    draw.line((x + 3, y + h * 0.8, x + w * 0.7, y + h * 0.8), fill=(90, 90, 90))


def _shade(image: Image.Image, area: tuple, colour: Colour, first: float, last: float) -> None:
    """Fill ``area`` from top to bottom between two brightnesses of a colour."""
    size = (max(1, area[2] - area[0] + 1), max(1, area[3] - area[1] + 1))
    gradient = Image.linear_gradient("L").resize(size)
    one, other = Image.new("RGB", size, _scale(colour, first)), Image.new("RGB", size, _scale(colour, last))
    image.paste(Image.composite(other, one, gradient), area[:2])


def _round_shade(w: int, h: int) -> Image.Image:
    """Bright left of the middle, dark at both sides: a cylinder."""
    row = Image.new("L", (w, 1))
    row.putdata([int(255 * max(0.35, 1 - 1.5 * abs(x / w - 0.4) ** 1.6)) for x in range(w)])
    column = row.resize((w, h))
    return Image.merge("RGB", (column, column, column))


def _scale(colour: Colour, factor: float, offset: int = 0) -> Colour:
    red, green, blue = (min(255, int(channel * factor) + offset) for channel in colour)
    return red, green, blue


def _vary(rng: Random, colour: Colour) -> Colour:
    red, green, blue = (max(0, min(255, channel + rng.randint(-18, 18))) for channel in colour)
    return red, green, blue


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own typeface, so that no font need be installed."""
    return ImageFont.load_default(size)
