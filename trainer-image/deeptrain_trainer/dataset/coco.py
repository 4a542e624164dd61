"""The layout `coco` (Lin et al., Microsoft COCO: Common Objects in Context, 2014).

JSON files with `images`, `annotations` and `categories`, one for each split, named after it or
lying in its folder; pictures by `file_name`. Of the files of several tasks (`captions_*`,
`person_keypoints_*`) only `instances_*` count.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from ..failure import Failure
from .annotation import ConceptNumbers, Kept, check_size, checked_box, fitted, kept, numbers_shown
from .box import Box, unpack_boxes
from .layout import BadItem, InvalidLabelsError, Labels, Role, split_in_name
from .listing import Listing
from .member import shown

MAX_JSON_BYTES: Final = 512 * 1024 * 1024

Id = int | str


class _Annotation(NamedTuple):
    """An annotation as soon as it was read: outlines, which are most of a file, are gone."""

    id: Any
    image: Any
    category: Any
    bbox: array[float] | str
    """x, y, width, height; or what is wrong with them."""
    ignored: bool


class _Listed(NamedTuple):
    """A picture that a file lists."""

    file: str
    """Path of the JSON file."""
    width: int
    height: int
    boxes: Kept

    @property
    def where(self) -> str:
        """The file: what stands in it has no line that a reader would find."""
        return self.file


class Coco:
    """The annotations of one source."""

    expected = "a path that a JSON file of the split lists under images[].file_name"
    has_boxes = True
    required: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Nothing was given."""
        self._concepts = ConceptNumbers()
        self.names = self._concepts.names
        self._listing: Listing[_Listed] = Listing()
        self._files: set[str] = set()
        self._has_splits = False

    def annotation_limit(self, path: str) -> int:
        """All JSON files."""
        return MAX_JSON_BYTES if path.casefold().endswith(".json") else 0

    def annotate(self, path: str, data: bytes) -> None:
        """Takes a JSON file; one that lists no pictures is not ours."""
        if is_of_another_task(path):
            return
        document = _document(path, data)
        if not isinstance(document, dict) or not {"images", "annotations"} <= document.keys():
            return
        listed, homeless = _pictures(path, document, self._concepts)
        self._listing.missing.extend(homeless)
        self._files.add(path)
        for file_name, picture in listed:
            self._listing.add(file_name, picture)

    def lose(self, path: str, problem: str) -> None:
        """Nobody knows how many pictures it speaks of."""
        raise Failure("InputInvalid", f"`{shown(path)}` cannot be read: {problem}")

    def complete(self, folders: Collection[str], files: Iterable[str]) -> None:
        """Finds the pictures that are listed."""
        if not self._files:
            raise Failure(
                "NoData", "there is no JSON file with images and annotations, as COCO has them"
            )
        splits = {split_in_name(file) for file in self._files}
        self._has_splits = "train" in splits and len(splits - {None}) > 1
        self._listing.find(files)

    def role(self, path: str) -> Role:
        """Items are those that are listed."""
        return "item" if path in self._listing else "stray"

    def labels(self, path: str, width: int, height: int) -> Labels:
        """What the picture's annotations say."""
        picture = self._listing.at(path)
        if isinstance(picture.boxes, str):
            raise InvalidLabelsError(picture.boxes)
        check_size((picture.width, picture.height), width, height)
        packed, clipped = fitted(unpack_boxes(picture.boxes), width, height)
        split = split_in_name(picture.file) if self._has_splits else None
        return Labels(self._concepts.shown_by(packed), split, packed, clipped)

    def leftovers(self) -> Iterator[BadItem]:
        """Listed pictures that are not there."""
        return iter(self._listing.missing)


def is_of_another_task(path: str) -> bool:
    """Whether a file of COCO has no boxes for us, by its name."""
    name = path.rpartition("/")[2].casefold()
    return name.startswith(("captions", "person_keypoints", "panoptic", "stuff", "image_info"))


def _document(path: str, data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_compact)
    except _DuplicateKeyError as error:
        raise Failure(
            "InputInvalid", f"`{shown(path)}`: the key `{error}` is there twice"
        ) from None
    except RecursionError as error:
        raise Failure("InputInvalid", f"`{shown(path)}` is nested too deeply") from error
    except (ValueError, MemoryError) as error:
        detail = shown(" ".join(str(error).split()) or "too large", 120)
        raise Failure(
            "InputInvalid", f"`{shown(path)}` is not readable as JSON: {detail}"
        ) from error


class _DuplicateKeyError(Exception):
    pass


def _compact(pairs: list[tuple[str, Any]]) -> Any:
    """What is kept of an object. Called from the inside out, so a document is never whole in memory."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(shown(key, 60))
            seen.add(key)
    if "image_id" in found:
        return _Annotation(
            found.get("id"),
            found["image_id"],
            found.get("category_id"),
            _bbox(found),
            found.get("iscrowd", 0) not in (0, False, None, "0"),
        )
    if "file_name" in found:
        return {key: found.get(key) for key in ("id", "file_name", "width", "height")}
    found.pop("segmentation", None)
    return found


def _bbox(found: dict[str, Any]) -> array[float] | str:
    """x, y, width and height, or what is wrong."""
    attributes = found.get("attributes")
    turned = [found.get("rotation"), found.get("angle")]
    if isinstance(attributes, dict):
        turned.append(attributes.get("rotation"))
    if any(angle not in (None, 0, "", "0") for angle in turned):
        return "a rotated box: only upright boxes are accepted"
    bbox = found.get("bbox")
    if not isinstance(bbox, list):
        return "an annotation without bbox [x, y, width, height]"
    if len(bbox) != 4:
        return (
            f"bbox has {len(bbox)} numbers: only upright boxes [x, y, width, height] are accepted"
        )
    try:
        if any(isinstance(edge, bool) for edge in bbox):
            raise TypeError
        return array("d", bbox)
    except TypeError:
        return f"bbox [{numbers_shown(bbox)}]: not four numbers"
    except OverflowError:
        return f"bbox [{numbers_shown(bbox)}]: not finite numbers of pixels"


def _id(value: Any) -> Id | None:
    """A whole number or a text; some programs write 7.0 for 7."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _pictures(
    path: str, document: dict[str, Any], concepts: ConceptNumbers
) -> tuple[list[tuple[str, _Listed]], list[BadItem]]:
    """File names and what is said of them; and annotations of no picture."""
    images, annotations = _list(path, document, "images"), document.pop("annotations")
    categories = _categories(path, document, concepts)
    boxes: dict[Id, list[Box]] = {}
    problems: dict[Id, str] = {}
    rows: list[tuple[Id, str, int, int]] = []
    for image in images:
        number, name = _id(image.get("id")), image.get("file_name")
        if number is None or not isinstance(name, str) or not name:
            raise Failure(
                "InputInvalid", f"`{shown(path)}`: images[{len(rows)}] has no id or no file_name"
            )
        if number in boxes:
            problems[number] = f"images[].id {shown(str(number), 40)} is used more than once"
        boxes[number] = []
        rows.append((number, name, _side(image.get("width")), _side(image.get("height"))))
    homeless = _collect(path, annotations, categories, boxes, problems)
    listed = []
    for number, name, width, height in rows:
        try:
            found: Kept = problems.get(number) or kept(boxes[number])
        except InvalidLabelsError as error:
            found = str(error)
        listed.append((name, _Listed(path, width, height, found)))
    return listed, homeless


def _collect(
    path: str,
    annotations: Any,
    categories: dict[Id, int],
    boxes: dict[Id, list[Box]],
    problems: dict[Id, str],
) -> list[BadItem]:
    """Gives each picture its boxes, or the first problem that it has. Takes `annotations` apart.

    Returns:
        Annotations of no picture.
    """
    if not isinstance(annotations, list):
        raise Failure("InputInvalid", f"`{shown(path)}`: annotations is not a list")
    homeless: list[BadItem] = []
    seen: set[Id] = set()
    while annotations:
        annotation = annotations.pop()
        place = f"annotations[{len(annotations)}]"
        if not isinstance(annotation, _Annotation):
            raise Failure("InputInvalid", f"`{shown(path)}`: {place} has no image_id")
        image = _id(annotation.image)
        if image is None or image not in boxes:
            number = shown(str(annotation.image), 40)
            problem = f"{place}.image_id {number} is the id of no image; correct or remove it"
            homeless.append(BadItem(path, problem))
            continue
        try:
            boxes[image].append(_box(annotation, categories, seen))
        except InvalidLabelsError as error:
            problems[image] = str(error)
    return homeless


def _box(annotation: _Annotation, categories: dict[Id, int], seen: set[Id]) -> Box:
    number = _id(annotation.id)
    what = f"annotation {shown(str(annotation.id), 40)}"
    if number is not None:
        if number in seen:
            raise InvalidLabelsError(f"{what}: its id is used more than once")
        seen.add(number)
    category = _id(annotation.category)
    if category is None or category not in categories:
        raise InvalidLabelsError(
            f"{what}: category_id {shown(str(annotation.category), 40)} is the id of no category"
        )
    if isinstance(annotation.bbox, str):
        raise InvalidLabelsError(f"{what}: {annotation.bbox}; correct or remove it")
    x, y, width, height = annotation.bbox
    what += f" with bbox [{numbers_shown(f'{edge:g}' for edge in annotation.bbox)}]"
    edges = (x, y, x + width, y + height)
    return checked_box(categories[category], edges, ignored=annotation.ignored, what=what)


def _categories(path: str, document: dict[str, Any], concepts: ConceptNumbers) -> dict[Id, int]:
    """Numbers of the concepts by category id; ids may have gaps."""
    found: dict[Id, int] = {}
    for place, category in enumerate(_list(path, document, "categories")):
        number, name = _id(category.get("id")), category.get("name")
        if number is None or not isinstance(name, str) or not name.strip():
            raise Failure(
                "InputInvalid", f"`{shown(path)}`: categories[{place}] has no id or no name"
            )
        if number in found:
            raise Failure(
                "InputInvalid",
                f"`{shown(path)}`: categories[].id {shown(str(number), 40)} is used more than once",
            )
        found[number] = concepts.number(name)
    return found


def _list(path: str, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise Failure("InputInvalid", f"`{shown(path)}`: {key} is not a list of objects")
    return value


def _side(value: Any) -> int:
    """A stated width or height; 0 where it is unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # Neither a number that is not finite is between these, nor one that no float can hold.
    return int(value) if 0 < value < 10**6 else 0
