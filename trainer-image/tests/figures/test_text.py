"""Names of concepts are hostile, and in every script of the world."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from deeptrain_trainer.figures.text import face, fit, label


@pytest.mark.parametrize(
    "name", ["cat", "Vögel & Äpfel", "猫", "ねこ", "고양이", "кошка", "αβγ", "x→y"]
)
def test_names_with_glyphs_are_drawn_as_they_are(name: str) -> None:
    assert label(name, 3) == name


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("ząb γάτα", "zab γατα"),  # a letter without a glyph loses its mark
        ("🐈", "#3 🐈"),  # an empty box: the number tells which
        ("قط", "#3 قط"),
        ("\u202e\u200d\x00", "#3"),
        ("two\nlines\tof  it", "two lines of it"),
        ("e\u0301", "é"),
    ],
)
def test_what_has_no_glyph_can_still_be_told(name: str, want: str) -> None:
    assert label(name, 3) == want


@given(st.text(max_size=64))
def test_any_name_can_be_drawn(name: str) -> None:
    text = fit(label(name, 0), 13, 100)
    assert face(13).getlength(text) <= 100
    ImageDraw.Draw(Image.new("RGB", (120, 20))).text((0, 0), text, "white", face(13))


def test_a_long_name_ends_with_an_ellipsis() -> None:
    short = fit("a very long name", 13, 60)
    assert short.endswith("…") and short.startswith("a very") and face(13).getlength(short) <= 60
    assert fit("short", 13, 60) == "short"
