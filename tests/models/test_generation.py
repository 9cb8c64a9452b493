import queue

import pytest
import torch
from transformers import TextIteratorStreamer
from transformers.generation.streamers import BaseStreamer

from demo.errors import InvalidInput
from tests.models.kit import byte_tokenizer, prompt, tiny_model

SHAPES = [
    pytest.param({}, id="v1"),
    pytest.param({"num_multi_query_heads": 3}, id="v2-odd-grid"),  # 5 x 5 patches merge to 2 x 2
    pytest.param({"num_multi_query_heads": 1, "downsampling": False}, id="one-key-head-no-merge"),
    pytest.param({"downsampling": True, "vision_config": {"image_size": 24}}, id="v1-with-merge"),
    pytest.param({"family": "cogagent"}, id="cogagent"),
]

FAMILIES = ("cogvlm", "cogagent")


def greedy(model, inputs, **options):
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None} | options
    return model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :].tolist()


def pad_left(rows, config):
    """Rows of different lengths as one batch."""
    longest = max(row["input_ids"].shape[1] for row in rows)
    fillers = {"input_ids": config.pad_token_id, "mm_token_type_ids": 0, "attention_mask": 0}
    batch = {
        key: torch.cat([torch.nn.functional.pad(r[key], (longest - r[key].shape[1], 0), value=filler) for r in rows])
        for key, filler in fillers.items()
    }
    sizes = {size for row in rows for size in row if size.endswith("pixel_values")}
    return batch | {size: torch.cat([row[size] for row in rows if size in row]) for size in sizes}


def sizes_of(inputs):
    return {size: pixels for size, pixels in inputs.items() if size.endswith("pixel_values")}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("cache", [None, "static"])
def test_a_padded_batch_answers_as_each_row_does_alone(shape, attention, cache):
    model = tiny_model(**shape)
    model.set_attn_implementation(attention)
    rows = [
        prompt(model.config, [5, 6, 7, 8, 9]),
        prompt(model.config, [11]),
        prompt(model.config, [4] * 9, pictures=int(model.config.model_type == "cogagent")),
    ]
    rows[1] |= {size: pixels.flip(-1) for size, pixels in sizes_of(rows[1]).items()}
    alone = [greedy(model, row)[0] for row in rows]
    assert greedy(model, pad_left(rows, model.config), cache_implementation=cache) == alone


@pytest.mark.parametrize("shape", SHAPES)
def test_cached_steps_equal_the_whole_prompt_at_once(shape):
    model = tiny_model(**shape)
    inputs = prompt(model.config, [5, 6, 7])
    out = model.generate(
        **inputs, max_new_tokens=5, eos_token_id=None, output_logits=True, return_dict_in_generate=True
    )
    types = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 5))
    with torch.inference_mode():
        whole = model(input_ids=out.sequences, mm_token_type_ids=types, **sizes_of(inputs))
    torch.testing.assert_close(torch.stack(out.logits, 1), whole.logits[:, -6:-1], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "size"),
    [("cogvlm", "pixel_values"), ("cogagent", "pixel_values"), ("cogagent", "high_res_pixel_values")],
)
def test_the_answer_depends_on_the_picture(family, size):
    model = tiny_model(family)
    inputs = prompt(model.config, [5, 6, 7])
    other = inputs | {size: -inputs[size]}
    with torch.inference_mode():
        assert (model(**inputs).logits[:, -1] - model(**other).logits[:, -1]).abs().max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cache", [None, "static"])
def test_a_picture_is_encoded_once_however_long_the_answer(family, cache):
    model = tiny_model(family)
    calls = []
    towers = [tower for name, tower in model.model.named_children() if name.endswith("vision")]
    for tower in [*towers, *(layer.cross_attn.key_value for layer in model.model.layers if family == "cogagent")]:
        tower.register_forward_hook(lambda module, *_: calls.append(module))
    greedy(model, prompt(model.config, [5, 6]), max_new_tokens=12, cache_implementation=cache)
    assert len(calls) == len(set(calls)) == (4 if family == "cogagent" else 1)


def test_decoding_never_runs_the_vision_experts():
    model = tiny_model()
    sizes = []
    model.model.layers[0].mlp.vision_mlp.register_forward_hook(lambda _, args, __: sizes.append(args[0].shape[0]))
    greedy(model, prompt(model.config, [5, 6]), max_new_tokens=12)
    assert sizes == [model.config.num_image_tokens - 1]  # the last of the picture's tokens goes with the text


def test_generation_stops_at_the_configs_end_of_text():
    model = tiny_model()
    inputs = prompt(model.config, [5, 6, 7])
    second = greedy(model, inputs)[0][1]
    stopping = tiny_model(eos_token_id=[second])
    out = stopping.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
    assert out[-1] == second
    assert len(out) <= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_text_streams_while_it_is_made(family):
    model = tiny_model(family, vocab_size=259)
    tokenizer = byte_tokenizer()
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=30)
    inputs = prompt(model.config, [5, 6, 7])
    ids = greedy(model, inputs, streamer=streamer)[0]
    pieces = []
    while (piece := streamer.text_queue.get(timeout=30)) is not streamer.stop_signal:
        pieces.append(piece)
    assert "".join(pieces) == tokenizer.decode(ids)
    with pytest.raises(queue.Empty):
        streamer.text_queue.get_nowait()


def test_every_token_is_put_one_by_one():
    class Counter(BaseStreamer):
        def __init__(self):
            self.puts = []

        def put(self, value):
            self.puts.append(value.flatten().tolist())

        def end(self):
            self.puts.append("end")

    model, counter = tiny_model(), Counter()
    inputs = prompt(model.config, [5, 6, 7])
    ids = greedy(model, inputs, streamer=counter)[0]
    assert counter.puts == [inputs["input_ids"].flatten().tolist(), *[[token] for token in ids], "end"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cache", [None, "static"])
def test_beams_and_several_samples_carry_the_picture_along(family, cache):
    model = tiny_model(family)
    inputs = prompt(model.config, [5, 6, 7], pictures=2)
    beams = greedy(model, inputs, num_beams=3, num_return_sequences=2, cache_implementation=cache)
    assert beams == greedy(model, inputs, num_beams=3, num_return_sequences=2, use_cache=False)
    assert beams[:2] != beams[2:]
    torch.manual_seed(0)
    assert len(greedy(model, inputs, do_sample=True, num_return_sequences=3)) == 6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_turn_may_continue_from_the_cache(family):
    model = tiny_model(family)
    inputs = prompt(model.config, [5, 6, 7])
    first = model.generate(**inputs, max_new_tokens=3, eos_token_id=None, do_sample=False, return_dict_in_generate=True)
    more = torch.cat((first.sequences, torch.tensor([[8, 9]])), dim=1)
    longer = {
        "input_ids": more,
        "attention_mask": torch.ones_like(more),
        "mm_token_type_ids": torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 5)),
    }
    fresh = greedy(model, longer | sizes_of(inputs))
    assert greedy(model, longer, past_key_values=first.past_key_values) == fresh


@pytest.mark.parametrize("shape", [{"num_multi_query_heads": 3}, {"family": "cogagent"}])
def test_a_decode_step_compiles_into_one_graph(shape):
    from transformers import StaticCache

    model = tiny_model(**shape)
    inputs = prompt(model.config, [5, 6, 7])
    length = inputs["input_ids"].shape[1]
    position = model._prepare_position_ids_for_generation(inputs["input_ids"], inputs)[:, -1:] + 1
    token = torch.tensor([[9]])
    results = []
    for step in (model.forward, torch.compile(model.forward, fullgraph=True, backend="eager")):
        cache = StaticCache(config=model.config, max_cache_len=length + 4)
        with torch.no_grad():
            cache = model(**inputs, past_key_values=cache).past_key_values
            results.append(step(input_ids=token, position_ids=position, past_key_values=cache).logits)
    torch.testing.assert_close(
        results[0], results[1], atol=1e-5, rtol=0
    )  # the reference numbers' bound; 1.3e-6 on one CPU


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", ["fewer places", "no places", "another size"])
def test_pictures_that_do_not_fit_their_places_are_refused_in_plain_words(change, family):
    model = tiny_model(family)
    inputs = prompt(model.config, [5, 6])
    if change == "fewer places":
        inputs["mm_token_type_ids"][0, 1] = 0
    elif change == "no places":
        del inputs["mm_token_type_ids"]
    else:
        inputs["pixel_values"] = torch.zeros(1, 3, 24, 24)
    with pytest.raises(InvalidInput, match=r"place|size"):
        model(**inputs)


def two_rows(config):
    return prompt(config, [5, 6, 7], pictures=2)


def without_places(inputs, row):
    inputs["mm_token_type_ids"][row] = 0


def moved_place(inputs):
    """As many places as there should be, but not in each row."""
    inputs["mm_token_type_ids"][0, 1] = 0
    inputs["mm_token_type_ids"][1, 0] = 1


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda given: given.update(high_res_pixel_values=given["high_res_pixel_values"][:1]), id="large"),
        pytest.param(lambda given: given.update(pixel_values=given["pixel_values"][:1]), id="small"),
        pytest.param(lambda given: given.pop("high_res_pixel_values"), id="no large"),
        pytest.param(lambda given: given.pop("pixel_values"), id="no small"),
        pytest.param(lambda given: without_places(given, 1), id="a row without"),
        pytest.param(moved_place, id="a place moved"),
        pytest.param(lambda given: (given.pop("pixel_values"), given.pop("high_res_pixel_values")), id="none"),
    ],
)
def test_cogagent_refuses_rows_that_have_not_one_picture_in_both_sizes(spoil):
    model = tiny_model("cogagent")
    inputs = two_rows(model.config)
    spoil(inputs)
    with pytest.raises(InvalidInput, match=r"exactly one picture .* in both of its sizes"):
        model(**inputs)
    with pytest.raises(InvalidInput, match="exactly one picture"):
        greedy(model, inputs)


def test_each_row_of_a_batch_sees_its_own_larger_picture():
    model = tiny_model("cogagent")
    inputs = two_rows(model.config)
    changed = inputs | {"high_res_pixel_values": inputs["high_res_pixel_values"].clone()}
    changed["high_res_pixel_values"][0].neg_()
    with torch.inference_mode():
        one, other = model(**inputs).logits, model(**changed).logits
    assert torch.equal(one[1], other[1])
    assert (one[0] - other[0]).abs().max() > 1e-2


def test_a_cache_that_has_seen_the_pictures_passes_over_those_given_again():
    model = tiny_model("cogagent")
    inputs = prompt(model.config, [5, 6, 7])
    last, position = torch.tensor([[9]]), torch.tensor([[7]])
    logits = []
    for again in ({}, sizes_of(inputs), {"cross_images": -inputs["high_res_pixel_values"]}):
        with torch.inference_mode():
            cache = model(**inputs).past_key_values
            logits.append(model(input_ids=last, position_ids=position, past_key_values=cache, **again).logits)
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("operation", ["reorder_cache", "batch_select_indices"])
def test_rows_of_the_cache_are_chosen_with_their_pictures(operation):
    model = tiny_model("cogagent")
    with torch.inference_mode():
        cache = model(**two_rows(model.config)).past_key_values
        kept = [(layer.keys[[1]], layer.values[[1]]) for layer in cache.cross_attention_cache.layers]
        getattr(cache, operation)(torch.tensor([1]))
    for layer, (keys, values) in zip(cache.cross_attention_cache.layers, kept, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)
