"""Small videos for the tests."""

import io

import av
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

WIDTH, HEIGHT = 64, 48


def frame_pixels(number: int, shade: int = 0) -> NDArray[np.uint8]:
    """A grey picture, another for each number, whose upper left quarter is red."""
    pixels = np.full((HEIGHT, WIDTH, 3), 40 + (number * 7 + shade * 31) % 160, np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = (220, 20, 20)
    return pixels


def video(
    seconds: float = 3,
    rate: int = 10,
    shade: int = 0,
    container: str = "mp4",
    codec: str = "mpeg4",
) -> bytes:
    """A video; another shade gives another one."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(frame_pixels(number, shade), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


def clip(colour: str, number: int) -> bytes:
    """Two seconds of one colour with noise; another number gives another video."""
    generator = np.random.default_rng(number)
    ground = np.array(ImageColor.getrgb(colour))
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(16):
            noisy = ground * 0.6 + generator.integers(0, 100, (HEIGHT, WIDTH, 3))
            frame = av.VideoFrame.from_ndarray(noisy.astype(np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


def sound() -> bytes:
    """An MP4 file without pictures."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


def turned_clockwise(mp4: bytes) -> bytes:
    """The video with a display matrix as a telephone held upright writes it (ISO 14496-12, 8.3.2)."""
    at = mp4.index(b"tkhd") + 44
    numbers = [0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30]
    matrix = b"".join(number.to_bytes(4, signed=True) for number in numbers)
    return mp4[:at] + matrix + mp4[at + 36 :]
