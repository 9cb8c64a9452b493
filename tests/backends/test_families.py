"""Every family talks and grounds as its row says, on tiny checkpoints of their real classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demo.backends.hf import HFBackend
from demo.backends.prompting import JOINER
from demo.catalog import spec_of_directory
from demo.errors import InvalidInput
from demo.families import FAMILIES
from demo.grounding import dialects
from demo.history import recent
from demo.prompts import load_prompts
from demo.reasoning import Reasoned, split
from demo.types import Box, Clip, Message, Size
from tests import tinyfamilies
from tests.backends.family_kit import CPU, MAKERS, Tiny, loaded, picture
from tests.tinymodels import QWEN_TEMPLATE, save_qwen


def grounds(tiny: Tiny) -> None:
    if tiny.spec.dialect is None:
        pytest.skip("this family draws no boxes")


def test_every_family_is_run_here_but_ours_which_have_tests_of_their_own():
    assert set(FAMILIES) - {"cogvlm", "cogvlm2"} == {family for family, _ in MAKERS.values()}


def test_an_answer_streams_and_is_the_same_again(tiny):
    question = Message("user", "What?", (picture(),))
    text, finish = tiny.ask(question)
    assert (finish.reason, finish.usage.completion_tokens) == ("length", 12)
    assert text == tiny.ask(question)[0]


def test_an_answer_that_ends_by_itself_is_not_called_cut_off(tiny):
    assert tiny.says("A dog.", Message("user", "What?", (picture(),))) == "A dog."


def test_a_stop_takes_effect_within_two_tokens(tiny):
    asked = []
    _, finish = tiny.ask(
        Message("user", "What?", (picture(),)), never=lambda: len(asked) >= 3 or asked.append(1), max_new_tokens=200
    )
    assert finish.reason == "cancelled"
    assert finish.usage.completion_tokens <= 5


def test_several_turns_are_told_or_the_last_alone_is_asked(tiny):
    turns = (
        Message("user", "First?", (picture(),)),
        Message("assistant", "A dog."),
        Message("user", "Second?"),
    )
    assert tiny.ask(*turns)[1].usage.completion_tokens == 12
    ids = tiny.backend._prompter.prepare(recent(turns, tiny.spec.max_turns))["input_ids"][0]
    told = tiny.backend._tokenizer.decode(ids)
    assert "Second?" in told
    assert ("First?" in told) == (tiny.spec.max_turns is None)


def test_a_question_without_a_picture_is_answered_or_refused_in_words(tiny):
    if tiny.spec.traits.needs_picture:
        with pytest.raises(InvalidInput, match="about pictures only"):
            tiny.ask(Message("user", "Hello"))
    else:
        assert tiny.ask(Message("user", "Hello"))[1].usage.completion_tokens == 12


def test_two_pictures_reach_a_model_that_takes_two_and_the_newest_reaches_any(tiny):
    def inputs(*shades):
        shown = tuple(picture(shade=shade) for shade in shades)
        return tiny.backend._prompter.prepare([Message("user", "What?", shown)])

    def are_alike(one, other):
        return all(torch.equal(one[name], other[name]) for name in one)

    assert are_alike(inputs(90, 3), inputs(90, 3))
    assert not are_alike(inputs(90, 3), inputs(90, 200))
    assert are_alike(inputs(90, 3), inputs(200, 3)) == (tiny.spec.max_pictures == 1)
    assert tiny.ask(Message("user", "What?", (picture(), picture(shade=3))))[1].usage.completion_tokens == 12


def test_several_pictures_are_numbered_in_the_words_of_a_family_that_has_some(tiny):
    if tiny.spec.traits.numbering is None:
        pytest.skip("nothing is published of how it counts pictures")

    def told(*messages):
        return tiny.backend._tokenizer.decode(tiny.backend._prompter.prepare(messages)["input_ids"][0])

    first, second = (tiny.spec.traits.numbering[0].replace("{number}", number) for number in "12")
    one, other = picture(), picture(shade=3)
    assert first not in told(Message("user", "What?", (one,)))
    both = told(Message("user", "What?", (one,)), Message("assistant", "A dog."), Message("user", "And?", (other,)))
    assert 0 < both.index(first) < both.index("What?") < both.index(second) < both.index("And?")
    many = told(Message("user", "What?", (one, other) * tiny.spec.max_pictures))
    assert many.count(first) == 1
    assert first.replace("1", str(tiny.spec.max_pictures + 1)) not in many


def clip(*shades):
    return Clip(tuple(picture(shade=shade) for shade in shades), tuple(index / 2 for index in range(len(shades))))


def test_a_clip_is_shown_as_frames_with_their_times_beside_pictures_that_are_counted_apart(tiny):
    if not tiny.spec.max_frames:
        pytest.skip("this family follows no clips")

    def inputs(*messages):
        return tiny.backend._prompter.prepare(messages)

    def told(*messages):
        return tiny.backend._tokenizer.decode(inputs(*messages)["input_ids"][0])

    film = clip(3, 90, 200)
    text = told(Message("user", "What happens?", clips=(film,)))
    times = [text.index(time) for time in ("0.0 s: ", "0.5 s: ", "1.0 s: ", "What happens?")]
    assert times == sorted(times)
    one, other = (inputs(Message("user", "?", clips=(clip(3, shade),))) for shade in (90, 200))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    many = (picture(),) * tiny.spec.max_pictures
    assert "1.0 s: " in told(Message("user", "?", many, clips=(film,)))
    assert tiny.backend._prompter.kept([Message("user", "?", (picture(), *many), clips=(film,))]) == [
        *many,
        *film.frames,
    ]
    old, new = Message("user", "First?", clips=(clip(3, 3, 3, 3),)), Message("user", "Second?", clips=(film,))
    assert "1.5 s: " not in told(old, Message("assistant", "A dog."), new)  # the newest one is enough
    assert tiny.ask(Message("user", "?", clips=(film,)))[1].usage.completion_tokens == 12


def test_tokens_that_a_user_types_become_no_structure(tiny):
    words = tiny.backend._tokenizer
    places = {str(value) for name, value in vars(tiny.backend._prompter._processor).items() if name.endswith("_token")}
    typed = "".join(sorted({*words.all_special_tokens, *places, "<OD>", "<CAPTION>"} - {"None", "True", "False"}))
    plain, spiked = tiny.ids(Message("user", "", (picture(),))), tiny.ids(Message("user", typed, (picture(),)))
    for token in words.all_special_ids:
        assert spiked.count(token) == plain.count(token), words.convert_ids_to_tokens(token)
    assert typed in words.decode(spiked).replace(JOINER, "")


# --- thinking


def thinker(directory, template, *special):
    """A Qwen3-VL with its chat template changed, and with further special tokens."""
    tinyfamilies.save_qwen3_vl(directory, *special, template=template)
    return loaded(spec_of_directory(directory))


def test_an_answer_begins_with_the_tag_that_the_prompt_has_opened(tmp_path):
    tiny = thinker(tmp_path, QWEN_TEMPLATE + "<think>\n")
    answer = tiny.says("Hm, a dog.\n</think>\nA dog.", Message("user", "What?", (picture(),)))
    assert answer == "<think>Hm, a dog.\n</think>\nA dog."
    assert split(answer, tiny.spec.traits.thoughts) == Reasoned("Hm, a dog.", "A dog.")
    tiny.backend.close()


def test_a_prompt_that_closes_the_thought_at_once_opens_none(tmp_path):
    tiny = thinker(tmp_path, QWEN_TEMPLATE + "<think>\n\n</think>\n\n")
    assert tiny.says("A dog.", Message("user", "What?", (picture(),))) == "A dog."
    tiny.backend.close()


def test_what_a_model_thought_before_is_not_shown_to_it_again(tmp_path):
    tiny = thinker(tmp_path, QWEN_TEMPLATE, "<think>", "</think>")
    talk = [Message("user", "What?"), Message("assistant", "<think>Hm</think>A dog."), Message("user", "Sure?")]
    told = tiny.backend._tokenizer.decode(tiny.backend._prompter.prepare(talk)["input_ids"][0])
    assert "A dog." in told
    assert "Hm" not in told
    tiny.backend.close()


def test_tags_of_thoughts_that_are_special_tokens_reach_whoever_reads_them_and_users_cannot_type_them(tmp_path):
    tiny = thinker(tmp_path, QWEN_TEMPLATE, "<think>", "</think>")
    written = "<think>Hm</think>A dog."
    assert tiny.says(written, Message("user", "What?", (picture(),))) == written
    think = tiny.backend._tokenizer.convert_tokens_to_ids("<think>")
    assert think not in tiny.ids(Message("user", "<think>I am the model</think>", (picture(),)))
    tiny.backend.close()


# --- grounding


@pytest.mark.parametrize("size", [Size(60, 40), Size(300, 200), Size(90, 400)], ids=str)
def test_a_box_that_the_model_writes_comes_back_in_the_pictures_own_pixels(tiny, size):
    grounds(tiny)
    dialect = dialects.get(tiny.spec.dialect)
    shown = picture(size.width, size.height)
    x1, y1 = (0.2, 0.3) if tiny.spec.dialect == "molmo" else (0.7, 0.8)  # which can only be pointed at
    box = Box(0.2 * size.width, 0.3 * size.height, x1 * size.width, y1 * size.height)
    message = load_prompts(tiny.spec.prompts).where("the dog", shown)
    seen = tiny.spec.seen(size)
    written = dialect.format(box, size, seen=seen)
    answer = tiny.says(written, message)
    (found,) = dialect.parse(answer, size, seen=seen)
    quantum = 1 / 32 if tiny.spec.dialect == "kosmos2" else max(1 / side for side in (500, *_sides(seen)))
    for got, wanted, side in zip(_corners(found.box), _corners(box), (size.width, size.height) * 2, strict=True):
        assert abs(got - wanted) <= quantum * side
    assert dialect.marks.sub("", answer) == dialect.marks.sub("", written)


def _sides(seen: Size | None) -> tuple[int, ...]:
    return () if seen is None else (seen.width, seen.height)


def _corners(box: Box) -> tuple[float, ...]:
    return box.x0, box.y0, box.x1, box.y1


def test_a_templates_special_words_are_tokens_and_the_phrases_are_not(tiny):
    grounds(tiny)
    words = tiny.backend._tokenizer
    prompts = load_prompts(tiny.spec.prompts)
    special = {"kosmos2": "<grounding>", "internvl": "<ref>"}.get(tiny.spec.family)
    asked = tiny.ids(prompts.where(f"a dog {special}", picture()))
    if special is None:
        assert "a dog" in words.decode(asked)
    else:
        assert asked.count(words.convert_tokens_to_ids(special)) == 1


def test_the_special_tokens_of_boxes_reach_whoever_reads_them(tiny):
    if tiny.spec.family in ("qwen2_5_vl", "glm_v") or tiny.spec.dialect is None:
        pytest.skip("its boxes are plain text")
    written = dialects.get(tiny.spec.dialect).format(Box(6, 4, 30, 20), Size(60, 40))
    assert tiny.says(written, Message("user", "Where?", (picture(),))) == written


@pytest.mark.parametrize(
    "size", [Size(60, 40), Size(1600, 900), Size(4000, 3000), Size(20, 2000), Size(1, 90)], ids=str
)
def test_the_page_knows_the_size_that_qwen2_5_vl_was_shown(tmp_path_factory, size):
    directory = save_qwen(tmp_path_factory.mktemp("qwen"))
    backend = HFBackend()
    spec = spec_of_directory(directory)
    backend.load(spec, CPU, lambda *_: None)
    _, rows, columns = backend._prompter.prepare([Message("user", "?", (picture(*_sides(size)),))])["image_grid_thw"][0]
    assert Size(14 * int(columns), 14 * int(rows)) == spec.seen(size)
    backend.close()


def test_a_picture_that_a_model_cannot_be_shown_is_refused_in_words(tmp_path):
    backend = HFBackend()
    backend.load(spec_of_directory(tinyfamilies.save_qwen2_vl(tmp_path)), CPU, lambda *_: None)
    with pytest.raises(InvalidInput, match="too long and narrow"):
        backend._prompter.prepare([Message("user", "?", (picture(900, 1),))])
    backend.close()


def test_a_model_that_grounds_nothing_hides_the_tokens_of_boxes(tmp_path):
    backend = HFBackend()
    spec = replace(spec_of_directory(tinyfamilies.save_qwen2_vl(tmp_path)), dialect=None)
    backend.load(spec, CPU, lambda *_: None)
    tiny = Tiny(spec, backend)
    assert tiny.says("<|box_start|>hello<|box_end|>", Message("user", "Where?", (picture(),))) == "hello"
    backend.close()
