"""From the bytes of a photograph to the pixels a network sees: the same steps in training and serving."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from containers.common.errors import BinTallyError

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
MAX_PIXELS = 40_000_000  # a larger photograph is refused before it is decoded
# Whatever came from the camera is first squashed to the size at which the public photographs are
# commonly kept, so that a full-size photograph and its small copy reach the network as the same pixels.
COMMON_SIZE = (224, 224)

Image.MAX_IMAGE_PIXELS = None  # our own, lower limit is checked in ``decode``


class PhotographError(BinTallyError):
    """Bytes that are no photograph, a damaged one, or one that is too large."""


def decode(data: bytes) -> Image.Image:
    """Decode a JPEG or PNG fully, upright by its EXIF orientation, as RGB.

    Raises PhotographError for anything else, for damaged data and for more than ``MAX_PIXELS``.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(FORMATS.values()))
        if image.width * image.height > MAX_PIXELS:
            raise PhotographError(
                f"the photograph has {image.width}×{image.height} pixels; the limit is 40 million"
            )
        return ImageOps.exif_transpose(image).convert("RGB")
    except PhotographError:
        raise
    except UnidentifiedImageError:
        raise PhotographError("the data is neither a JPEG nor a PNG photograph") from None
    except Exception as error:  # Pillow's decoders raise many types for damaged data
        raise PhotographError(f"the photograph is damaged: {error}") from None


def resize_rule(input_size: tuple[int, int]) -> list[list]:
    """The steps ``[height, width, filter]`` from a photograph of any size to ``input_size``."""
    steps = [COMMON_SIZE] if tuple(input_size) == COMMON_SIZE else [COMMON_SIZE, input_size]
    return [[height, width, "bicubic"] for height, width in steps]


def resize(image: Image.Image, rule: list[list]) -> np.ndarray:
    """Apply a resize rule. Aspect is not kept: a crop could remove an item.

    Returns: uint8 ``[height, width, 3]``.
    """
    for height, width, name in rule:
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling[name.upper()])
    return np.asarray(image, dtype=np.uint8)
