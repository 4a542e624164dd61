"""The layout `voc` (Everingham et al., The PASCAL Visual Object Classes Challenge, 2010).

`JPEGImages/<name>.jpg` with `Annotations/<name>.xml`, or both side by side; `ImageSets/Main` lists
the names of each split, and what it does not list is no part of the dataset. Folders that wrap all
of it are seen through; there may be several such sets (VOC2007, VOC2012).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal
from xml.parsers import expat

from ..failure import Failure
from .annotation import (
    MAX_BOXES,
    ConceptNumbers,
    Kept,
    check_size,
    checked_box,
    fitted,
    kept,
    numbers_shown,
)
from .box import Box, unpack_boxes
from .layout import BadItem, InvalidLabelsError, Labels, Role, split_of
from .member import shown
from .store import Split

_PICTURES: Final = "JPEGImages"
_MAX_XML_BYTES: Final = 4 * 1024 * 1024
_MAX_LIST_BYTES: Final = 128 * 1024 * 1024
_MAX_DEPTH: Final = 32
_MAX_TEXT: Final = 1000
_ROTATED: Final = ("robndbox", "polygon", "rotation", "angle", "bndbox/angle", "bndbox/rotation")


class Voc:
    """The annotations of one source."""

    expected = "JPEGImages/<name> with Annotations/<name>.xml"
    has_boxes = True
    required: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Nothing was given."""
        self._concepts = ConceptNumbers()
        self.names = self._concepts.names
        # By root and name: stated width and height, and what is kept.
        self._annotations: dict[str, tuple[int, int, Kept]] = {}
        self._lists: dict[str, dict[str, set[str]]] = defaultdict(dict)
        self._splits: dict[str, dict[str, Split | Literal["conflict"] | None]] = {}
        self._seen: set[str] = set()
        self._has_split_folders = False

    def annotation_limit(self, path: str) -> int:
        """XML files, and the lists of splits."""
        if path.casefold().endswith(".xml"):
            return _MAX_XML_BYTES
        return 0 if _list_of(path) is None else _MAX_LIST_BYTES

    def annotate(self, path: str, data: bytes) -> None:
        """Takes an annotation or a list."""
        listed = _list_of(path)
        if listed is not None:
            root, name = listed
            lines = data.decode("utf-8", "replace").splitlines()
            self._lists[root][name] = {line.split()[0] for line in lines if line.strip()}
            return
        try:
            width, height, boxes = _parsed(data, self._concepts)
            self._annotations[_key(path)] = (width, height, kept(boxes))
        except InvalidLabelsError as error:
            self.lose(path, str(error))

    def lose(self, path: str, problem: str) -> None:
        """An annotation's picture is a bad item; a list is all there is to know about splits."""
        if _list_of(path) is not None:
            raise Failure("InputInvalid", f"`{shown(path)}` cannot be read: {problem}")
        self._annotations[_key(path)] = (0, 0, f"{shown(path, 100)}: {problem}")

    def complete(self, folders: Collection[str], files: Iterable[str]) -> None:
        """Decides what is in which split."""
        for root, lists in self._lists.items():
            self._splits[root] = _splits_of_names(lists)
        parents = {key.rpartition("/")[0] for key in self._annotations}
        splits = {split_of(parent.rpartition("/")[2]) for parent in parents}
        # One folder alone is a wrapping, as everywhere.
        self._has_split_folders = "train" in splits and len(splits - {None}) > 1

    def role(self, path: str) -> Role:
        """Whatever has an annotation, is listed, or lies where the pictures do."""
        key = _key(path)
        root, _, name = key.rpartition("/")
        lists = self._splits.get(root)
        if lists is not None:
            self._seen.add(key)
            return "item" if name in lists else "unlisted"
        if key in self._annotations or _PICTURES in path.split("/")[:-1]:
            self._seen.add(key)
            return "item"
        return "stray"

    def labels(self, path: str, width: int, height: int) -> Labels:
        """What the picture's annotation says."""
        key = _key(path)
        split = self._split(key)
        if key not in self._annotations:
            raise InvalidLabelsError(
                "it has no annotation: add its .xml (without objects, if it shows nothing)"
            )
        stated_width, stated_height, boxes = self._annotations[key]
        if isinstance(boxes, str):
            raise InvalidLabelsError(boxes)
        check_size((stated_width, stated_height), width, height)
        packed, clipped = fitted(unpack_boxes(boxes), width, height)
        return Labels(self._concepts.shown_by(packed), split, packed, clipped)

    def leftovers(self) -> Iterator[BadItem]:
        """Annotations and names in lists without a picture."""
        for key in self._annotations:
            root, _, name = key.rpartition("/")
            lists = self._splits.get(root)
            if key not in self._seen and (lists is None or name in lists):
                yield BadItem(
                    f"{key.lstrip('/')}.xml",
                    "it has no picture of its name: add it, or remove this",
                )
        for root, lists in self._splits.items():
            for name in lists:
                key = f"{root}/{name}"
                if key not in self._seen and key not in self._annotations:
                    yield BadItem(key.lstrip("/"), "listed in ImageSets/Main, but not there")

    def _split(self, key: str) -> Split | None:
        root, _, name = key.rpartition("/")
        lists = self._splits.get(root)
        if lists is not None:
            split = lists[name]
            if split == "conflict":
                raise InvalidLabelsError(
                    "listed both for training and held out in ImageSets/Main: keep it in one list"
                )
            return split
        return split_of(root.rpartition("/")[2]) if self._has_split_folders else None


def _key(path: str) -> str:
    """Root and name, which a picture and its annotation have in common."""
    folder, _, file = path.rpartition("/")
    name = file.rpartition(".")[0] or file
    parts = folder.split("/") if folder else []
    for place in ("Annotations", _PICTURES):
        # What lies deeper below them lies equally deep below both.
        if place in parts:
            parts.remove(place)
            break
    return "/".join(["", *parts, name])


def _list_of(path: str) -> tuple[str, str] | None:
    """Root and name of a list of a split; the lists of single concepts (`cat_train.txt`) are none."""
    *parts, file = path.split("/")
    name, _, suffix = file.rpartition(".")
    if suffix != "txt" or parts[-2:] != ["ImageSets", "Main"]:
        return None
    if name != "trainval" and split_of(name) is None:
        return None
    return "/".join(["", *parts[:-2]]), name


def _splits_of_names(lists: dict[str, set[str]]) -> "dict[str, Split | Literal['conflict'] | None]":
    """The split of each listed name; trainval is whatever train and val do not say."""
    splits: dict[str, Split | Literal["conflict"] | None] = {}
    for listed in sorted(lists):
        split = split_of(listed)
        if split is None:
            continue
        for name in lists[listed]:
            splits[name] = split if splits.setdefault(name, split) == split else "conflict"
    for name in lists.get("trainval", ()):
        if splits.setdefault(name, "train") == "test":
            splits[name] = "conflict"
    # One split alone divides nothing.
    alone = len(set(splits.values())) == 1
    return dict.fromkeys(splits) if alone else splits


class _Reader:
    """Keeps the text of an annotation's elements, by their paths; refuses all that is not plain."""

    def __init__(self) -> None:
        self.size: dict[str, str] = {}
        self.objects: list[dict[str, str]] = []
        self._path: list[str] = []
        self._text = ""

    def start(self, name: str, _: dict[str, str]) -> None:
        self._path.append(name)
        self._text = ""
        if len(self._path) > _MAX_DEPTH:
            raise InvalidLabelsError(f"elements are nested deeper than {_MAX_DEPTH}")
        if self._path[1:] == ["object"]:
            self.objects.append({})
            if len(self.objects) > MAX_BOXES:
                raise InvalidLabelsError(f"more than {MAX_BOXES} boxes")

    def text(self, data: str) -> None:
        self._text = (self._text + data)[:_MAX_TEXT]

    def end(self, _: str) -> None:
        below, value = self._path[1:], self._text.strip()
        if below[:1] == ["size"]:
            self.size["/".join(below[1:])] = value
        # Parts of a whole (heads, hands) have boxes of their own, which are not this object's.
        elif below[:1] == ["object"] and below[1:2] != ["part"]:
            self.objects[-1]["/".join(below[1:])] = value
        self._path.pop()
        self._text = ""


def _refuse(*_: object) -> None:
    raise InvalidLabelsError("it has a DTD or entities, which are not read: remove its DOCTYPE")


def _parsed(data: bytes, concepts: ConceptNumbers) -> tuple[int, int, list[Box]]:
    """Stated width and height, 0 where unknown, and the boxes, in pixels from 0."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.CharacterDataHandler = reader.text
    parser.EndElementHandler = reader.end
    # Without a document type there are no entities: none external, none that grow.
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InvalidLabelsError(f"not readable as XML: {error}") from error
    except (UnicodeError, LookupError, ValueError) as error:
        raise InvalidLabelsError("not readable as XML: its encoding is not known") from error
    width, height = (_size(reader.size.get(side, "")) for side in ("width", "height"))
    return width, height, [_box(one, concepts) for one in reader.objects]


def _size(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def _box(found: dict[str, str], concepts: ConceptNumbers) -> Box:
    name = found.get("name", "")
    if not name:
        raise InvalidLabelsError("an object has no name")
    rotated = next((key for key in _ROTATED if _is_set(found, key)), None)
    if rotated is not None:
        raise InvalidLabelsError(
            f"object `{shown(name, 64)}` has a <{rotated.rpartition('/')[2]}>: only upright boxes (bndbox) are accepted"
        )
    texts = [found.get(f"bndbox/{edge}", "") for edge in ("xmin", "ymin", "xmax", "ymax")]
    what = f"object `{shown(name, 64)}` with bndbox [{numbers_shown(texts)}]"
    try:
        x_min, y_min, x_max, y_max = map(float, texts)
    except ValueError as error:
        raise InvalidLabelsError(f"{what}: not four numbers; correct or remove it") from error
    # Pixels are counted from 1 and both ends belong to the box: so the maxima stay.
    edges = (x_min - 1, y_min - 1, x_max, y_max)
    if x_min > x_max or y_min > y_max:
        raise InvalidLabelsError(f"{what}: a minimum is above its maximum; correct or remove it")
    ignored = found.get("difficult", "0") not in ("", "0")
    return checked_box(concepts.number(name), edges, ignored=ignored, what=what)


def _is_set(found: dict[str, str], key: str) -> bool:
    """Whether an object has such an element (a rotation of 0 is none)."""
    value = found.get(key)
    if value is None or key in ("robndbox", "polygon"):
        return value is not None
    return value not in ("", "0", "0.0")
