"""The tar reader against Python's own, which is more lenient, on archives that both must read alike."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrain_trainer.dataset.member import Names, is_litter
from deeptrain_trainer.dataset.tar import tar_members
from deeptrain_trainer.failure import Failure

part = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"), exclude_characters="/\\:."
    ),
    min_size=1,
    max_size=60,
)
files = st.dictionaries(
    st.lists(part, min_size=1, max_size=4).map("/".join), st.binary(max_size=1500), max_size=6
)
formats = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def packed(content: dict[str, bytes], kind: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    return {m.path: m.read() for m in tar_members(stream.read, Names()) if m.read is not None}


@settings(deadline=None)
@given(files, formats)
def test_reads_what_tarfile_writes(content: dict[str, bytes], kind: int) -> None:
    try:
        data = packed(content, kind)
    except ValueError:
        return  # A name that ustar cannot hold.
    try:
        found = read(data)
    except Failure as failure:
        # Names that only the rules for names refuse: twins, litter, too long.
        assert failure.message.startswith("entr")
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        wanted = {entry.name for entry in archive.getmembers()}
    assert set(found) <= wanted
    assert all(found[name] == content[name] for name in found)
    assert set(found) == {name for name in content if not is_litter(name)}


@settings(deadline=None)
@given(formats, st.data())
def test_no_cut_goes_unnoticed(kind: int, data: st.DataObject) -> None:
    content = {f"cat/{n}.png": bytes([n]) * (700 * n) for n in range(4)}
    whole = packed(content, kind)
    end = whole.rstrip(b"\0")
    # From the first of the two end blocks on, all members are there.
    last = -(-len(end) // 512) * 512
    cut = data.draw(st.integers(0, last))
    with pytest.raises(Failure) as caught:
        read(whole[:cut])
    assert caught.value.reason == "ArchiveInvalid"


def test_members_may_be_left_unread() -> None:
    whole = packed({"a/1.png": b"x" * 5000, "a/2.png": b"y"}, tarfile.PAX_FORMAT)
    stream = io.BytesIO(whole)
    assert [m.path for m in tar_members(stream.read, Names())] == ["a/1.png", "a/2.png"]


def test_a_size_beyond_octal_is_read(tmp_path: object) -> None:
    entry = tarfile.TarInfo("big.bin")
    entry.size = 9 * 2**30
    header = entry.tobuf(tarfile.GNU_FORMAT)
    members = tar_members(io.BytesIO(header).read, Names())
    assert next(members).size == 9 * 2**30
    with pytest.raises(Failure, match="truncated"):
        next(members)
