"""The format `auto`: in which of the others the files of a source are.

Annotations are told by what stands in them, because their names are anybody's; pictures from videos by their names,
because all would have to be read. Where there are no annotations, folders are the concepts.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from ..failure import Failure
from .coco import MAX_JSON_BYTES
from .csvlist import MAX_CSV_BYTES
from .csvtable import read_table
from .member import Member, UnreadableError, shown

_MOST_XML_BYTES: Final = 16 * 1024 * 1024
_MOST_YAML_BYTES: Final = 1024 * 1024
_VIDEOS: Final = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
_PICTURES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def _is_coco(_path: str, data: bytes) -> bool:
    return all(key in data for key in (b'"images"', b'"annotations"', b'"categories"'))


def _is_voc(_path: str, data: bytes) -> bool:
    return b"<annotation" in data and b"<object" in data


def _is_yolo(_path: str, data: bytes) -> bool:
    return any(line.startswith(b"names:") for line in data.splitlines())


def _is_csv(path: str, data: bytes) -> bool:
    return read_table(path, data) is not None


_Sign = tuple[str, int, Callable[[str, bytes], bool]]
"""Format, most bytes of a file of annotations, and whether it is one."""
_SIGNS: Final[Mapping[str, _Sign]] = {
    ".json": ("coco", MAX_JSON_BYTES, _is_coco),
    ".xml": ("voc", _MOST_XML_BYTES, _is_voc),
    ".yaml": ("yolo", _MOST_YAML_BYTES, _is_yolo),
    ".yml": ("yolo", _MOST_YAML_BYTES, _is_yolo),
    ".csv": ("csv", MAX_CSV_BYTES, _is_csv),
}


def format_of(members: Iterable[Member]) -> str:
    """The format of a source (`DatasetFormat` of api/dataset.ts), which is never `auto`.

    Raises:
        Failure: `InputInvalid`: there are annotations in several formats.
    """
    first: dict[str, str] = {}
    videos = pictures = 0
    for member in members:
        suffix = PurePosixPath(member.path).suffix.casefold()
        videos += suffix in _VIDEOS
        pictures += suffix in _PICTURES
        sign = _SIGNS.get(suffix)
        if sign is None or member.read is None:
            continue
        name, limit, is_one = sign
        if name in first or member.size > limit:
            continue
        try:
            data = member.read()
        except UnreadableError:
            continue  # told when it is imported
        if is_one(member.path, data):
            first[name] = member.path
    if len(first) > 1:
        found = " and ".join(
            f"{name} (`{shown(path, 80)}`)" for name, path in sorted(first.items())
        )
        raise Failure(
            "InputInvalid", f"spec.format: auto, but there are annotations of {found}: name one"
        )
    folders = "videoFolder" if videos > pictures else "imageFolder"
    return next(iter(first), folders)
