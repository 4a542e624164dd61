"""From the bytes of a video file to JPEG pictures, some for each second.

Containers are told by their first bytes and only three are opened, by a demuxer that is named and
from memory: a playlist that calls itself a video reaches no other file and no network. Of FFmpeg's
several hundred decoders those that cameras and editors write are allowed.
"""

import io
import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

MAX_FRAME_PIXELS: Final = 8192 * 4320
MAX_FRAMES: Final = 20_000
"""Most frames that are taken of one video: five hours and a half at one a second."""
MAX_DECODED_PIXELS: Final = 10**12
"""Most pixels of all decoded frames: four hours and a half of 1080p at 30 frames a second."""
JPEG_QUALITY: Final = 95

_DECODERS: Final = (
    "h264,hevc,av1,libdav1d,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mpeg1video,mpeg2video,mjpeg,h263,"
    "msmpeg4,msmpeg4v2,prores,dvvideo,rawvideo"
)
# The same bytes on every processor.
_CONVERSION: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# A frame may be stamped a little before its time.
_EARLY: Final = 1e-6
# Beginnings of QuickTime and MP4 files; old ones have no `ftyp`.
_ATOMS: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STILL_BRANDS: Final = (b"hei", b"hev", b"mif", b"avif"[:3], b"jp2", b"jpx")
_SEGMENT: Final = b"\x18\x53\x80\x67"


class InvalidVideoError(Exception):
    """The bytes are not a video that is accepted; the message says why, in a few words."""


class Frame(NamedTuple):
    """A picture of a video, upright."""

    time_ms: int
    """Milliseconds since the first frame."""
    width: int
    height: int
    jpeg: bytes


def video_format(data: bytes) -> str | None:
    """FFmpeg's name of the demuxer, by the first bytes; None for what is no video."""
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if data.startswith(b"RIFF") and data[8:12] == b"AVI ":
        return "avi"
    if data[4:8] in _ATOMS and data[8:11] not in _STILL_BRANDS:
        return "mov"
    return None


def sampled_frames(data: bytes, frames_per_second: float) -> Iterator[Frame | None]:
    """The first frame at or after each multiple of 1 / `frames_per_second`.

    Yields None for each frame that is passed over, so that who waits sees that it goes on.

    Raises:
        InvalidVideoError: It is none, truncated, damaged, or too large.
    """
    name = video_format(data)
    if name is None:
        raise InvalidVideoError("not a video: not MP4, MOV, MKV, WebM or AVI")
    if _is_truncated(data, name):
        raise InvalidVideoError("the video is truncated: its file is shorter than it says")
    options = {"codec_whitelist": _DECODERS, "max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        with av.open(io.BytesIO(data), format=name, options=options) as container:
            yield from _frames(container, frames_per_second)
    except InvalidVideoError:
        raise
    except (av.FFmpegError, ValueError, OSError, MemoryError, OverflowError) as error:
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidVideoError(f"not a readable video: {detail}") from error


def _frames(container: Any, frames_per_second: float) -> Iterator[Frame | None]:
    stream = _track(container)
    stream.codec_context.thread_type = "AUTO"
    stream.codec_context.thread_count = 2
    first: float | None = None
    last = taken = -1
    time = 0.0
    pixels = 0
    for number, frame in enumerate(container.decode(stream)):
        pixels += frame.width * frame.height
        if frame.width * frame.height > MAX_FRAME_PIXELS or pixels > MAX_DECODED_PIXELS:
            raise InvalidVideoError(
                f"more pixels than are decoded ({MAX_FRAME_PIXELS} of a frame, "
                f"{MAX_DECODED_PIXELS} in all): cut or scale it"
            )
        stamp = frame.time if frame.time is not None else number / _rate(stream)
        first = stamp if first is None else first
        time = max(time, stamp - first)
        due = math.floor(time * frames_per_second + _EARLY)
        if due <= last:
            yield None
            continue
        last = due
        taken += 1
        if taken >= MAX_FRAMES:
            raise InvalidVideoError(f"more than {MAX_FRAMES} frames to take: cut it into parts")
        yield _picture(frame, round(time * 1000))
    if first is None:
        raise InvalidVideoError("it has no frame that can be decoded")
    _check_end(_stated_seconds(container, stream), time)


def _track(container: Any) -> Any:
    """The video track: the first that is no cover picture."""
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        context = stream.codec_context
        if context is None or context.name not in _DECODERS.split(","):
            raise InvalidVideoError(
                f"its video codec {getattr(context, 'name', 'unknown')} is not accepted; use H.264, "
                "HEVC, VP9 or AV1"
            )
        if context.width * context.height > MAX_FRAME_PIXELS:
            raise InvalidVideoError(
                f"{context.width}x{context.height} pixels are more than {MAX_FRAME_PIXELS}"
            )
        return stream
    raise InvalidVideoError("it has no video track")


def _rate(stream: Any) -> float:
    """Frames a second, for a file that has no times."""
    return float(stream.average_rate or 25)


def _stated_seconds(container: Any, stream: Any) -> float:
    """How long the track is by the file's header; 0 where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Of the whole file, which its sound may make longer.
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0


def _check_end(stated: float, time: float) -> None:
    """A track that ends long before its header says so was cut off, or is damaged."""
    if time < 0.9 * stated - 2:
        raise InvalidVideoError(
            f"the video is truncated: its frames end at {time:.1f} s of {stated:.1f} s"
        )


def _picture(frame: Any, time_ms: int) -> Frame:
    pixels: NDArray[np.uint8] = frame.reformat(
        format="rgb24", interpolation=_CONVERSION
    ).to_ndarray()
    # As the camera was held; counterclockwise, as numpy turns.
    pixels = np.rot90(pixels, round(frame.rotation / 90) % 4)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=JPEG_QUALITY)
    return Frame(time_ms, pixels.shape[1], pixels.shape[0], out.getvalue())


def _is_truncated(data: bytes, name: str) -> bool:
    """Whether the outermost parts reach beyond the file: decoders would end there without a word."""
    if name == "avi":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if name == "matroska":
        return _segment_end(data) > len(data)
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size == 0:  # to the end
            return False
        if size < 8:
            return True
        at += size
    return at > len(data)


def _segment_end(data: bytes) -> int:
    """Where a Matroska file's segment ends; 0 where it does not say."""
    at = data.find(_SEGMENT, 0, 4096)
    if at < 0:
        return 0
    at += len(_SEGMENT)
    head = data[at : at + 8]
    if not head or head[0] == 0:
        return 0
    length = 9 - head[0].bit_length()
    size = int.from_bytes(head[:length]) & ((1 << 7 * length) - 1)
    # All bits set: written live, the size was not known.
    return 0 if size == (1 << 7 * length) - 1 else at + length + size
