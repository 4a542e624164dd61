"""Tells the items of a source from bad items and from what is no item at all, and divides them."""

import hashlib
import json
from typing import Any, Final, NamedTuple

from ..failure import Failure
from .box import renumbered
from .findings import Findings
from .importrun import ImportRun
from .layout import BadItem, InvalidLabelsError, Layout, checked_concepts
from .member import shown
from .publish import LabelledItem, concepts_of, in_order
from .splits import assign

_RECORD_BAD_ITEMS: Final = 5
_RECORD_BAD_ITEMS_BYTES: Final = 1700
"""Leaves room for the rest of a record, which has 3 KiB in all."""


class CheckedFile(NamedTuple):
    """A file of the source after its check; of a video one for each frame."""

    path: str
    sha256: bytes
    size: int
    problem: str | None
    is_item: bool
    """Whether its first bytes are those of a picture, or of a video where those are wanted."""
    width: int = 0
    height: int = 0
    video: bytes = b""
    time_ms: int = 0


class Found(NamedTuple):
    """What the check of a source found."""

    files: list[CheckedFile]
    folders: set[str]
    lost: set[str]
    """Paths of links that lead nowhere."""


def judge(found: Found, layout: Layout, run: ImportRun) -> Findings:
    """The items, and how they are divided. Takes `found.files` apart.

    Raises:
        Failure: They are no dataset, or not the one that was asked for.
    """
    layout.complete(found.folders, (file.path for file in found.files))
    items, bad, size, clipped = _sorted_out(found, layout)
    # Each once: of a video that lies astray, every frame was told.
    bad = sorted({*bad, *layout.leftovers()})
    videos = len({item.video for item in items if item.video})
    _judge_amount(videos or len(items), bad, layout, run)
    concepts = _judge_concepts(items, layout, bad, run)
    in_order(items)
    splits = assign(items, run.seed, run.ratios)
    return Findings(items, splits, concepts, bad, size, clipped, layout.has_boxes, videos)


def _sorted_out(found: Found, layout: Layout) -> tuple[list[LabelledItem], list[BadItem], int, int]:
    """Items, bad items, the items' bytes, and how many of their boxes were clipped."""
    items: list[LabelledItem] = []
    bad: list[BadItem] = []
    size = clipped = 0
    # Taken out one by one, so that what was found gives way to what is made of it.
    while found.files:
        file = found.files.pop()
        role = layout.role(file.path)
        if role == "unlisted":
            continue
        if role == "stray":
            if file.path in found.lost:
                raise Failure(
                    "SourceNotFound",
                    f"`{shown(file.path)}` is a link that leads nowhere, where a folder could be: "
                    "correct or remove it",
                )
            # A README or a list of labels is welcome; a picture that would go unused is told.
            if file.is_item:
                bad.append(BadItem(file.path, f"not at {layout.expected}"))
            continue
        if file.problem is not None:
            bad.append(BadItem(file.path, file.problem))
            continue
        try:
            labels = layout.labels(file.path, file.width, file.height)
        except InvalidLabelsError as error:
            bad.append(BadItem(file.path, str(error)))
            continue
        items.append(
            LabelledItem(
                file.sha256,
                labels.concepts,
                file.width,
                file.height,
                labels.boxes,
                file.video,
                file.time_ms,
                labels.denied or (),
                labels.denied is not None,
                labels.split,
                _digest_of(labels.group),
            )
        )
        size += file.size
        clipped += labels.clipped
    return items, bad, size, clipped


def _judge_amount(units: int, bad: list[BadItem], layout: Layout, run: ImportRun) -> None:
    things = "videos" if run.format == "videoFolder" else "images"
    if not units and not bad:
        raise Failure("NoData", f"no {things} were found; expected {layout.expected}")
    if 100 * len(bad) > run.invalid_percent * (units + len(bad)):
        raise Failure(
            "InvalidDataToleranceExceeded",
            f"{len(bad)} of {units + len(bad)} items are invalid, more than the "
            f"{run.invalid_percent:g} % of spec.tolerance.invalidPercent",
            **_bad_facts(bad),
        )
    if not units:
        raise Failure("NoData", f"none of the {len(bad)} {things} can be used", **_bad_facts(bad))


def _judge_concepts(
    items: list[LabelledItem], layout: Layout, bad: list[BadItem], run: ImportRun
) -> tuple[str, ...]:
    shown_by = concepts_of(items)
    found = checked_concepts([*layout.required, *shown_by])
    if not found:
        what = "has a box" if layout.has_boxes else "shows a concept"
        raise Failure("NoData", f"none of the {len(items)} images {what}", **_bad_facts(bad))
    wanted = run.concepts
    if wanted is not None and set(wanted) != set(found):
        missing = [name for name in wanted if name not in set(found)]
        surplus = [name for name in found if name not in set(wanted)]
        raise Failure(
            "ConceptsMismatch",
            f"spec.concepts: missing in the data: {_listed(missing)}; not in spec.concepts: "
            f"{_listed(surplus)}",
        )
    empty = [name for name in found if name not in set(shown_by)]
    if empty:
        raise Failure(
            "NoPositives",
            f"no usable item shows {_listed(empty)}: fill the folder, or remove it",
            **_bad_facts(bad),
        )
    _renumber(items, layout.names, shown_by)
    _let_go_of_unknown(items, found)
    return wanted or found


def _let_go_of_unknown(items: list[LabelledItem], found: tuple[str, ...]) -> None:
    """What is denied and shown nowhere is no concept.

    Raises:
        Failure: `InputInvalid`: it is one in another spelling.
    """
    known, spelling = set(found), {name.casefold(): name for name in found}
    # One tuple for each set: the items are many, the sets are few.
    sets: dict[tuple[str, ...], tuple[str, ...]] = {}
    for place, item in enumerate(items):
        if item.denied not in sets:
            sets[item.denied] = tuple(name for name in item.denied if name in known)
            for name in item.denied:
                twin = spelling.get(name.casefold(), name)
                if twin != name:
                    raise Failure(
                        "InputInvalid",
                        f"concept `{twin}` and `{shown(name, 80)}`, which items are said not to show, differ "
                        "only in case; rename one",
                    )
        if sets[item.denied] != item.denied:
            items[place] = item._replace(denied=sets[item.denied])


def _digest_of(group: str) -> bytes:
    """Of the name of a group; empty for none."""
    return hashlib.sha256(f"group:{group}".encode()).digest() if group else b""


def _renumber(items: list[LabelledItem], names: list[str], concepts: list[str]) -> None:
    """Gives the boxes' concepts their places in `concepts`.

    Concepts that only have ignored boxes are none, and their boxes go.
    """
    places = {name: place for place, name in enumerate(concepts)}
    numbers = {number: places[name] for number, name in enumerate(names) if name in places}
    if numbers == {number: number for number in range(len(names))}:
        return
    for place, item in enumerate(items):
        if item.boxes:
            items[place] = item._replace(boxes=renumbered(item.boxes, numbers))


def _listed(names: list[str], most: int = 10) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{name}`" for name in names[:most]) + more


def _bad_facts(bad: list[BadItem]) -> dict[str, Any]:
    """The fields of a failed record that speak of bad items: as many of the first as there is room
    for.
    """
    items: list[dict[str, str]] = []
    left = _RECORD_BAD_ITEMS_BYTES
    for item in bad[:_RECORD_BAD_ITEMS]:
        items.append(item.to_json(path_units=200, problem_units=120))
        left -= len(json.dumps(items[-1], ensure_ascii=False).encode())
        if left < 0:
            items.pop()
            break
    return {"invalid": len(bad), "badItems": items}
