"""The format `auto`: in which of the others the files of a source are.

Annotations are told by what stands in them, because their names are anybody's; pictures from videos by their names,
because all would have to be read. Where there are no annotations, folders are the concepts, if they can be: a source
in a layout of somebody else's must not become a dataset of the concepts `train` and `images`.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from ..failure import Failure
from .coco import is_of_another_task
from .csvtable import read_table
from .layout import Layout, split_of
from .layouts import layout_of
from .member import Member, UnreadableError, shown
from .yolo import names_in

_VIDEOS: Final = frozenset({".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
_PICTURES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# Folders that stand beside annotations in the layouts of others.
_NO_CONCEPTS: Final = frozenset(
    {
        "annotations",
        "data",
        "dataset",
        "image",
        "images",
        "img",
        "imgs",
        "jpegimages",
        "labels",
        "videos",
    }
)


class FoundFormat(NamedTuple):
    """What a source seems to be in."""

    name: str
    """A `DatasetFormat` of api/dataset.ts, which is never `auto`."""
    because: str
    """Path of the annotations that say so; empty where there are none."""

    def hint(self) -> str:
        """For the message of an import that failed then."""
        why = f"because of `{shown(self.because, 80)}`" if self.because else "without annotations"
        return f"spec.format: auto took it for {self.name}, {why}; name the format if it is another"


def format_of(members: Iterable[Member]) -> FoundFormat:
    """The format of a source.

    Raises:
        Failure: `InputInvalid`: there are annotations in several formats, or in none that is known.
    """
    seen = _Seen()
    for member in members:
        if member.read is not None:
            seen.take(member, member.read)
    return seen.format()


class _Seen:
    """What was seen of a source so far."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._layouts: dict[str, Layout] = {}
        self._unread = ""
        self._unknown = ""
        self._has_label_files = False
        self._videos = self._pictures = 0
        # Names of the folders that pictures and videos lie in.
        self._homes: set[str] = set()

    def take(self, member: Member, read: Callable[[], bytes]) -> None:
        """Takes note of a file."""
        path = PurePosixPath(member.path)
        suffix = path.suffix.casefold()
        self._videos += suffix in _VIDEOS
        self._pictures += suffix in _PICTURES
        if suffix in _VIDEOS or suffix in _PICTURES:
            self._homes.add(path.parent.name)
        is_names = path.name.casefold() == "classes.txt"
        self._has_label_files |= suffix == ".txt" and "labels" in path.parts[:-1]
        sign = _SIGNS.get("classes.txt" if is_names else suffix)
        if sign is not None and sign[0] not in self._first:
            self._look_into(member, read, *sign)

    def _look_into(
        self, member: Member, read: Callable[[], bytes], name: str, is_one: "_Check"
    ) -> None:
        layout = self._layouts.setdefault(name, layout_of(name))
        limit = layout.annotation_limit(member.path)
        try:
            if member.size > limit:
                raise UnreadableError(f"{member.size} bytes are more than {limit}")
            data = read()
        except UnreadableError as error:
            self._unread = self._unread or f"`{shown(member.path, 80)}` cannot be read: {error}"
            return
        if is_one(member.path, data):
            self._first[name] = member.path
        else:
            self._unknown = self._unknown or member.path

    def format(self) -> FoundFormat:
        """What all of it is in. Raises as `format_of`."""
        if not self._has_label_files:
            names_alone = self._first.pop("yolo", "")
            self._unknown = self._unknown or names_alone
        if len(self._first) > 1:
            found = " and ".join(
                f"{name} (`{shown(path, 80)}`)" for name, path in sorted(self._first.items())
            )
            raise _refused(f"there are annotations of {found}")
        for name, path in self._first.items():
            return FoundFormat(name, path)
        if self._unread:
            raise _refused(self._unread)
        odd = sorted(n for n in self._homes if split_of(n) or n.casefold() in _NO_CONCEPTS)
        if odd:
            what = f"`{shown(self._unknown, 80)}` is" if self._unknown else "there is"
            raise _refused(
                f"files lie in a folder `{shown(odd[0], 40)}`, which is no concept, and {what} no annotation "
                "that is known"
            )
        return FoundFormat("videoFolder" if self._videos > self._pictures else "imageFolder", "")


def _refused(why: str) -> Failure:
    return Failure("InputInvalid", f"spec.format: auto, but {why}: name the format")


def _is_coco(path: str, data: bytes) -> bool:
    keys = (b'"images"', b'"annotations"', b'"categories"')
    return not is_of_another_task(path) and all(key in data for key in keys)


def _is_voc(_path: str, data: bytes) -> bool:
    return b"<annotation" in data and b"<object" in data


def _is_yolo(path: str, data: bytes) -> bool:
    try:
        return bool(names_in(path, data))
    except Failure:
        return False


def _is_csv(path: str, data: bytes) -> bool:
    return read_table(path, data) is not None


_Check = Callable[[str, bytes], bool]
_SIGNS: Final[Mapping[str, tuple[str, _Check]]] = {
    ".json": ("coco", _is_coco),
    ".xml": ("voc", _is_voc),
    ".yaml": ("yolo", _is_yolo),
    ".yml": ("yolo", _is_yolo),
    "classes.txt": ("yolo", _is_yolo),
    ".csv": ("csv", _is_csv),
}
"""By the ends of names: the format whose annotations a file may have, and whether it has them."""
