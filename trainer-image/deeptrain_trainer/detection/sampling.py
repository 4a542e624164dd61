"""Random choices of anchors and proposals that are pure functions of a number of the image: nothing has a state."""

import torch
from torch import Tensor

from .targets import BACKGROUND

# Of the multiplication hash lowbias32 (Wellons 2018).
_FIRST, _SECOND, _WORD = 0x7FEB352D, 0x846CA68B, 0xFFFFFFFF


def sampled(
    matched: Tensor, most: int, positive_share: float, key: Tensor
) -> tuple[Tensor, Tensor]:
    """Of one image's `matched` [A] (targets.py) the numbers of those that teach: positive ones, at most
    `positive_share` of `most`, and background for the rest. `key` is a whole number [].
    """
    positives = _choice(torch.nonzero(matched >= 0).flatten(), int(most * positive_share), key)
    background = torch.nonzero(matched == BACKGROUND).flatten()
    return positives, _choice(background, most - len(positives), key)


def _choice(places: Tensor, most: int, key: Tensor) -> Tensor:
    """So many of the places, in an order that the key alone decides."""
    if len(places) <= most:
        return places
    order = _mixed(places + _mixed(key)).sort(stable=True).indices
    return places[order[:most]]


def _mixed(numbers: Tensor) -> Tensor:
    """Whole numbers to 32 bits that look random. The products may overflow: only their low bits count."""
    x = numbers & _WORD
    x = ((x ^ (x >> 16)) * _FIRST) & _WORD
    x = ((x ^ (x >> 15)) * _SECOND) & _WORD
    return x ^ (x >> 16)


def keys_of(chance: Tensor, stage: int) -> Tensor:
    """Keys [N] out of numbers in [0, 1) of 24 bits, others for each stage."""
    return (chance.double() * 2**24).to(torch.int64) * 2 + stage
