"""Results in a folder, and what a second start makes of them."""

import csv
import io
import json
import os
import sys
import zipfile

import pytest
from captioning_kit import pack, png
from hypothesis import given
from hypothesis import strategies as st

from demo.captioning import export
from demo.captioning.captioner import Caption, Wishes
from demo.captioning.folder import JOURNAL, TABLE, ResultFolder
from demo.captioning.journal import Entry, Journal, append, line_of
from demo.captioning.work import Result
from demo.captioning.worklist import work_list
from demo.errors import ConfigError
from demo.types import Size

SHORT = Wishes("short")


def begun(out, items, wishes=SHORT, existing="skip", *, stop_after=99, words="a caption"):
    """A job as far as it got: captions a few, and says what there was to do."""
    out.mkdir(exist_ok=True)
    with Journal(out / JOURNAL) as journal:
        folder = ResultFolder(out, journal, items, wishes, "fake", existing)
        todo = folder.todo()
        for item in todo.left[:stop_after]:
            folder.add(Result(item, Caption(f"{words} of {item.name}", ()), Size(10, 10)))
        folder.finish()
    return todo


def texts(out):
    return {path.relative_to(out).as_posix(): path.read_text() for path in sorted(out.rglob("*.txt"))}


@pytest.fixture
def items(folder):
    (folder / "broken.png").unlink()
    return work_list([folder]).items


def test_a_second_start_goes_on_where_the_first_one_ended(items, tmp_path):
    out = tmp_path / "out"
    assert len(begun(out, items, stop_after=4).left) == 6
    again = begun(out, items)
    assert [item for item, _ in again.done] == list(items[:4])
    assert again.left == items[4:]
    assert len(begun(out, items).done) == 6
    lines = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]
    assert [line["file"] for line in lines] == [str(item.name) for item in items]
    assert texts(out)["more/p4.txt"] == "a caption of more/p4.png\n"


def test_a_journal_that_is_whole_is_read_without_being_touched(tmp_path):
    path = tmp_path / JOURNAL
    append(path, Entry("a.png", "short", "words", key="a"))
    os.utime(path, (1, 1))
    with Journal(path) as journal:
        assert [entry.key for entry in journal.entries] == ["a"]
    assert path.stat().st_mtime == 1


def test_a_line_that_came_after_a_journal_was_opened_stays(tmp_path):
    path = tmp_path / JOURNAL
    with Journal(path) as journal:
        append(path, Entry("a.png", "short", "words", key="a"))
        journal.add(Entry("b.png", "short", "words", key="b"))
    with Journal(path) as journal:
        assert [entry.key for entry in journal.entries] == ["a", "b"]


def test_a_line_cut_by_a_crash_is_dropped_and_a_text_file_that_was_not_written_is_made(items, tmp_path):
    out = tmp_path / "out"
    begun(out, items, stop_after=3)
    whole = (out / JOURNAL).read_bytes()
    (out / JOURNAL).write_bytes(whole[:-20])
    (out / "more/p4.txt").unlink()
    todo = begun(out, items, existing="overwrite", stop_after=0)
    assert len(todo.left) == 6  # other wishes than those of the pass that was cut
    todo = begun(out, items, stop_after=0)
    assert len(todo.done) == 2
    assert texts(out)["more/p4.txt"] == "a caption of more/p4.png\n"
    assert (out / JOURNAL).read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])


def test_captions_that_are_there_are_kept_replaced_or_added_to(items, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "p0.txt").write_text("by hand\n")
    assert [item.name.name for item in begun(out, items).kept] == ["p0.png"]
    assert texts(out)["p0.txt"] == "by hand\n"
    assert len(begun(out, items, existing="append", words="more").left) == 6
    assert texts(out)["p0.txt"] == "by hand\nmore of p0.png\n"
    assert texts(out)["p1.txt"] == "a caption of p1.png\nmore of p1.png\n"
    assert len(begun(out, items, existing="overwrite", words="new").left) == 6
    assert set(texts(out).values()) == {f"new of {item.name}\n" for item in items}


def test_adding_that_was_interrupted_adds_once(items, tmp_path):
    out = tmp_path / "out"
    begun(out, items)
    begun(out, items, existing="append", words="more", stop_after=3)
    todo = begun(out, items, existing="append", words="more")
    assert (len(todo.done), len(todo.left)) == (3, 3)
    assert all(text.count("\n") == 2 for text in texts(out).values())
    begun(out, items, existing="append", words="third")
    assert all(text.count("\n") == 3 for text in texts(out).values())


def test_what_failed_is_tried_again(items, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with Journal(out / JOURNAL) as journal:
        ResultFolder(out, journal, items, SHORT, "fake", "skip").add(Result(items[0], error="it was broken"))
    assert begun(out, items).left == items
    entries = list(csv.reader(io.StringIO((out / TABLE).read_text("utf-8-sig"))))
    assert len(entries) == 7
    assert "it was broken" not in str(entries)


def test_a_picture_added_later_does_not_take_anothers_text_file(folder, tmp_path):
    (folder / "broken.png").unlink()
    out = tmp_path / "out"
    begun(out, work_list([folder]).items)
    (folder / "p0.jpg").write_bytes(png(20))  # before p0.png in the order
    (folder / "P1.PNG").write_bytes(png(21))
    begun(out, work_list([folder]).items)
    assert texts(out)["p0.txt"] == "a caption of p0.png\n"
    assert texts(out)["p0.jpg.txt"] == "a caption of p0.jpg\n"
    assert texts(out)["P1.PNG.txt"] == "a caption of P1.PNG\n"


def test_two_pictures_of_one_name_have_a_text_each(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png())
    listed = work_list([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    begun(tmp_path / "out", listed.items)
    assert sorted(texts(tmp_path / "out")) == ["a.png-2.txt", "a.png.txt", "a.txt"]
    rows = csv.DictReader(io.StringIO((tmp_path / "out" / TABLE).read_text("utf-8-sig")))
    assert [(row["file"], row["text_file"]) for row in rows] == [
        ("a.png", "a.txt"),
        ("a.png", "a.png.txt"),
        ("a.png", "a.png-2.txt"),
    ]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "1", '{"key": 1}', '{"key": "k", "text": 3}', '{"key": "k", "regions": {}}', "[" * 100_000],
)
def test_foreign_lines_in_a_journal_are_passed_over(tmp_path, line):
    path = tmp_path / JOURNAL
    path.write_text(f"{line}\n{line_of(Entry('a.png', 'short', 'A cat.', key='k', run='r-1'))}\n")
    with Journal(path) as journal:
        assert [entry.caption for entry in journal.entries] == ["A cat."]


@pytest.mark.parametrize("target", ["/etc/out.txt", "../out.txt", "a/../../out.txt"])
def test_a_journal_from_elsewhere_cannot_name_files_outside_the_folder(items, tmp_path, target):
    out = tmp_path / "out"
    begun(out, items[:1])
    entry = json.loads((out / JOURNAL).read_text())
    (out / JOURNAL).write_text(json.dumps({**entry, "text_file": target}) + "\n")
    assert not begun(out, items[:1], existing="skip", stop_after=0).done
    assert not (tmp_path / "out.txt").exists()


@given(
    st.lists(
        st.builds(Entry, st.text(), st.text(), st.text(), note=st.text(), error=st.text(), key=st.text(min_size=1))
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("journal") / JOURNAL
    with Journal(path) as journal:
        for entry in entries:
            journal.add(entry)
    with Journal(path) as journal:
        assert list(journal.entries) == entries


def test_the_zip_has_texts_table_and_lines_and_no_formula(tmp_path):
    path = pack(tmp_path / "in.zip", [("a/x.png", png()), ("y.png", png())])
    entries = [
        Entry(str(item.name), "short", "=1+1", text="=1+1", text_file=str(item.name.with_suffix(".txt")), key=item.key)
        for item in work_list([path]).items
    ]
    with zipfile.ZipFile(
        io.BytesIO(export.as_zip([*entries, Entry("z.png", "short", error="broken", key="z")]))
    ) as out:
        assert sorted(out.namelist()) == ["a/x.txt", "captions.csv", "captions.jsonl", "y.txt"]
        assert out.read("a/x.txt") == b"=1+1\n"
        rows = list(csv.reader(io.StringIO(out.read("captions.csv").decode("utf-8-sig"))))
        assert [row[1] for row in rows] == ["caption", "'=1+1", "'=1+1", ""]
        assert json.loads(out.read("captions.jsonl").splitlines()[2])["error"] == "broken"


def test_texts_alone_are_the_text_files(tmp_path):
    entry = Entry("y.png", "short", "A cat.", text="A cat.", text_file="more/y.txt", key="y")
    with zipfile.ZipFile(io.BytesIO(export.as_texts([entry, Entry("z.png", "short", error="broken", key="z")]))) as out:
        assert out.namelist() == ["more/y.txt"]


def test_parquet_has_the_columns_of_the_table_and_the_boxes():
    parquet = pytest.importorskip("pyarrow.parquet")
    region = {"label": "cat", "box": [1.0, 2.0, 3.0, 4.0], "box_normalized": [0.1, 0.2, 0.3, 0.4]}
    entries = [
        Entry("a\udcff.png", "grounded", "A cat.", [region], text_file="a.txt", key="a"),
        Entry("b.png", "grounded", error="broken", key="b"),
    ]
    rows = parquet.read_table(io.BytesIO(export.as_parquet(entries))).to_pylist()
    assert rows[0] == {
        "file": "a?.png",
        "caption": "A cat.",
        "style": "grounded",
        "note": "",
        "error": "",
        "text_file": "a.txt",
        "regions": [region],
    }
    assert rows[1]["error"] == "broken"
    assert "parquet" in export.formats()


def test_without_its_package_parquet_is_not_offered_and_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "parquet" not in export.formats()
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        export.as_parquet([])
