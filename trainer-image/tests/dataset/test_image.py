"""The decoder: which files it takes, and which pixels come out."""

import io
import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deeptrain_trainer.dataset.image import InvalidImageError, check_image, decode_rgb, pixel_count

from .samples import picture, zip_of

RGB = np.random.default_rng(3).integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(4).integers(0, 256, (6, 9), dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: what Pillow does not write, and what lies about its size."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_their_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode_rgb(saved(Image.fromarray(RGB), kind, **options))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    np.testing.assert_array_equal(pixels, RGB)


def test_jpeg_and_gif_are_near_their_pixels() -> None:
    smooth = Image.fromarray(RGB).resize((64, 64))
    for kind in ("JPEG", "GIF"):
        difference = decode_rgb(saved(smooth, kind)).astype(int) - np.asarray(smooth)
        assert np.abs(difference).mean() < 12


def test_grey_becomes_three_equal_channels() -> None:
    pixels = decode_rgb(saved(Image.fromarray(ALPHA)))
    np.testing.assert_array_equal(pixels, np.repeat(ALPHA[..., None], 3, 2))


def test_black_and_white_becomes_0_and_255() -> None:
    bits = Image.fromarray(ALPHA).convert("1")
    assert set(np.unique(decode_rgb(saved(bits)))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_put_over_white_rounding_down(kind: str) -> None:
    rgba = np.dstack([RGB, ALPHA])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = decode_rgb(saved(Image.fromarray(rgba), kind, **options))
    alpha = ALPHA[..., None].astype(int)
    np.testing.assert_array_equal(pixels, (RGB * alpha + 255 * (255 - alpha)) // 255)


def test_a_transparent_palette_entry_and_a_transparent_colour_become_white() -> None:
    palette = Image.fromarray(RGB).quantize(8)
    pixels = decode_rgb(saved(palette, transparency=2))
    assert (pixels[np.asarray(palette) == 2] == 255).all()
    colour = tuple(int(value) for value in RGB[0, 0])
    assert (decode_rgb(saved(Image.fromarray(RGB), transparency=colour))[0, 0] == 255).all()


def test_16_bits_keep_their_high_byte() -> None:
    samples = np.random.default_rng(5).integers(0, 65536, (4, 5), dtype=np.uint16)
    grey = decode_rgb(saved(Image.fromarray(samples)))
    np.testing.assert_array_equal(grey[..., 0], samples >> 8)
    colours = np.random.default_rng(6).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    np.testing.assert_array_equal(decode_rgb(png(5, 4, 16, 2, rows)), colours >> 8)


def test_cmyk_becomes_rgb_by_the_plain_formula() -> None:
    image = Image.fromarray(np.dstack([RGB, ALPHA]), "CMYK")
    data = saved(image, "JPEG", quality=100)
    with Image.open(io.BytesIO(data)) as reopened:
        inks = np.asarray(reopened).astype(int)
    light = 255 - inks[..., 3:]
    product = inks[..., :3] * light + 128
    wanted = light - (((product >> 8) + product) >> 8)
    np.testing.assert_array_equal(decode_rgb(data), wanted.clip(0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(RGB)
    plain = decode_rgb(saved(image, kind, **options))
    turned = decode_rgb(saved(image, kind, exif=exif, **options))
    upright = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: plain.transpose(1, 0, 2)[:, ::-1],
        7: plain.transpose(1, 0, 2)[::-1, ::-1],
        8: plain.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_array_equal(turned, upright[orientation])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_says_nothing() -> None:
    data = saved(Image.fromarray(RGB), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode_rgb(data), RGB)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    first = Image.new("RGB", (9, 6), (200, 30, 30))
    second = Image.new("RGB", (9, 6), (30, 200, 30))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(first, kind, save_all=True, append_images=[second], **options)
    assert (decode_rgb(data) == (200, 30, 30)).all()


def test_an_icc_profile_changes_nothing() -> None:
    profiled = saved(Image.fromarray(RGB), icc_profile=b"not even a profile" * 10)
    np.testing.assert_array_equal(decode_rgb(profiled), RGB)


def test_1_by_1_and_1_by_10000_are_images() -> None:
    assert decode_rgb(saved(Image.new("RGB", (1, 1)))).shape == (1, 1, 3)
    assert decode_rgb(saved(Image.new("RGB", (1, 10_000)))).shape == (10_000, 1, 3)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "XML"),
        (b"\n<!DOCTYPE html><html>404</html>", "HTML"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"II*\x00\x08\x00\x00\x00", "TIFF"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "AVIF"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "video"),
        (b"\x1aE\xdf\xa3\x01\x00\x00\x00", "video"),
        (zip_of({"a": b"b"}), "zip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"P6 2 2 255\n" + bytes(12), "not an image"),
    ],
)
def test_other_files_are_refused_by_what_they_are(data: bytes, named: str) -> None:
    with pytest.raises(InvalidImageError, match=named):
        decode_rgb(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = saved(noise, kind)
    for share in (0.1, 0.5, 0.9):
        for function in (decode_rgb, check_image):
            with pytest.raises(InvalidImageError, match=f"not a readable {kind}"):
                function(data[: int(share * len(data))])


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(png(14_000, 14_000, 8, 2, bytes(1000)), id="png-14000"),
        pytest.param(png(9_460, 9_460, 8, 0, bytes(1000)), id="png-just-above"),
        pytest.param(
            picture(1, "JPEG").replace(b"\x00\x08\x00\x08\x03", b"\xff\xff\xff\xff\x03"),
            id="jpeg-65535",
        ),
        pytest.param(picture(1, "GIF")[:6] + b"\xff" * 4 + picture(1, "GIF")[10:], id="gif-65535"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_pixel_bomb_is_refused_from_its_header(bomb: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidImageError, match="pixels"):
        decode_rgb(bomb)
    # Decoded, the smallest of them would take 89 MB. In kilobytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), st.data())
def test_damage_never_raises_anything_else(kind: str, data: st.DataObject) -> None:
    content = bytearray(picture(2, kind, 16))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_rgb(bytes(content))
    except InvalidImageError as error:
        assert str(error)
        with pytest.raises(InvalidImageError):
            check_image(bytes(content))
    else:
        check_image(bytes(content))
        assert pixels.ndim == 3 and pixels.shape[2] == 3


def test_pixels_are_counted_from_the_header() -> None:
    assert pixel_count(png(14_000, 9, 8, 2, b"")) == 126_000
    assert pixel_count(saved(Image.fromarray(RGB), "JPEG")) == 54
    assert pixel_count(b"no image") == pixel_count(b"\x89PNG\r\n\x1a\n") == 0
    # More than is ever decoded: refused by `decode_rgb`.
    assert pixel_count(png(14_000, 14_000, 8, 2, b"")) == 0


def test_a_check_keeps_no_pixels() -> None:
    side = 6000
    row = b"\0" + bytes(3 * side)
    data = png(side, side, 8, 2, row * side)
    child = os.fork()
    if child == 0:
        before = resident_peak_bytes()
        check_image(data)
        # Pillow itself has four bytes for each pixel.
        os._exit(0 if resident_peak_bytes() - before < 4.5 * side * side + 2**24 else 1)
    assert os.waitpid(child, 0)[1] == 0


def resident_peak_bytes() -> int:
    """Of this process, since its beginning."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
