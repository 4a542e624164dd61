"""Small sources with annotations, for the tests of the formats."""

from .samples import picture

SIDE = 40


def photo(number: int) -> bytes:
    """A picture of 40 x 40 pixels; another number gives another one."""
    return picture(number, side=SIDE)
