"""Text of figures. One font for Latin, Greek, Cyrillic, Chinese, Japanese and Korean; Pillow's own has ASCII alone."""

import unicodedata
from functools import cache, lru_cache

from cvttf_NotoSansCJK_Regular import get_TTF_path
from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

_NO_CHARACTER = "\uffff"
_ELLIPSIS = "…"


@cache
def face(size: int) -> FreeTypeFont:
    """The font, `size` pixels high."""
    return ImageFont.truetype(get_TTF_path(), size, layout_engine=ImageFont.Layout.BASIC)


def line_height(size: int) -> int:
    """Pixels from one line to the next."""
    return round(size * 1.35)


def label(name: str, number: int) -> str:
    """The name of concept `number` as it can be drawn; where a glyph is missing, the number tells which is meant."""
    text, is_whole = _drawable(name)
    return text if is_whole else f"#{number} {text}".rstrip()


def fit(text: str, size: int, width: float) -> str:
    """The text, its end cut off where it is wider than `width` pixels."""
    font = face(size)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle].rstrip() + _ELLIPSIS) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS


@lru_cache(4096)
def _drawable(text: str) -> tuple[str, bool]:
    """The text with glyphs for all characters that have one, and whether that are all."""
    shown, is_whole = [], True
    for character in unicodedata.normalize("NFC", " ".join(text.split())):
        if (
            unicodedata.category(character)[0] in "CM"
        ):  # joiners, controls, marks: no glyphs of their own
            continue
        plain = unicodedata.normalize("NFKD", character)[0]
        if _has_glyph(character):
            shown.append(character)
        elif _has_glyph(plain):
            shown.append(plain)  # ą as a
        else:
            shown.append(character)  # an empty box
            is_whole = False
    return "".join(shown), is_whole and bool(shown)


@lru_cache(4096)
def _has_glyph(character: str) -> bool:
    if character == " ":
        return True
    font = face(16)
    mask, missing = font.getmask(character), font.getmask(_NO_CHARACTER)
    return mask.size != missing.size or bytes(mask) != bytes(missing)
