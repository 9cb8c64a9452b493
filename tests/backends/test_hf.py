"""The transformers backend on tiny real checkpoints: our CogVLM in its published form, and a Llava."""

from __future__ import annotations

import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedModel

from demo.backends.base import Finish
from demo.backends.hf import HFBackend
from demo.backends.prompting import JOINER
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import BrokenCheckpoint, ConfigError, ContextTooLong, UnsafeWeights
from demo.imaging import to_pil
from demo.models.cogvlm import CogVLMForConditionalGeneration, CogVLMProcessor
from demo.types import GenerateRequest, Message, Picture, Placement, Sampling, Size
from tests.tinymodels import edit_config, save_cogvlm, save_llava, save_paligemma, save_qwen, tokenizer

REMOTE_CODE = """
from transformers import LlavaConfig, LlavaForConditionalGeneration
class C(LlavaConfig):
    model_type = "homemade"
class M(LlavaForConditionalGeneration):
    config_class = C
"""
CPU = Placement({"": "cpu"}, threads=1)


def picture(seed: int = 90, width: int = 40, height: int = 30) -> Picture:
    """Coarse blocks of noise, which survive being made smaller."""
    shades = random.Random(seed)
    rows = [
        b"".join(bytes([shades.choice((0, 255))] * 3) * 10 for _ in range(width // 10)) for _ in range(height // 10)
    ]
    return Picture(Size(width, height), b"".join(row * 10 for row in rows))


def loaded(source, placement: Placement = CPU) -> HFBackend:
    backend = HFBackend()
    backend.facts = backend.load(resolve(ModelChoice(str(source))), placement, lambda stage, fraction: None)
    return backend


@pytest.fixture(scope="module", params=[save_cogvlm, save_llava], ids=["cogvlm", "llava"])
def checkpoint(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def backend(checkpoint):
    backend = loaded(checkpoint)
    yield backend
    backend.close()


@pytest.fixture
def llava(tmp_path):
    return save_llava(tmp_path / "llava")


def ask(backend, *messages, never=lambda: False, **sampling) -> tuple[str, Finish]:
    if not messages:
        messages = (Message("user", "What is this?", (picture(),)),)
    request = GenerateRequest("r", "chat", tuple(messages), Sampling(**{"max_new_tokens": 24, **sampling}))
    *pieces, finish = backend.stream(request, never)
    assert isinstance(finish, Finish)
    return "".join(pieces), finish


# --- loading


def test_what_is_resident_is_counted_once_and_where_it_is(backend, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    assert backend.facts.parameters == sum(tensor.numel() for tensor in weights.values())
    assert set(backend.facts.resident_bytes) == {"cpu"}
    assert backend.facts.resident_bytes["cpu"] >= 4 * backend.facts.parameters
    assert backend.facts.dtype == "float32"


def test_loading_leaves_the_frameworks_globals_as_they_were(backend):
    assert torch.get_default_dtype() == torch.float32
    assert "no_tie" not in PreTrainedModel.tie_weights.__name__
    assert not any(parameter.is_meta for parameter in backend._model.parameters())


def test_the_stages_of_a_load_are_told(llava):
    stages = []
    HFBackend().load(resolve(ModelChoice(str(llava))), CPU, lambda *stage: stages.append(stage))
    assert [stage for stage, _ in stages] == ["loading weights", "warming up", "rehearsing"]


def test_the_phases_of_a_load_are_told_with_their_seconds(backend):
    phases = ["files", "devices", "processor", "weights", "checks", "warm_up", "rehearsal"]
    assert sorted(backend.facts.spans_s) == sorted(phases)
    assert all(seconds_s >= 0 for seconds_s in backend.facts.spans_s.values())
    assert backend.facts.spans_s["weights"] > 0


def test_a_half_precision_file_is_computed_in_float32_on_a_cpu_unless_asked_otherwise(tmp_path):
    save_cogvlm(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in weights.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    assert loaded(tmp_path).facts.dtype == "float32"
    half = loaded(tmp_path, replace(CPU, dtype="bfloat16"))
    assert half.facts.dtype == "bfloat16"
    assert ask(half)[1].reason == "length"


def test_a_prompt_is_cast_before_it_waits_for_the_thread_that_generates(llava, monkeypatch):
    backend, waiting = loaded(llava, replace(CPU, dtype="bfloat16")), []
    submit = backend._rolling.submit
    monkeypatch.setattr(backend._rolling, "submit", lambda row: (waiting.append(row), submit(row)))
    ask(backend)
    assert waiting[0].inputs["pixel_values"].dtype == torch.bfloat16
    assert waiting[0].inputs["input_ids"].dtype == torch.int64
    backend.close()


def test_shards_are_loaded_through_their_index(tmp_path):
    whole = loaded(save_llava(tmp_path / "whole"))
    save_llava(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert ask(loaded(tmp_path / "shards"))[0] == ask(whole)[0]


def test_a_family_that_was_not_known_before_the_download_is_recognised(tmp_path):
    spec = replace(resolve(ModelChoice("some/repo")), source=str(save_cogvlm(tmp_path)))
    backend = HFBackend()
    backend.load(spec, CPU, lambda *_: None)
    assert isinstance(backend._model, CogVLMForConditionalGeneration)


def test_a_tokenizer_of_its_own_directory_is_used(tmp_path):
    save_cogvlm(tmp_path / "model")
    for file in (tmp_path / "model").glob("token*"):
        file.unlink()
    tokenizer().save_pretrained(tmp_path / "words")
    backend = loaded(f"{tmp_path / 'model'}?tokenizer={tmp_path / 'words'}")
    assert ask(backend)[0] == ask(loaded(save_cogvlm(tmp_path / "whole")))[0]


def test_a_model_whose_processor_reads_videos_works_without_torchvision(tmp_path):
    backend = loaded(save_qwen(tmp_path))
    text, finish = ask(backend, Message("user", "What?", (picture(),)))
    assert finish.usage.completion_tokens == 24
    assert text != ask(backend, Message("user", "What?", (picture(3),)))[0]


def test_a_model_without_conversations_is_asked_the_last_question(tmp_path):
    backend = loaded(save_paligemma(tmp_path))
    last = Message("user", "caption en", (picture(),))
    text, finish = ask(backend, last)
    assert finish.usage.completion_tokens == 24
    assert ask(backend, Message("user", "hello"), Message("assistant", "hi"), last)[0] == text
    assert ask(backend, Message("user", "caption en", (picture(4),)))[0] != text


def test_a_picture_longer_than_the_model_is_given_is_made_smaller_in_proportion(llava):
    backend = loaded(llava)
    assert backend._prompter._image(picture(width=4000, height=10)).size == (1568, 4)
    assert backend._prompter._image(picture(width=40, height=30)).size == (40, 30)


# --- memory


def test_what_the_process_holds_is_told_by_the_plans_names(backend):
    held = backend.memory()
    assert held.keys() == {"cpu"}
    assert backend.facts.resident_bytes["cpu"] < held["cpu"].allocated <= held["cpu"].peak


def test_a_parked_model_does_not_answer_until_it_is_resumed(backend):
    said = ask(backend)[0]
    backend.park()
    with pytest.raises(RuntimeError, match="parked"):
        ask(backend)
    assert backend.memory().keys() == {"cpu"}
    backend.resume()
    assert ask(backend)[0] == said


def test_two_loads_of_one_process_wait_for_each_other(tmp_path):
    directories = [
        save_cogvlm(tmp_path / "one", tie_word_embeddings=True, published=False),
        save_llava(tmp_path / "two"),
    ]
    with ThreadPoolExecutor(4) as pool:
        backends = list(pool.map(loaded, directories * 4))
    assert "no_tie" not in PreTrainedModel.tie_weights.__name__
    assert torch.get_default_dtype() == torch.float32
    for number in range(2):
        assert len({ask(backend)[0] for backend in backends[number::2]}) == 1


# --- answers


def test_the_stream_equals_what_generate_says(backend, checkpoint):
    is_cogvlm = isinstance(backend._model, CogVLMForConditionalGeneration)
    cls, reader = (
        (CogVLMForConditionalGeneration, CogVLMProcessor)
        if is_cogvlm
        else (LlavaForConditionalGeneration, LlavaProcessor)
    )
    processor = reader.from_pretrained(checkpoint)
    content = [{"type": "image", "image": to_pil(picture())}, {"type": "text", "text": "What is this?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    ids = cls.from_pretrained(checkpoint).generate(**inputs, do_sample=False, max_new_tokens=24, max_length=None)
    expected = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    text, finish = ask(backend)
    assert text == expected
    assert finish.reason == "length"
    assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (inputs["input_ids"].shape[1], 24)
    assert 0 < finish.usage.first_token_s < finish.usage.total_s


def test_every_token_is_a_piece_of_its_own(backend):
    request = GenerateRequest("r", "chat", (Message("user", "Hi"),), Sampling(max_new_tokens=12))
    assert len(list(backend.stream(request, lambda: False))) == 13


def test_the_picture_and_the_question_both_matter(backend):
    answers = {
        ask(backend, Message("user", question, pictures))[0]
        for question in ("What is this?", "Where is it?")
        for pictures in ((), (picture(),), (picture(200),))
    }
    assert len(answers) >= 5


def test_a_second_turn_is_asked_with_the_first_before_it(backend):
    first = (Message("user", "What is this?", (picture(),)), Message("assistant", "A dog."))
    follow_up = Message("user", "How many?")
    prompt = backend._tokenizer.decode(backend._prompter.prepare((*first, follow_up))["input_ids"][0])
    assert prompt.index("What is this?") < prompt.index("A dog.") < prompt.index("How many?")
    _, finish = ask(backend, *first, follow_up)
    assert finish.usage.prompt_tokens > ask(backend)[1].usage.prompt_tokens


def test_the_end_token_ends_an_answer_and_is_not_shown(tmp_path):
    backend = loaded(save_llava(tmp_path))
    with torch.no_grad():  # every answer is then nothing but the end
        backend._model.get_output_embeddings().weight.zero_()
    hook = backend._model.get_output_embeddings().register_forward_hook(
        lambda *a: a[2].index_fill_(-1, torch.tensor([2]), 9)
    )
    text, finish = ask(backend)
    hook.remove()
    assert (text, finish.reason, finish.usage.completion_tokens) == ("", "stop", 1)


def test_a_models_own_opinions_on_sampling_and_length_do_not_count(llava):
    opinions = json.loads((llava / "generation_config.json").read_text())
    assert (opinions["do_sample"], opinions["max_length"]) == (True, 20)
    backend = loaded(llava)
    text, finish = ask(backend, max_new_tokens=60)
    assert finish.usage.completion_tokens == 60
    assert ask(backend, max_new_tokens=60)[0] == text


def test_sampling_is_repeated_by_its_seed_and_by_nothing_else(backend):
    def sampled(seed):
        return ask(backend, temperature=1.0, seed=seed)[0]

    assert sampled(7) == sampled(7)
    assert len({sampled(7), sampled(8), sampled(None), sampled(None)}) == 4
    sampled(7)
    after = sampled(None)
    sampled(7)
    assert sampled(None) != after


def test_more_pictures_than_a_model_takes_leave_the_newest(tmp_path):
    backend = loaded(save_cogvlm(tmp_path))
    old, new = Message("user", "One?", (picture(3),)), Message("user", "Two?", (picture(200),))
    answer = Message("assistant", "Yes.")
    both = ask(backend, old, answer, new)[0]
    assert both == ask(backend, replace(old, pictures=()), answer, new)[0]
    assert both != ask(backend, old, answer, replace(new, pictures=()))[0]


# --- stopping


def test_a_cancel_takes_effect_within_two_tokens(backend):
    asked = []

    def cancelled():
        asked.append(None)
        return len(asked) >= 4

    _, finish = ask(backend, never=cancelled, max_new_tokens=200)
    assert finish.reason == "cancelled"
    assert 3 <= finish.usage.completion_tokens <= 4  # it is asked before the prompt is read, too
    assert ask(backend)[1].reason == "length"


def test_a_reader_that_leaves_stops_the_generation_before_the_next_request(backend):
    request = GenerateRequest("r", "chat", (Message("user", "Hi"),), Sampling(max_new_tokens=200))
    counted = []
    hook = backend._model.register_forward_pre_hook(lambda *_: counted.append(None))
    stream = backend.stream(request, lambda: False)
    next(stream)
    stream.close()
    seen = len(counted)
    hook.remove()
    assert seen < 100
    assert ask(backend)[1].usage.completion_tokens == 24


# --- what cannot be answered


def test_an_error_while_generating_reaches_the_reader_and_the_next_request_works(backend):
    calls = []

    def fail(*_):
        calls.append(None)
        if len(calls) == 4:
            raise ZeroDivisionError("a fault in the model")

    hook = backend._model.register_forward_pre_hook(fail)
    request = GenerateRequest("r", "chat", (Message("user", "Hi"),), Sampling(max_new_tokens=50))
    got = []
    with pytest.raises(ZeroDivisionError, match="a fault in the model"):
        got.extend(backend.stream(request, lambda: False))
    hook.remove()
    assert len(got) == 3
    assert ask(backend)[1].reason == "length"


def test_a_conversation_longer_than_the_context_is_refused_with_both_numbers(backend):
    with pytest.raises(ContextTooLong, match=r"\(\d{3,} tokens with 24 more for the answer, of 256\)"):
        ask(backend, Message("user", "x" * 400))


@pytest.mark.parametrize(
    ("planned", "most", "is_planned"), [(None, 256, False), (512, 256, False), (256, 256, False), (120, 120, True)]
)
def test_a_conversation_may_be_as_long_as_the_model_takes_and_memory_is_planned_for(
    checkpoint, planned, most, is_planned
):
    limited = loaded(checkpoint, replace(CPU, context=planned))
    _, finish = ask(limited, max_new_tokens=4000)
    assert finish.usage.prompt_tokens + finish.usage.completion_tokens == most
    for text in ("x" * 400, "word " * 200_000):
        with pytest.raises(ContextTooLong, match=f" of {most}") as raised:
            ask(limited, Message("user", text))
        assert ("--context" in str(raised.value)) is is_planned
    limited.close()


def test_an_answer_longer_than_the_rest_of_the_context_is_cut_to_it(backend):
    _, finish = ask(backend, max_new_tokens=4000)
    assert finish.reason == "length"
    assert finish.usage.prompt_tokens + finish.usage.completion_tokens == 256


def test_a_question_of_a_megabyte_is_refused_in_words(backend):
    with pytest.raises(ContextTooLong, match=r"\(over \d+ tokens, of 256\)"):
        ask(backend, Message("user", "word " * 200_000, (picture(),)))
    assert ask(backend)[1].reason == "length"


@pytest.mark.parametrize("typed", ["</s>", "<image>", "<pad><s></s>", "a<image><image>b", "<loc_1>"])
def test_special_tokens_that_a_user_types_stay_text(backend, typed):
    plain = backend._prompter.prepare([Message("user", "", (picture(),))])["input_ids"][0].tolist()
    spiked = backend._prompter.prepare([Message("user", typed, (picture(),))])["input_ids"][0].tolist()
    for token in backend._tokenizer.all_special_ids:
        assert spiked.count(token) == plain.count(token)
    added = backend._tokenizer.decode(spiked).replace(JOINER, "")
    assert typed in added


# --- checkpoints that are refused


def broken(directory, error=BrokenCheckpoint) -> str:
    with pytest.raises(error) as raised:
        loaded(directory)
    assert str(directory.parent) not in str(raised.value)
    return str(raised.value)


def test_a_missing_weight_is_named_instead_of_being_made_up(llava):
    weights = load_file(llava / "model.safetensors")
    del weights[next(key for key in weights if "up_proj" in key)]
    save_file(weights, llava / "model.safetensors", {"format": "pt"})
    assert "up_proj" in broken(llava)


def test_weights_of_another_size_do_not_match(llava):
    weights = load_file(llava / "model.safetensors")
    name = next(key for key in weights if "up_proj" in key)
    weights[name] = weights[name][:-1].contiguous()
    save_file(weights, llava / "model.safetensors", {"format": "pt"})
    assert "do not match config.json" in broken(llava)


def test_weights_that_are_not_numbers_are_found_before_the_first_user(llava):
    weights = load_file(llava / "model.safetensors")
    next(value for key, value in weights.items() if "up_proj" in key).fill_(float("nan"))
    save_file(weights, llava / "model.safetensors", {"format": "pt"})
    assert "not finite" in broken(llava)


@pytest.mark.parametrize(("length", "words"), [(0, "is empty"), (5, "is truncated"), (20_000, "is truncated")])
def test_a_file_cut_short_is_named(llava, length, words):
    path = llava / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert f"{words}" in (message := broken(llava))
    assert "model.safetensors" in message


def test_pickled_weights_are_not_opened(llava):
    (llava / "model.safetensors").rename(llava / "pytorch_model.bin")
    assert "pytorch_model.bin" in broken(llava, UnsafeWeights)


def test_remote_code_is_not_run_unless_it_is_asked_for(llava):
    (llava / "code.py").write_text("raise SystemExit('remote code was run')")
    edit_config(
        llava, model_type="homemade", auto_map={"AutoConfig": "code.C", "AutoModelForImageTextToText": "code.M"}
    )
    assert "--trust-remote-code" in broken(llava, UnsafeWeights)


def test_remote_code_is_run_when_it_is_asked_for(llava, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    (llava / "code.py").write_text(REMOTE_CODE)
    edit_config(
        llava, model_type="homemade", auto_map={"AutoConfig": "code.C", "AutoModelForImageTextToText": "code.M"}
    )
    weights = load_file(llava / "model.safetensors")  # older names are translated for transformers' own types only
    weights["lm_head.weight"] = weights.pop("language_model.lm_head.weight")
    save_file(weights, llava / "model.safetensors", {"format": "pt"})
    spec = resolve(ModelChoice(str(llava)), trust_remote_code=True)
    backend = HFBackend()
    backend.load(spec, CPU, lambda *_: None)
    assert type(backend._model).__name__ == "M"
    assert ask(backend)[1].reason == "length"


def test_a_type_that_this_version_does_not_know_is_named(llava):
    edit_config(llava, model_type="from_the_future")
    assert "from_the_future" in broken(llava, ConfigError)


def test_a_model_that_only_compares_pictures_and_words_is_refused(tmp_path):
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(text_config=small, vision_config={**small, "image_size": 28, "patch_size": 14})
    CLIPModel(config).save_pretrained(tmp_path)
    assert "does not answer in words" in broken(tmp_path, ConfigError)


def test_a_directory_that_vanished_is_reported(llava):
    spec = resolve(ModelChoice(str(llava)))
    shutil.rmtree(llava)
    with pytest.raises(Exception, match="directory is not there"):
        HFBackend().load(spec, CPU, lambda *_: None)
