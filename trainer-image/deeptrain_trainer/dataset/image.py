"""The one decoder: from the bytes of an image file to 8-bit RGB, the same for import, training and
evaluation.

Formats are told by their first bytes, never by a file's name, and only five are allowed: each
further one is attack surface. ICC profiles are ignored, the EXIF orientation is applied,
transparency is put over white, 16-bit samples keep their high byte, and of an animation the first
frame counts.

A server gets the same bytes from sharp with `ignoreIcc` and `autoOrient`: alpha as raw RGBA
flattened by `_over_white`'s formula; CMYK as raw CMYK (`pipelineColourspace("cmyk")`) converted by
Pillow's, which is (255 - k) - mul(c, 255 - k) with t = a * b + 128, mul(a, b) = ((t >> 8) + t) >>
8.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

MAX_PIXELS: Final = 89_478_485
"""Most pixels of an image: Pillow's own bound. One of that size needs 268 MB as RGB."""

_OVERSIZED = (Image.DecompressionBombWarning, Image.DecompressionBombError)
# Pillow only warns up to twice its bound; as an error it stops before memory is taken.
warnings.simplefilter("error", Image.DecompressionBombWarning)

_STRIP_PIXELS: Final = 1024 * 1024

_Pixels = NDArray[np.uint8]


def _as_is(pixels: _Pixels) -> _Pixels:
    return pixels


def _transposed(pixels: _Pixels) -> _Pixels:
    return pixels.transpose(1, 0, 2)


# For the EXIF orientations 2 to 8: what makes the image upright.
_UPRIGHT: Final[dict[int, Callable[[_Pixels], _Pixels]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: _transposed,
    6: lambda pixels: _transposed(pixels)[:, ::-1],
    7: lambda pixels: _transposed(pixels)[::-1, ::-1],
    8: lambda pixels: _transposed(pixels)[::-1],
}

# Those that exchange width and height.
_TURNED: Final = (5, 6, 7, 8)

# What people put among their images by mistake, by first bytes.
_OTHERS: Final = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML file"),
    (b"%pdf", "a PDF"),
    (b"%!ps", "PostScript"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"ii*\x00", "a TIFF image"),
    (b"mm\x00*", "a TIFF image"),
    (b"simple  =", "a FITS file"),
    (b"\x1aE\xdf\xa3".lower(), "a video"),
    (b"<", "an XML file"),
    (b"{", "JSON or text"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file"),
)


class InvalidImageError(Exception):
    """The bytes are not an image that is accepted; the message says why, in a few words."""


def image_format(data: bytes) -> str | None:
    """`JPEG`, `PNG`, `WEBP`, `GIF` or `BMP` by the first bytes; None for all else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    return None


def pixel_count(data: bytes) -> int:
    """How many pixels an image file says it has; 0 where it is none. Nothing is decoded."""
    name = image_format(data)
    if name is None:
        return 0
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            return image.width * image.height
    except Exception:
        # As in `_loaded`: whatever it is, `decode_rgb` will say so.
        return 0


def decode_rgb(data: bytes) -> _Pixels:
    """Decodes an image file.

    Returns:
        The pixels, [height, width, 3], contiguous and owned by the caller.

    Raises:
        InvalidImageError: Not of an accepted format, more than `MAX_PIXELS`, damaged or truncated.
    """
    with _loaded(data) as image:
        width, height = image.size
        pixels = np.empty((height, width, 3), np.uint8)
        top = 0
        for strip in _strips(image):
            pixels[top : top + len(strip)] = strip
            top += len(strip)
        return np.ascontiguousarray(_UPRIGHT.get(_orientation(image), _as_is)(pixels))


def check_image(data: bytes) -> tuple[int, int]:
    """Width and height of the pixels that `decode_rgb` gives.

    Raises InvalidImageError where it would, in half of its memory: the pixels are not kept.
    """
    with _loaded(data) as image:
        for _ in _strips(image):
            pass
        width, height = image.size
        return (height, width) if _orientation(image) in _TURNED else (width, height)


@contextlib.contextmanager
def _loaded(data: bytes) -> Iterator[Image.Image]:
    """The decoded image; what goes wrong with it becomes InvalidImageError."""
    name = image_format(data)
    if name is None:
        raise InvalidImageError(_unaccepted(data))
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            width, height = image.size
            # From the header alone: nothing has been decoded yet.
            if width * height > MAX_PIXELS:
                raise InvalidImageError(f"{width}x{height} pixels are more than {MAX_PIXELS}")
            image.load()
            yield image
    except InvalidImageError:
        raise
    except _OVERSIZED as error:
        raise InvalidImageError(f"more than {MAX_PIXELS} pixels") from error
    except MemoryError as error:
        raise InvalidImageError("decoding it needs more memory than there is") from error
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads to: OSError, SyntaxError, struct.error,
        # ValueError, IndexError, ... Any of them means that this file cannot be used.
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidImageError(f"not a readable {name}: {detail}") from error


def _strips(image: Image.Image) -> Iterator[_Pixels]:
    """8-bit RGB of the frame that is loaded, some rows at a time: so conversions take little more
    memory than the image.
    """
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield _to_rgb(image.crop((0, top, width, min(top + rows, height))))


def _to_rgb(image: Image.Image) -> _Pixels:
    if image.mode.startswith("I"):
        # Pillow's own conversion of 16-bit samples clips at 255 instead of scaling.
        grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")).astype(np.uint16))
    return np.asarray(image.convert("RGB"))


def _over_white(samples: NDArray[np.uint16]) -> _Pixels:
    # Integer arithmetic, rounded down, as libvips flattens: so a server decodes to the same bytes.
    alpha = samples[..., 3:]
    return ((samples[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none. `getexif` would also believe XMP, which others
    do not.
    """
    raw = image.info.get("exif")
    if not isinstance(raw, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:
        # Damaged metadata say nothing about the pixels.
        return 1
    return value if isinstance(value, int) else 1


def _unaccepted(data: bytes) -> str:
    if not data:
        return "the file is empty"
    accepted = "JPEG, PNG, WebP, GIF or BMP"
    start = data[:64].lstrip().lower()
    found = next((name for magic, name in _OTHERS if start.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        found = "a HEIC or AVIF image" if brand[:3] in (b"hei", b"mif", b"avi") else "a video"
    if found is None:
        return f"not an image: not {accepted}"
    return f"{found}, not {accepted}"
