"""Which questions a model is offered as buttons."""

import json
from dataclasses import replace

import pytest

from demo.catalog import CATALOG
from demo.config import BUNDLED_MODEL
from demo.prompts import load_prompts
from demo.ui.language import load_languages
from demo.ui.tasks import MOST_CHARS, SLOT, TASKS, Task, tasks_for


def offered(name, **changes):
    spec = replace(CATALOG[name], **changes)
    return tasks_for(spec, load_prompts(spec.prompts))


def test_models_for_photos_are_offered_general_tasks_with_names_in_both_languages():
    found = offered("qwen3-vl-4b")
    assert [task.key for task in found] == [entry["key"] for entry in json.loads(TASKS.read_text(encoding="utf-8"))]
    for say in load_languages().texts.values():
        assert all(say(f"chat.task.{task.key}") for task in found)
    assert "compare" not in {task.key for task in offered("qwen3-vl-4b", max_pictures=1)}


def test_a_familys_own_templates_come_first_under_their_own_names():
    found = offered("cogagent-chat")
    assert [task.name for task in found[:2]] == ["Plan a task", "Plan a task and show where to act"]
    assert found[2].key == "describe"


@pytest.mark.parametrize("name", [BUNDLED_MODEL, *(name for name, spec in CATALOG.items() if spec.max_turns == 1)])
def test_a_model_that_knows_few_questions_is_offered_those_and_none_of_ours(name):
    found = offered(name)
    assert [task.text for task in found] == list(load_prompts(CATALOG[name].prompts).chat_examples)
    assert all(0 < len(task.name) <= MOST_CHARS for task in found)


def test_without_a_model_nothing_is_offered():
    assert tasks_for(None, None) == ()


@pytest.mark.parametrize(
    ("words", "filled"), [("", f'Do "{SLOT}"'), ("  ", f'Do "{SLOT}"'), (" open {x} ", 'Do "open {x}"')]
)
def test_the_users_own_words_go_where_the_template_has_a_place_for_them(words, filled):
    assert Task(f'Do "{SLOT}"').filled(words) == filled
    assert Task("Describe it.").filled(words) == "Describe it."
