"""Captions that pictures bring along: which text belongs to which picture, and what strange ones do."""

import zipfile

import pytest
from captioning_kit import pack, png

from demo.captioning import archive, sidecars
from demo.captioning.archive import ArchiveLimits
from demo.captioning.sidecars import TEXT_BYTES, existing_of, is_left_alone, is_text, text_of, with_captions
from demo.captioning.worklist import work_list
from demo.errors import InvalidInput


def listed(*paths, limits=None):
    limits = limits or ArchiveLimits()
    pictures = [path for path in paths if not is_text(path)]
    found = work_list(pictures, names=[path.name for path in pictures], limits=limits)
    return with_captions(found, paths, names=[path.name for path in paths], limits=limits)


def befores(found):
    return {item.shown: item.before for item in found.items}


def refused(found):
    return {each.shown: each.reason for each in found.refused}


def file(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("existing", "before", "is_left", "text"),
    [
        ("skip", "old", True, "new"),
        ("skip", "", True, "new"),  # an empty file is a caption that somebody may want empty
        ("skip", None, False, "new"),
        ("overwrite", "old", False, "new"),
        ("append", "old", False, "old\nnew"),
        ("append", "", False, "new"),
        ("append", None, False, "new"),
    ],
)
def test_what_is_done_about_a_caption_that_is_there(existing, before, is_left, text):
    assert is_left_alone(before, existing) is is_left
    assert text_of("new", before, existing) == text


def test_a_choice_that_is_none_is_refused():
    assert existing_of("append") == "append"
    for choice in ("keep", None, [], "x" * 1000):
        with pytest.raises(InvalidInput, match="Choose one of: skip, overwrite, append"):
            existing_of(choice)


def test_a_text_beside_a_picture_of_an_archive_is_its_caption_under_the_name_of_an_export(tmp_path):
    members = [
        ("in/a.png", png()),
        ("in/a.txt", b"\xef\xbb\xbfone\r\ntwo\n\n"),
        ("in/a.jpg", png(65)),
        ("in/a.jpg.txt", "élan".encode()),
        ("b.png", png(66)),
        ("in/b.txt", b"of nobody"),
        ("README.txt", b"of nobody"),
        ("__MACOSX/._b.txt", b"of nobody"),
        ("C.PNG", png(67)),
        ("c.TXT", b""),
    ]
    found = listed(pack(tmp_path / "z.zip", members))
    assert befores(found) == {
        "z.zip/in/a.png": "one\ntwo",
        "z.zip/in/a.jpg": "élan",
        "z.zip/b.png": None,
        "z.zip/C.PNG": "",
    }
    assert found.refused == ()


def test_archives_do_not_lend_each_other_texts_but_one_of_texts_alone_is_for_all(tmp_path):
    one = pack(tmp_path / "1.zip", [("a.png", png()), ("a.txt", b"first")])
    other = pack(tmp_path / "2.zip", [("a.png", png(65)), ("d/e.png", png(66))])
    texts = pack(tmp_path / "captions-txt.zip", [("d/e.txt", b"given with it"), ("f.txt", b"too")])
    loose = file(tmp_path, "f.png", png(67))
    assert befores(listed(one, other, texts, loose)) == {
        "1.zip/a.png": "first",
        "2.zip/a.png": None,
        "2.zip/d/e.png": "given with it",
        "f.png": "too",
    }


def test_chosen_files_go_together_by_their_names_and_texts_without_a_picture_are_told(tmp_path):
    found = listed(
        file(tmp_path, "1/p.txt", b"mine"),
        file(tmp_path, "2/p.png", png()),
        file(tmp_path, "3/q.txt", b"nobody's"),
        file(tmp_path, "4/P.txt", b"another one"),
    )
    assert befores(found) == {"p.png": "mine"}
    assert refused(found) == {
        "q.txt": "There is no picture of this name.",
        "P.txt": "There is another text of this name.",
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * TEXT_BYTES, ""),
        (b"x" * (TEXT_BYTES + 1), "too long"),
        ("grün".encode("latin-1"), "not in UTF-8"),
        ("words".encode("utf-16"), "not in UTF-8"),
    ],
    ids=["longest", "long", "latin", "wide"],
)
@pytest.mark.parametrize("is_packed", [True, False])
def test_a_text_that_is_no_caption_is_refused_and_its_picture_stays(tmp_path, data, reason, is_packed):
    if is_packed:
        found, name = listed(pack(tmp_path / "z.zip", [("a.png", png()), ("a.txt", data)])), "z.zip/a"
    else:
        found, name = listed(file(tmp_path, "a.png", png()), file(tmp_path, "a.txt", data)), "a"
    assert (found.items[0].before is None) is bool(reason)
    assert reason in refused(found).get(f"{name}.txt", "")
    assert bool(found.refused) is bool(reason)


def test_texts_of_an_archive_are_held_to_its_limits(tmp_path):
    path = pack(tmp_path / "z.zip", [("a.png", png()), ("../a.txt", b"out"), ("b.txt", b"x" * 5_000)])
    found = listed(path, limits=ArchiveLimits(member_bytes=4_000))
    assert befores(found) == {"z.zip/a.png": None}
    assert "leads out" in refused(found)["z.zip/a.txt"]
    assert "at most" in refused(found)["z.zip/b.txt"]


def test_a_damaged_text_is_refused_and_the_others_are_read(tmp_path):
    members = [("a.png", png()), ("a.txt", b"first words"), ("b.png", png(65)), ("b.txt", b"second words")]
    path = pack(tmp_path / "z.zip", members, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"first words", b"other words"))  # its check sum is wrong now
    found = listed(path)
    assert befores(found) == {"z.zip/a.png": None, "z.zip/b.png": "second words"}
    assert "cannot be read" in refused(found)["z.zip/a.txt"]


def test_a_text_that_unpacks_to_very_much_is_not_unpacked_whole(tmp_path):
    path = pack(tmp_path / "z.zip", [("a.txt", bytes(30_000_000))])
    assert archive.beginnings(path, ["a.txt", "absent.txt"], 10) == {"a.txt": bytes(10)}


def test_an_archive_is_one_whatever_it_is_called(tmp_path):
    path = pack(tmp_path / "z.txt", [("a.png", png()), ("a.txt", b"words")])
    assert not sidecars.is_text(path)
    assert befores(listed(path)) == {"z.txt/a.png": "words"}
