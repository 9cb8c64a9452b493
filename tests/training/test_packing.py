import random

import numpy as np

from demo.models.cogvlm import CogVLMImageProcessor, CogVLMProcessor
from demo.prompts import load_prompts
from training.asking import Turn
from training.data import corpus
from training.export import CHAT_TEMPLATE
from training.packing import FIRST_POSITION, FIRST_POSITION_BLIND, IGNORED, TASKS, Encoder, pack
from training.phrases import Banks
from training.scenes import sample_scene
from training.view import View

TURNS = [
    Turn("exist", "Is there a disc?", "Yes, there is a disc.", 0),
    Turn("follow", "Where is it?", "The disc [[001,002,003,004]] is on the left.", 0),
]


def test_a_conversation_is_encoded_as_the_chat_template_writes_it(words):
    segment = Encoder(words).segment(TURNS)
    processor = CogVLMProcessor(CogVLMImageProcessor(224), words, chat_template=CHAT_TEMPLATE)
    messages = [
        {"role": role, "content": text}
        for turn in TURNS
        for role, text in (("user", turn.question), ("assistant", turn.answer))
    ]
    assert words.decode(segment.ids) == processor.apply_chat_template(messages)
    asked = processor.apply_chat_template(messages[:3], add_generation_prompt=True)
    assert words.decode(segment.ids).startswith(asked + " The disc")


def test_labels_are_the_answers_each_closed_by_the_end_of_text(words):
    segment = Encoder(words).segment(TURNS)
    labelled = [label for label in segment.labels if label != IGNORED]
    assert words.decode(labelled) == " Yes, there is a disc.</s> The disc [[001,002,003,004]] is on the left.</s>"
    for i, label in enumerate(segment.labels[:-1]):
        assert label in (IGNORED, words.eos_token_id, segment.ids[i + 1])
    assert {TASKS[t] for t in segment.tasks} == {"exist", "follow"}


def test_segments_stand_one_after_another_with_positions_of_their_own(words):
    encoder = Encoder(words)
    seen, blind = encoder.segment(TURNS), encoder.segment(TURNS[:1], blind=True)
    row = pack([seen, blind, seen], length=len(seen.ids) + len(blind.ids) + 5)
    end = len(seen.ids)
    assert row.segment[:end].tolist() == [1] * end
    assert row.positions[0] == FIRST_POSITION
    assert row.segment[end : end + len(blind.ids)].tolist() == [-2] * len(blind.ids)
    assert row.positions[end] == FIRST_POSITION_BLIND
    assert row.segment[-5:].tolist() == [0] * 5
    assert (row.labels[-5:] == IGNORED).all()


def test_unseen_wordings_are_never_asked_in_training():
    banks, rng = Banks.load(), random.Random(3)
    slots = {
        name: name
        for name in (
            "x",
            "n",
            "ns",
            "a",
            "the",
            "the2",
            "box",
            "c",
            "rel",
            "dir",
            "dirs",
            "place",
            "ext",
            "cats",
            "ns2",
            "the3",
            "a2",
            "size",
            "nth",
            "side",
        )
    }
    for task, unseen in banks.unseen.items():
        if task == "alien":
            continue
        assert unseen, task
        assert not set(unseen) & set(banks.trained[task]), task
    asked = {banks.ask(rng, "count", **slots).lower() for _ in range(3_000)}
    for wording in banks.unseen["count"]:
        text = wording.removeprefix("!").replace("{ns}", "ns").replace(" {pic}", "")
        assert not any(text in said for said in asked)


def test_no_word_for_the_unknown_is_a_noun_that_is_known(bank):
    from training.nouns import load_nouns

    known = {form for noun in load_nouns() for form in (noun.name, noun.plural)}
    banks = Banks.load()
    assert not known & {*banks.trained["alien"], *banks.unseen["alien"]}


def test_the_answers_are_true_of_the_scene(bank, config):
    """Counts, places and boxes in the words against the things themselves."""
    from training.asking import Asker
    from training.captions import caption_detailed, caption_grounded, caption_short
    from training.dialogue import conversation
    from training.scoring import NounCounter, boxes_of

    banks, count = Banks.load(), NounCounter(bank.nouns)
    for index in range(150):
        scene, *_ = sample_scene(np.random.default_rng(index), bank, config)
        view = View(scene, bank.nouns)
        ask = Asker(view, random.Random(index), banks)
        wanted = {bank.nouns[noun].name: len(group) for noun, group in view.by_noun.items()}
        for make in (caption_short, caption_grounded, caption_detailed):
            told = make(ask).answer.split(" The largest")[0]
            assert dict(count(told)) == wanted
        assert len(boxes_of(caption_grounded(ask).answer)) == len(scene.things)
        for turn in conversation(ask, 4):
            assert turn.question
            assert "{" not in turn.question + turn.answer
            assert "None" not in turn.answer


def test_words_are_encoded_as_the_tokenizer_encodes_the_whole_text(words, bank, config):
    encoder = Encoder(words)
    for text in corpus(bank, config, scenes=30, seed=4):
        assert encoder.encode(text) == words(text, add_special_tokens=False)["input_ids"]


def test_the_pages_own_prompts_are_trained_word_for_word():
    banks, prompts = Banks.load(), load_prompts("cogvlm")
    rng = random.Random(1)
    for style in ("short", "detailed", "grounded"):
        assert banks.ask(rng, f"caption_{style}", split="page") == prompts.caption[style]
    assert banks.ask(rng, "ground", split="page", x="the dog") == prompts.ground.replace("{phrase}", "the dog")
    assert banks.ask(rng, "region", split="page", box="[[1]]") == prompts.describe_region.replace("{box}", "[[1]]")
