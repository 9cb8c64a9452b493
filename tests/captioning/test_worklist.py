"""Which pictures are on the list, and what strange archives do to it."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
from captioning_kit import pack, png
from hypothesis import given
from hypothesis import strategies as st

from demo.captioning import archive
from demo.captioning.archive import ArchiveLimits
from demo.captioning.worklist import work_list
from demo.errors import ConfigError, InvalidInput, PictureError


def names(listed):
    return [str(item.name) for item in listed.items]


def test_a_folder_gives_its_candidates_in_order_and_leaves_the_rest_alone(folder):
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "h.png").write_bytes(png())
    (folder / "notes.txt").write_text("not one")
    listed = work_list([folder])
    assert names(listed) == ["broken.png", "more/p4.png", "more/p5.png", "p0.png", "p1.png", "p2.png", "p3.png"]
    assert listed.items[1].shown == str(folder / "more/p4.png")
    with pytest.raises(PictureError, match="The file is not a picture"):
        listed.items[0].open()


def test_a_file_that_is_named_is_taken_at_its_word_and_one_named_twice_once(folder, tmp_path):
    odd = tmp_path / "picture.dat"
    odd.write_bytes(png(width=33))
    listed = work_list([odd, folder, odd, folder / "p0.png"])
    assert len(listed.items) == 8
    assert listed.items[0].open().picture.size.width == 33


def test_what_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        work_list([tmp_path / "absent"])


def test_a_folder_or_an_archive_without_pictures_is_told_and_the_others_stay(folder, tmp_path):
    (tmp_path / "bare").mkdir()
    empty = pack(tmp_path / "empty.zip", [])
    notes = pack(tmp_path / "notes.zip", [("p0.txt", b"by hand")])
    paths = [tmp_path / "bare", empty, notes, folder]
    listed = work_list(paths, names=["bare", "empty.zip", "notes.zip", "pictures"])
    assert len(listed.items) == 7
    assert [refused.shown for refused in listed.refused] == ["bare", "empty.zip", "notes.zip"]
    assert {refused.reason for refused in listed.refused} == {"There are no pictures in it."}
    listed = work_list([empty, notes, folder], names=["empty.zip", "notes.zip", "pictures"], may_be_texts=True)
    assert [refused.shown for refused in listed.refused] == ["empty.zip"]


def test_the_pictures_of_an_archive_are_read_in_place_whatever_the_archive_is_called(tmp_path):
    path = pack(tmp_path / "many", [("a/x.png", png(70)), ("__MACOSX/a/._x.png", b"no"), ("readme.md", b"no")])
    listed = work_list([path], names=["many.zip"])
    assert names(listed) == ["a/x.png"]
    assert listed.items[0].shown == "many.zip/a/x.png"
    assert listed.items[0].open().picture.size.width == 70
    assert [found.name for found in tmp_path.iterdir()] == ["many"]


@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/etc/out.png", "C:/out.png", "..\\out.png", "c:out.png"]
)
def test_a_name_that_leads_out_of_the_archive_is_refused_and_the_others_stay(tmp_path, name):
    listed = work_list([pack(tmp_path / "slip.zip", [(name, png()), ("good.png", png())])])
    assert names(listed) == ["good.png"]
    (refused,) = listed.refused
    assert refused.shown.endswith("slip.zip/out.png") or "c:out" in refused.shown
    assert "leads out" in refused.reason


@given(st.text(min_size=1, max_size=40))
def test_no_name_of_a_member_can_lead_anywhere(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    try:
        pack(path, [(f"{name}.png", png())])
    except (ValueError, UnicodeEncodeError):
        return
    for item in work_list([path]).items:
        assert not item.name.is_absolute()
        assert ".." not in item.name.parts
        assert (Path("/x") / item.name).resolve().is_relative_to("/x")


def test_a_bomb_is_refused_by_what_its_list_says(tmp_path):
    path = pack(tmp_path / "bomb.zip", [("a.png", bytes(3_000_000)), ("b.png", png())])
    listed = work_list([path], limits=ArchiveLimits(member_bytes=1_000_000))
    assert names(listed) == ["b.png"]
    assert "at most 1 MB" in listed.refused[0].reason
    for limits in (ArchiveLimits(total_bytes=1_000_000), ArchiveLimits(members=1)):
        listed = work_list([path], limits=limits)
        assert not listed.items
        assert "too" in listed.refused[0].reason


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_to_the_end(tmp_path, monkeypatch):
    path = pack(tmp_path / "lie.zip", [("a.png", bytes(5_000_000))])
    data = path.read_bytes()
    told = struct.pack("<I", 5_000_000)
    assert data.count(told) == 2  # beside the member, and in the list
    path.write_bytes(data.replace(told, struct.pack("<I", 40)))
    (item,) = work_list([path]).items
    with pytest.raises(PictureError):
        item.open()
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 1_000_000)
    honest = pack(tmp_path / "honest.zip", [("a.png", bytes(5_000_000))])
    with pytest.raises(PictureError, match="too large"):
        archive.read(honest, "a.png")


def test_a_list_made_to_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = pack(tmp_path / "long.zip", [(f"{number}.png", b"") for number in range(100)])
    monkeypatch.setattr(archive, "LIST_BYTES", 2_000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(InvalidInput, match="too many files"):
        archive.members(path, ArchiveLimits())


def test_a_list_of_the_large_format_is_measured_too(tmp_path, monkeypatch):
    path = pack(tmp_path / "large.zip", [("a.png", png())])
    data = path.read_bytes()
    at = data.rfind(b"PK\x05\x06")
    end_64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 10**9, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    path.write_bytes(data[:at] + end_64 + locator + data[at:])
    with pytest.raises(InvalidInput, match="too many files"):
        archive.members(path, ArchiveLimits())


def test_encrypted_and_strangely_packed_members_are_refused(tmp_path):
    listed = work_list([pack(tmp_path / "lzma.zip", [("a.png", png())], zipfile.ZIP_LZMA)])
    assert "packed in a way" in listed.refused[0].reason
    path = pack(tmp_path / "locked.zip", [("a.png", png())])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in work_list([path]).refused[0].reason


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_refused_or_read_and_nothing_else_happens(tmp_path_factory, at, noise):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a.png", png())
        opened.writestr("b/c.png", png())
    data = bytearray(out.getvalue())
    data[at : at + len(noise)] = noise
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(data)
    listed = work_list([path], names=["a.zip"])
    told = [refused.reason for refused in listed.refused] + [what_is_wrong(item) for item in listed.items]
    assert not any(str(path.parent) in text for text in told)


def what_is_wrong(item):
    try:
        item.open()
    except PictureError as error:
        return str(error)
    return ""


def test_a_changed_picture_has_another_key(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(10))
    before = work_list([path]).items[0].key
    path.write_bytes(png(1000, 700))
    assert work_list([path]).items[0].key != before
    assert str(tmp_path) not in before
