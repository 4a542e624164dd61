"""What an import found out: the `DatasetReport` of api/dataset.ts, and its canonical spelling."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from .box import Box, unpack_boxes
from .layout import BadItem
from .member import cut
from .publish import LabelledItem, concepts_of
from .splits import across_splits
from .store import SPLITS, Split

FEW_ITEMS: Final = 1000
LOW_SUPPORT: Final = 50
SMALL_AREA: Final = 32.0**2
LARGE_AREA: Final = 96.0**2
_REPORT_BAD_ITEMS: Final = 10
_MESSAGE_UNITS: Final = 512


class Findings(NamedTuple):
    """The items of a dataset and how they were divided."""

    members: Sequence[LabelledItem]
    splits: Sequence[Split]
    concepts: Sequence[str]
    """In the order that the report has."""
    bad: Sequence[BadItem]
    """Sorted by path."""
    bytes: int
    clipped: int = 0
    """Boxes that reached beyond their picture."""
    has_boxes: bool = False
    """Whether the format has boxes at all."""
    videos: int = 0
    """How many videos the items are frames of; 0 where they are pictures."""
    found_format: str = ""
    """The format that was found, where none was named."""

    def report(self, digest: str, split_digest: str) -> dict[str, Any]:
        """The `DatasetReport`. All numbers are integers."""
        counts: Counter[tuple[str, Split]] = Counter()
        for member, split in zip(self.members, self.splits, strict=True):
            counts.update((concept, split) for concept in member.concepts)
        boxes, boxes_of = self._boxes()
        return {
            "digest": digest,
            "splitDigest": split_digest,
            **({"format": self.found_format} if self.found_format else {}),
            "items": self.items(),
            **({"videos": self.videos} if self.videos else {}),
            "concepts": [
                {
                    "name": name,
                    **{split: counts[name, split] for split in SPLITS},
                    **({"boxes": boxes_of[name]} if self.has_boxes else {}),
                }
                for name in self.concepts
            ],
            **({"boxes": boxes} if self.has_boxes else {}),
            "invalid": len(self.bad),
            "badItems": [bad.to_json() for bad in self.bad[:_REPORT_BAD_ITEMS]],
            "bytes": self.bytes,
            "warnings": self._warnings(counts),
        }

    def _boxes(self) -> tuple[dict[str, int], Counter[str]]:
        """The statistics of the boxes, and how many each concept has that are not ignored."""
        names = concepts_of(self.members)
        of_concept: Counter[str] = Counter()
        counts: Counter[str] = Counter(clipped=self.clipped)
        for member, split in zip(self.members, self.splits, strict=True):
            for box in unpack_boxes(member.boxes):
                if box.ignored:
                    counts["ignored"] += 1
                    continue
                counts[split] += 1
                counts[_size(box)] += 1
                of_concept[names[box.concept]] += 1
        kinds = (*SPLITS, "ignored", "clipped", "small", "medium", "large")
        return {kind: counts[kind] for kind in kinds}, of_concept

    def items(self) -> dict[str, int]:
        """How many items each split has."""
        counts = Counter(self.splits)
        return {split: counts[split] for split in SPLITS}

    def _warnings(self, counts: Mapping[tuple[str, Split], int]) -> list[dict[str, str]]:
        held_out = {
            name: counts[name, "validation"] + counts[name, "test"] for name in self.concepts
        }
        items = self.items()
        final: Split = "test" if items["test"] else "validation"
        none = [name for name in self.concepts if counts[name, final] == 0]
        low = sorted(
            (n for n in self.concepts if 0 < held_out[n] < LOW_SUPPORT), key=lambda n: held_out[n]
        )
        leaks = across_splits((member.group for member in self.members), self.splits)
        torn = across_splits((member.source_group for member in self.members), self.splits)
        sure = {split: self._never_absent(split) for split in SPLITS if items[split]}
        listed_low = ", ".join(f"{name} ({held_out[name]})" for name in low)
        found = {
            "FewItems": items["train"] < FEW_ITEMS
            and f"{items['train']} items to learn from; at least {FEW_ITEMS} are advised",
            "NoHeldOutExamples": none
            and f"{_concepts(len(none))} no item in {final}, where final metrics are measured, so "
            f"nothing tells how well they are learned: {', '.join(none)}",
            "LowSupport": low
            and f"{_concepts(len(low))} fewer than {LOW_SUPPORT} items in validation and test, "
            f"so their metrics are rough: {listed_low}",
            "NoNegatives": any(sure.values())
            and "a concept is learned, and measured, on items that are known not to show it (not_concepts), "
            "too: "
            + "; ".join(f"{split} has none for {', '.join(n)}" for split, n in sure.items() if n),
            "GroupsAcrossSplits": torn
            and f"{torn} groups are in more than one of the source's splits: metrics will look better "
            "than they are",
            "DuplicatesAcrossSplits": leaks
            and f"{leaks} pictures are in more than one split, byte for byte: metrics will look "
            "better than they are",
        }
        return [
            {"reason": reason, "message": cut(message, _MESSAGE_UNITS)}
            for reason, message in found.items()
            if isinstance(message, str)
        ]

    def _never_absent(self, split: Split) -> list[str]:
        """Concepts that no item of a split is known not to show. Only partial items leave that open."""
        if not any(member.is_partial for member in self.members):
            return []
        left = set(self.concepts)
        for member, own in zip(self.members, self.splits, strict=True):
            if own != split:
                continue
            left -= set(member.denied) if member.is_partial else left - set(member.concepts)
        return [name for name in self.concepts if name in left]


def _concepts(count: int) -> str:
    return "1 concept has" if count == 1 else f"{count} concepts have"


def _size(box: Box) -> str:
    """COCO's words for a box of that area."""
    area = (box.x_max - box.x_min) * (box.y_max - box.y_min)
    return "small" if area < SMALL_AREA else "medium" if area < LARGE_AREA else "large"


def canonical_json(value: object) -> str:
    """The one spelling of a value, equal to `canonicalJson` of api/canonical.ts.

    Keys sorted, no white space, UTF-8 unescaped, numbers rounded to 12 significant digits. Only
    integers are accepted, because the two languages spell some fractions differently; and no lone
    surrogates, which only JavaScript escapes.

    Raises:
        TypeError: There is a number that is not an integer in it.
        UnicodeEncodeError: There is a lone surrogate in it.
    """
    text = json.dumps(
        _significant(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    text.encode()
    return text


def canonical_digest(value: object) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the value's canonical JSON in UTF-8."""
    return f"sha256:{hashlib.sha256(canonical_json(value).encode()).hexdigest()}"


def _significant(value: object) -> object:
    """The value with its integers rounded to 12 significant digits, halves away from zero."""
    if isinstance(value, float):
        raise TypeError(f"a number that is not an integer has no canonical spelling here: {value}")
    if isinstance(value, dict):
        return {key: _significant(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_significant(member) for member in value]
    if isinstance(value, int) and not isinstance(value, bool):
        unit: int = 10 ** max(0, len(str(abs(value))) - 12)
        rounded = (abs(value) + unit // 2) // unit * unit
        return rounded if value >= 0 else -rounded
    return value
