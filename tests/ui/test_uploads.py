"""The words of the limits on uploads."""

from pathlib import Path

from demo.ui.context import Limits
from demo.ui.handlers.batch import MOST_PICTURES
from demo.ui.language import load_languages
from demo.ui.uploads import limits_html, refusals, too_large

SAY = load_languages().english
README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_page_tells_the_limits_that_it_has():
    shown = limits_html(SAY, Limits(file_bytes=7_900_000, body_bytes=1_234_000_000), most_pictures=5_000)
    assert "At most 1,234 MB at a time, 7 MB a file and 5,000 pictures." in shown


def test_the_readme_names_the_limits():
    limits = Limits()
    together, file = (num_bytes // 1_000_000 for num_bytes in (limits.body_bytes, limits.file_bytes))
    said = f"at most {together} MB at a time, {file} MB a file and {MOST_PICTURES:,} pictures a job"
    assert said in README.read_text(encoding="utf-8")


def test_the_words_for_programs_are_those_that_the_page_replaces():
    _, ours = refusals(SAY, Limits())
    before, size, after = ours.partition("{}")
    for num_bytes in (None, 90_000_000):
        said = f"HTTP 413: {too_large(num_bytes, 64_000_000)}"
        assert said.startswith(before)
        assert after.removesuffix("{}") in said
        assert size
