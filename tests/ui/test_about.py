"""The heading: what the loaded models can do, and what could be started instead."""

import re
from dataclasses import replace

import pytest

from demo.catalog import CATALOG
from demo.engine.devices import GIB, Device, parse_assumed
from demo.engine.recommended import offers
from demo.types import ROLES
from demo.ui.about import about_html, title_html
from demo.ui.language import load_languages
from demo.ui.offers import offers_html

LANGUAGES = load_languages()
SAY = LANGUAGES.english
CPU = Device("cpu", "CPU", "cpu", 32 * GIB, 24 * GIB)
FAKE = dict.fromkeys(ROLES, CATALOG["fake"])


def text_of(markup):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))


def test_every_role_says_what_it_does():
    shown = text_of(about_html(SAY, FAKE))
    assert "Chat answers questions Grounding finds things Captioning writes captions" in shown


def test_a_role_that_no_model_serves_is_greyed_out_with_the_reason():
    shown = about_html(SAY, {role: FAKE[role] for role in ("chat", "captioning")})
    assert shown.count("<li class='off'>") == 1
    assert "Grounding no loaded model draws boxes: start with --model grounding=NAME" in text_of(shown)


def test_of_several_models_each_role_names_its_own():
    other = replace(CATALOG["fake"], name="other <one>")
    shown = text_of(about_html(SAY, {**FAKE, "grounding": other}))
    assert "answers questions: fake Grounding finds things: other &lt;one&gt;" in shown


def test_what_a_models_maker_says_of_it_is_told_once_and_stays_text():
    spec = replace(CATALOG["fake"], note="Photos are <not> its world.")
    assert about_html(SAY, dict.fromkeys(ROLES, spec)).count("Photos are &lt;not&gt; its world.") == 1


@pytest.mark.parametrize("language", LANGUAGES.texts)
def test_the_languages_are_links_and_the_one_that_is_read_is_marked(language):
    shown = title_html(LANGUAGES.texts[language])
    assert re.findall(r"href='\?lang=(\w+)'", shown) == ["en", "zh"]
    assert re.findall(r"lang=(\w+)' lang='[\w-]+' hreflang='[\w-]+' aria-current", shown) == [language]


def test_an_offer_shows_what_it_takes_whether_that_is_here_and_the_command():
    shown = text_of(offers_html(SAY, offers([CPU])))
    assert "qwen2.5-vl-7b Chat, Grounding, Captioning · 15.4 GiB to download" in shown
    assert "19.5 GiB needed weights 15.4 GiB cache 448 MiB while answering 2.9 GiB reserve 768 MiB" in shown
    assert "Fits in bfloat16: CPU has 24.0 GiB free." in shown
    assert "16.3 GiB too large for this machine." in shown
    assert "python launch.py --model cogvlm2 Copy" in shown


def test_an_offer_that_fits_only_with_flags_names_them():
    shown = text_of(offers_html(SAY, offers((*parse_assumed("24GiB"), CPU))))
    assert (
        "too large here as it is; fits with --quantize int4. python launch.py --model cogvlm2 --quantize int4" in shown
    )


def test_several_copies_are_counted_and_every_card_is_named():
    shown = text_of(offers_html(SAY, offers((*parse_assumed("2x24GiB"), CPU))))
    assert "2 copies fit in bfloat16: GPU 0 has 24.0 GiB free, GPU 1 has 24.0 GiB free." in shown


def test_without_offers_there_is_nothing_to_open():
    assert offers_html(SAY, ()) == ""
    assert "<details" not in about_html(SAY, FAKE)
