"""Which item teaches, which chooses the epoch, and which is read once.

An item is assigned with its group (that of the source, all items with the same bytes, or all frames
of a video; groups that have an item in common are one): u = hash(seed, group) in [0, 1) is compared
with the ratios, lowest u first to test, then to validation, the rest to train. So the same seed and
items give the same splits, and adding items moves no group, except by the two rules for concepts with
few groups.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from .store import Split

MIN_GROUPS = 5
"""A concept with fewer groups keeps all of them for training."""
CARVED_VALIDATION = 0.1
"""Share of train that becomes validation where the source has only train and test."""

_ONE = 2**64


class Ratios(NamedTuple):
    """Shares of the splits; they add up to 1."""

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1


class Member(Protocol):
    """What the assignment needs to know of an item."""

    @property
    def group(self) -> bytes:
        """Items of one group stay together."""

    @property
    def source_group(self) -> bytes:
        """And so do those of one group of the source; empty: it is in none."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """What it shows."""

    @property
    def split(self) -> Split | None:
        """The split that the source put it in, if it has splits."""


def assign(members: Sequence[Member], seed: int, ratios: Ratios | None) -> list[Split]:
    """The split of each item.

    Args:
        members: The items, in any order.
        seed: Seed of the assignment.
        ratios: Given, they replace the splits of the source.
    """
    found = {member.split for member in members}
    if ratios is not None or found <= {None}:
        return _by_ratio(members, seed, ratios or Ratios())
    splits: list[Split] = [member.split or "train" for member in members]
    if "validation" in found or "test" not in found:
        return splits
    # Only train and test: test stays untouched, and a tenth of train becomes validation.
    train = [place for place, split in enumerate(splits) if split == "train"]
    carved = _by_ratio(
        [members[place] for place in train],
        seed,
        Ratios(1 - CARVED_VALIDATION, CARVED_VALIDATION, 0),
    )
    for place, split in zip(train, carved, strict=True):
        splits[place] = split
    return splits


def across_splits(groups: Iterable[bytes], splits: Iterable[Split]) -> int:
    """How many groups have items in more than one split: the same picture in train and in test,
    say. `groups` has the group of each item, empty for none.
    """
    seen: dict[bytes, Split] = {}
    leaking: set[bytes] = set()
    for group, split in zip(groups, splits, strict=True):
        if group and seen.setdefault(group, split) != split:
            leaking.add(group)
    return len(leaking)


def _position(seed: int, group: bytes) -> int:
    """u of a group, in units of 2**-64."""
    digest = hashlib.sha256(f"{seed}:{group.hex()}".encode()).digest()
    return int.from_bytes(digest[:8])


def _by_ratio(members: Sequence[Member], seed: int, ratios: Ratios) -> list[Split]:
    group_of = _joined(members)
    concepts_of: dict[bytes, tuple[str, ...]] = {}
    for member, joined in zip(members, group_of, strict=True):
        known = concepts_of.setdefault(joined, member.concepts)
        if known != member.concepts:
            concepts_of[joined] = tuple(sorted({*known, *member.concepts}))
    groups_of: dict[str, list[bytes]] = defaultdict(list)
    # Ascending u; the group itself breaks the (impossible) tie.
    for group in sorted(sorted(concepts_of), key=lambda group: _position(seed, group)):
        for concept in concepts_of[group]:
            groups_of[concept].append(group)
    splits = {group: _by_position(_position(seed, group), ratios) for group in concepts_of}
    if ratios.train > 0:
        kept = _keep_for_training(splits, groups_of)
        _hold_out(splits, groups_of, concepts_of, kept, ratios)
    return [splits[joined] for joined in group_of]


def _joined(members: Sequence[Member]) -> list[bytes]:
    """The group of each item. Of groups that are one, it is the least of the source's: an item more moves none."""
    sources = {member.source_group for member in members} - {b""}
    if not sources:
        return [member.group for member in members]
    above: dict[bytes, bytes] = {}

    def first(group: bytes) -> bytes:
        while group in above:
            # The next time, the way is half as long.
            if above[group] in above:
                above[group] = above[above[group]]
            group = above[group]
        return group

    for member in members:
        ends = {first(member.group), first(member.source_group or member.group)}
        one, *other = sorted(ends, key=lambda group: (group not in sources, group))
        above.update(dict.fromkeys(other, one))
    return [first(member.group) for member in members]


def _by_position(position: int, ratios: Ratios) -> Split:
    if position < ratios.test * _ONE:
        return "test"
    if position < (ratios.test + ratios.validation) * _ONE:
        return "validation"
    return "train"


def _keep_for_training(splits: dict[bytes, Split], groups_of: dict[str, list[bytes]]) -> set[bytes]:
    """A concept with few groups keeps all for training, any other at least its highest-u one."""
    kept: set[bytes] = set()
    for concept in sorted(groups_of):
        groups = groups_of[concept]
        if len(groups) < MIN_GROUPS:
            kept.update(groups)
        elif all(splits[group] != "train" for group in groups):
            kept.add(groups[-1])
    for group in kept:
        splits[group] = "train"
    return kept


def _hold_out(
    splits: dict[bytes, Split],
    groups_of: dict[str, list[bytes]],
    concepts_of: dict[bytes, tuple[str, ...]],
    kept: set[bytes],
    ratios: Ratios,
) -> None:
    """Gives each concept without a held-out group its lowest-u one: to validation, which every
    training needs, or to test where the ratios leave no validation.
    """
    place: Split = "validation" if ratios.validation > 0 else "test"
    if ratios.validation + ratios.test <= 0:
        return
    training = {
        concept: sum(splits[group] == "train" for group in groups)
        for concept, groups in groups_of.items()
    }
    for concept in sorted(groups_of):
        groups = groups_of[concept]
        if len(groups) < MIN_GROUPS or any(splits[group] != "train" for group in groups):
            continue
        for group in groups:
            # Taking it must leave every concept that it shows with something to learn from.
            if group not in kept and all(training[other] > 1 for other in concepts_of[group]):
                splits[group] = place
                for other in concepts_of[group]:
                    training[other] -= 1
                break
