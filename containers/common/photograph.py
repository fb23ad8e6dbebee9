"""From the bytes of a photograph to the pixels a network sees: the same steps in training and serving."""

import io
import re

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from containers.common.errors import BinTallyError

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
MAX_PIXELS = 40_000_000  # a larger photograph is refused before it is decoded
# The public photographs are commonly kept as copies squashed to this size and compressed again, and such
# copies are what networks are trained on. A photograph of any other size is first made into one: it then
# reaches the network as the same pixels, compression and all, as its copy would.
COPY_SIZE = (224, 224)
COPY_QUALITY = 75

# A JPEG's scan can be a few bytes long, and decoding it visits every pixel all the same. Progressive files
# have about ten. Marker, length and number of components, since what lies beside the photograph, such as a
# telephone's video, holds the marker's two bytes by chance.
SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")
MAX_SCANS = 100

Image.MAX_IMAGE_PIXELS = None  # our own, lower limit is checked in ``decode``


class PhotographError(BinTallyError):
    """Bytes that are no photograph, a damaged one, or one that is too large."""


def decode(data: bytes) -> Image.Image:
    """Decode a JPEG or PNG fully, upright by its EXIF orientation, as RGB.

    Raises PhotographError for anything else, for damaged data, and for more than ``MAX_PIXELS`` or
    ``MAX_SCANS``.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(FORMATS.values()))
        if image.width * image.height > MAX_PIXELS:
            raise PhotographError(
                f"the photograph has {image.width}×{image.height} pixels; the limit is 40 million"
            )
        if image.format != "PNG" and (scans := len(SCAN.findall(data))) > MAX_SCANS:
            raise PhotographError(f"the photograph is a JPEG of {scans} scans; the limit is {MAX_SCANS}")
        return ImageOps.exif_transpose(image).convert("RGB")
    except PhotographError:
        raise
    except UnidentifiedImageError:
        raise PhotographError("the data is neither a JPEG nor a PNG photograph") from None
    except Exception as error:  # Pillow's decoders raise many types for damaged data
        raise PhotographError(f"the photograph is damaged: {error}") from None


def resize_rule(input_size: tuple[int, int]) -> list[dict]:
    """The steps from a photograph of any size to ``input_size`` (height, width)."""
    steps = [_step(COPY_SIZE) | {"jpeg_quality": COPY_QUALITY}]
    return steps if tuple(input_size) == COPY_SIZE else [*steps, _step(input_size)]


def _step(size: tuple[int, int]) -> dict:
    return {"height": size[0], "width": size[1], "filter": "bicubic"}


def resize(image: Image.Image, rule: list[dict]) -> np.ndarray:
    """Apply a resize rule; a step is skipped where the image has its size already.

    Aspect is not kept: a crop could remove an item. Returns: uint8 ``[height, width, 3]``.
    """
    for step in rule:
        if image.size == (step["width"], step["height"]):
            continue
        image = image.resize((step["width"], step["height"]), Image.Resampling[step["filter"].upper()])
        if quality := step.get("jpeg_quality"):
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=quality)
            image = Image.open(stream)
    return np.asarray(image, dtype=np.uint8)
