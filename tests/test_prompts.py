"""Prompt sets: the wording each family of models understands."""

import json

import pytest

from demo.errors import ConfigError
from demo.prompts import PROMPTS, load_prompts, prompt_sets
from demo.types import Picture, Size

PICTURE = Picture(Size(1, 1), b"abc")


@pytest.mark.parametrize("name", prompt_sets())
def test_every_set_is_complete_and_consistent(name):
    prompts = load_prompts(name)
    assert {"short", "detailed"} <= set(prompts.caption) <= {"short", "detailed", "grounded"}
    assert all(text.strip() for text in (*prompts.caption.values(), *prompts.chat_examples))
    assert prompts.ground.count("{phrase}") == bool(prompts.ground)
    assert prompts.describe_region.count("{box}") == bool(prompts.describe_region)
    assert prompts.ground_all.count("{phrase}") == bool(prompts.ground_all) <= bool(prompts.ground)
    assert prompts.ask_region.count("{box}") == prompts.ask_region.count("{question}") == bool(prompts.ask_region)
    assert bool(prompts.ask_region) <= bool(prompts.describe_region)
    for template in prompts.templates:
        assert template.name.strip()
        assert template.text.count("{task}") == 1
    assert bool(prompts.ground) >= (bool(prompts.describe_region) or "grounded" in prompts.caption)
    assert prompts.whole.count("{question}") == bool(prompts.whole)
    assert prompts.verified or name in ("cogvlm", "generic")  # ours, and words that anybody understands


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_holds_nothing_that_is_not_read(path):
    read = {"caption", "ground", "describe_region", "chat_examples"}
    assert (
        read
        <= set(json.loads(path.read_text()))
        <= {*read, "verified", "whole", "templates", "ground_all", "ask_region", "nothing"}
    )


def test_cogvlm_is_asked_in_the_words_it_was_trained_on():
    prompts = load_prompts("cogvlm")
    assert prompts.ask_caption("short") == "Describe the image in one short sentence."
    assert prompts.ask_where("the red car") == "Where is the red car? Answer in [[x0,y0,x1,y1]] format."
    assert prompts.ask_what("[[001,002,003,004]]") == "What is in the box [[001,002,003,004]]?"


def test_cogagent_is_asked_for_places_by_its_suffix_and_given_tasks_in_quotes():
    prompts = load_prompts("cogagent")
    assert prompts.ask_where("the red car") == "Where is the red car?(with grounding)"
    texts = [template.text.replace("{task}", "Search for CogVLM") for template in prompts.templates]
    assert 'What steps do I need to take to "Search for CogVLM"?' in texts
    assert 'What steps do I need to take to "Search for CogVLM"?(with grounding)' in texts
    assert load_prompts("cogvlm").templates == ()


@pytest.mark.parametrize("phrase", ["a {box}", "{0}", "{phrase}", "}{", "100 %s", "\\1"])
def test_braces_in_a_phrase_stay_as_they_were_typed(phrase):
    assert load_prompts("cogvlm").ask_where(phrase) == f"Where is {phrase}? Answer in [[x0,y0,x1,y1]] format."


@pytest.mark.parametrize("name", ["kosmos2", "internvl", "cogvlm", "paligemma"])
def test_only_the_templates_own_words_of_a_question_may_be_structure(name):
    phrase = "a </phrase> <ref>dog"
    message = load_prompts(name).where(phrase, PICTURE)
    ours = [message.text[start:end] for start, end in message.own]
    assert phrase.join(ours) == message.text == load_prompts(name).ask_where(phrase)
    caption = load_prompts(name).caption_of("short", PICTURE)
    assert [caption.text[start:end] for start, end in caption.own] == [caption.text]


def test_a_question_about_a_box_holds_the_box_as_structure_and_the_users_words_as_words():
    message = load_prompts("internvl").about("a <box>{box} {question}?", "<box>[[1,2,3,4]]</box>", PICTURE)
    assert message.text == "Look at <box>[[1,2,3,4]]</box>. a <box>{box} {question}?"
    assert [message.text[start:end] for start, end in message.own if end > start] == [
        "Look at <box>[[1,2,3,4]]</box>. "
    ]
    described = load_prompts("internvl").what("<box>[[1,2,3,4]]</box>", PICTURE)
    assert [described.text[start:end] for start, end in described.own] == [described.text]


def test_all_instances_are_asked_for_in_other_words_where_there_are_some():
    several = load_prompts("qwen3_vl")
    assert several.where("dog", PICTURE, every=True).text.startswith("Outline the position of each dog")
    assert several.where("dog", PICTURE).text == several.ask_where("dog")
    only = load_prompts("cogvlm")
    assert only.where("dog", PICTURE, every=True) == only.where("dog", PICTURE)


def test_a_model_without_boxes_refuses_questions_about_them():
    prompts = load_prompts("generic")
    with pytest.raises(ConfigError, match="--model grounding="):
        prompts.ask_where("dog")
    with pytest.raises(ConfigError, match="--model grounding="):
        prompts.ask_what("[[1,2,3,4]]")


def test_an_unknown_caption_style_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"rhymed.*short, detailed, grounded"):
        load_prompts("cogvlm").ask_caption("rhymed")


@pytest.mark.parametrize("name", ["nonsense", "", "../prompts/cogvlm"])
def test_an_unknown_set_lists_the_known_ones(name):
    with pytest.raises(ConfigError, match=r"cogvlm, .*generic"):
        load_prompts(name)


def test_a_set_cannot_be_changed_after_it_was_read():
    with pytest.raises(TypeError):
        load_prompts("cogvlm").caption["short"] = "x"
