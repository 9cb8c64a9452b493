"""Exact plans and exact refusals for exact sizes."""

from dataclasses import replace

import pytest
from planner_kit import ON_CARD, ON_CPU, UNIT, card, cpu, model, parted, with_gaps

from demo.config import EngineConfig
from demo.engine.devices import GIB
from demo.engine.footprint import ModelFootprint
from demo.engine.planner import Flags, assess, assess_together, gib, needs_outline, plan
from demo.errors import ConfigError, DoesNotFit

EIGHT = parted(*[GIB] * 8)  # 8 GiB in layers of one
TALKER = model(2, layers=16, kv_width=1024, context=8192)
TALK = with_gaps(2**29, TALKER.prefill_activation_bytes("bfloat16")) + TALKER.logits_bytes()


def places(decision):
    """The cards of each replica."""
    return [tuple(replica.devices) for replica in decision.replicas]


def layers(replica, device):
    return [
        int(path.partition(".")[2]) for path, where in replica.device_map.items() if "." in path and where == device
    ]


# model GiB, devices, flags -> the replicas' devices, the dtype and the placement
WHOLE = {
    "the only card": (4, [card(0, 8 * GIB), cpu(64 * GIB)], Flags(), ["cuda:0"], "bfloat16", "single"),
    "one on every card": (
        4,
        [card(0, 8 * GIB), card(1, 6 * GIB)],
        Flags(),
        ["cuda:0", "cuda:1"],
        "bfloat16",
        "replicate",
    ),
    "a card of others": (4, [card(0, GIB, 24 * GIB), card(1, 6 * GIB)], Flags(), ["cuda:1"], "bfloat16", "single"),
    "the emptiest card": (4, [card(0, 8 * GIB), card(1, 20 * GIB)], Flags("single"), ["cuda:1"], "bfloat16", "single"),
    "equal cards": (4, [card(1, 8 * GIB), card(0, 8 * GIB)], Flags("single"), ["cuda:0"], "bfloat16", "single"),
    "no card": (4, [cpu(64 * GIB)], Flags(), ["cpu"], "float32", "cpu"),
    "no card, little memory": (4, [cpu(6 * GIB)], Flags(), ["cpu"], "bfloat16", "cpu"),
    "the CPU is asked for": (4, [card(0, 80 * GIB), cpu(64 * GIB)], Flags("cpu"), ["cpu"], "float32", "cpu"),
    "a card is named": (
        4,
        [card(0, 8 * GIB), card(1, 20 * GIB)],
        Flags(devices=(0,)),
        ["cuda:0"],
        "bfloat16",
        "single",
    ),
    "a budget": (
        4,
        [card(0, 8 * GIB), card(1, 9 * GIB)],
        Flags("single", None, {1: 6 * GIB}),
        ["cuda:0"],
        "bfloat16",
        "single",
    ),
    "a budget above what is free": (
        4,
        [card(0, 8 * GIB)],
        Flags(max_memory={0: 99 * GIB}),
        ["cuda:0"],
        "bfloat16",
        "single",
    ),
    "a dtype": (4, [card(0, 12 * GIB)], Flags(dtype="float32"), ["cuda:0"], "float32", "single"),
    "to the byte": (4, [card(0, 4 * GIB + ON_CARD)], Flags(), ["cuda:0"], "bfloat16", "single"),
    "two by one": (
        4,
        [card(n, (6 + n) * GIB) for n in range(3)],
        Flags("2x1"),
        ["cuda:1", "cuda:2"],
        "bfloat16",
        "2x1",
    ),
    "replicas where they fit": (
        4,
        [card(0, 8 * GIB), card(1, GIB), card(2, 5 * GIB)],
        Flags("replicate"),
        ["cuda:0", "cuda:2"],
        "bfloat16",
        "replicate",
    ),
}


@pytest.mark.parametrize(("size", "devices", "flags", "where", "dtype", "name"), WHOLE.values(), ids=WHOLE)
def test_whole_models_go_where_they_should(size, devices, flags, where, dtype, name):
    decision = plan(model(size), devices, flags)
    assert [dict(replica.device_map) for replica in decision.replicas] == [{"": device} for device in where]
    assert (decision.dtype, decision.placement, decision.shortfall_bytes) == (dtype, name, 0)
    for replica in decision.replicas:
        (size_here,) = replica.devices.values()
        assert size_here == decision.weights_bytes + (ON_CPU if where == ["cpu"] else ON_CARD)


# free GiB of the cards, flags -> the replicas' cards and the placement
SPLIT = {
    "two halves": ([6, 6], Flags(), [("cuda:0", "cuda:1")], "shard"),
    "as few cards as it takes": ([6, 6, 6], Flags(), [("cuda:0", "cuda:1")], "shard"),
    "all cards where that is asked": (
        [6, 6, 6, 6],
        Flags("shard"),
        [("cuda:0", "cuda:1", "cuda:2", "cuda:3")],
        "shard",
    ),
    "as many replicas as fit": ([6] * 5, Flags(), [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")], "2x2"),
    "a grid": ([20] * 4, Flags("2x2"), [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")], "2x2"),
    "a row": ([4] * 4, Flags("1x3"), [("cuda:0", "cuda:1", "cuda:2")], "1x3"),
    "one whole, one split": ([6, 20, 6], Flags(), [("cuda:1",), ("cuda:0", "cuda:2")], "mixed"),
    "a full card is left out": ([6, 1, 6], Flags("shard"), [("cuda:0", "cuda:2")], "shard"),
    "the poor share with the rich": ([7, 7, 3, 3], Flags("2x2"), [("cuda:0", "cuda:2"), ("cuda:1", "cuda:3")], "2x2"),
    "only the named cards": ([6, 6, 6], Flags("shard", (0, 2)), [("cuda:0", "cuda:2")], "shard"),
}


@pytest.mark.parametrize(("free", "flags", "where", "name"), SPLIT.values(), ids=SPLIT)
def test_models_are_split_over_the_cards_they_should_be(free, flags, where, name):
    decision = plan(
        parted(*[GIB] * 6, first=GIB, head=GIB), [card(index, size * GIB) for index, size in enumerate(free)], flags
    )
    assert [tuple(sorted(cards)) for cards in places(decision)] == where
    assert decision.placement == name


def test_a_split_gives_each_card_layers_in_order_and_as_much_as_it_has_room_for():
    (replica,) = plan(EIGHT, [card(0, 4 * GIB), card(1, 8 * GIB), card(2, 4 * GIB)], Flags("shard")).replicas
    assert {device: len(layers(replica, device)) for device in replica.devices} == {
        "cuda:0": 2,
        "cuda:1": 4,
        "cuda:2": 2,
    }
    assert [number for device in replica.devices for number in layers(replica, device)] == list(range(8))
    first, *_, last = replica.devices
    assert replica.device_map["embeddings"] == first
    assert replica.device_map["norm"] == replica.device_map["head"] == last


def test_the_first_and_the_last_card_are_lightened_for_what_else_they_hold():
    tall = parted(*[GIB] * 12, vision=3 * GIB, head=2 * GIB)
    (replica,) = plan(tall, [card(number, 24 * GIB) for number in range(3)], Flags("shard")).replicas
    assert [len(layers(replica, device)) for device in replica.devices] == [3, 6, 3]
    assert replica.device_map["vision"] == replica.device_map["embeddings"]


def test_a_card_that_has_to_be_full_does_not_make_the_others_full():
    (replica,) = plan(
        parted(*[GIB] * 4, vision=8 * GIB), [card(n, 12 * GIB) for n in range(3)], Flags("shard")
    ).replicas
    assert sorted(replica.weights.values()) == [2 * GIB, 2 * GIB, 8 * GIB]


def test_tied_weights_are_on_one_card_and_counted_once():
    tied = parted(*[GIB] * 4, first=2 * GIB, is_tied=True)
    (replica,) = plan(tied, [card(0, 5 * GIB), card(1, 5 * GIB)], Flags("shard")).replicas
    first, last = replica.devices
    assert replica.device_map["head"] == replica.device_map["embeddings"] == first
    assert replica.device_map["norm"] == last
    assert replica.weights == {first: 3 * GIB, last: 3 * GIB}


def test_the_cache_of_a_layer_is_where_the_layer_is_and_scores_are_where_the_head_is():
    costly = parted(*[GIB] * 4, head=GIB, kv_width=2**13, context=2**14, vocabulary=2**20)
    (replica,) = plan(costly, [card(0, 8 * GIB), card(1, 8 * GIB)], Flags("shard")).replicas
    prefill, scores = costly.prefill_activation_bytes("bfloat16"), costly.logits_bytes()
    first, last = replica.loads.values()
    assert (first.kv_cache, last.kv_cache) == (GIB, GIB)
    held = with_gaps(GIB, prefill)
    assert (first.activations, last.activations) == (held, held + scores)
    assert scores > 0


def test_pictures_are_read_on_the_first_card_and_scores_made_on_the_last_whatever_the_parts_are_called():
    shape = {"patches": 1024, "vision_hidden": 8192, "vision_intermediate": 2**15, "vocabulary": 2**20}
    named = parted(*[GIB] * 4, vision=0, **shape)
    plain = replace(named, modules=tuple(module for module in named.modules if module.kind == "layer"))
    devices = [card(0, 4 * GIB), card(1, 4 * GIB)]
    loads = [list(plan(each, devices, Flags("shard")).replicas[0].loads.values()) for each in (named, plain)]
    assert [load.activations for load in loads[0]] == [load.activations for load in loads[1]]
    prefill, tower = plain.prefill_activation_bytes("bfloat16"), plain.vision_activation_bytes("bfloat16")
    assert loads[0][0].activations == with_gaps(0, prefill, tower) > loads[0][1].activations > 0


def test_quantization_is_done_only_where_asked_and_counts():
    half = parted(*[GIB] * 8, linear=GIB // 2)
    assert plan(half, [card(0, 5 * GIB)], Flags(quantization="int8")).weights_bytes == 4 * GIB
    assert plan(half, [card(0, 16 * GIB)]).quantization == "none"
    assert assess(half, [card(0, 5 * GIB)]).fits is False


def test_prompts_are_prepared_ahead_where_cards_compute_and_cores_do_not():
    assert plan(TALKER, [card(0, 80 * GIB)]).placement_of(0, threads=1).prepares_ahead
    assert not plan(TALKER, [cpu(80 * GIB)]).placement_of(0, threads=1).prepares_ahead
    assert not plan("not here yet", [cpu(80 * GIB)]).placement_of(0, threads=1).prepares_ahead
    offloaded = plan(EIGHT, [card(0, 5 * GIB), cpu(64 * GIB)], Flags(offload=True))
    assert not offloaded.placement_of(0, threads=1).prepares_ahead


def test_a_context_is_planned_for_as_asked():
    talker = model(1, layers=16, kv_width=1024, context=8192)
    assert plan(talker, [card(0, 8 * GIB)]).kv_cache_bytes == GIB // 2
    longer = plan(talker, [card(0, 8 * GIB)], Flags(context=16384))
    assert (longer.kv_cache_bytes, longer.context) == (GIB, 16384)
    assert plan(model(1, context=2048), [card(0, 8 * GIB)], Flags(context=16384)).context == 2048  # it takes no more


def test_the_backend_is_told_the_context_that_there_is_memory_for():
    devices = [card(0, 8 * GIB)]
    assert plan(TALKER, devices).placement_of(0, threads=1).context == 8192
    assert plan(TALKER, devices, Flags(context=512)).placement_of(0, threads=1).context == 512
    assert plan("not here yet", devices).placement_of(0, threads=1).context is None
    assert plan("not here yet", devices, Flags(context=512)).placement_of(0, threads=1).context == 512


# --- layers in main memory


def test_layers_are_in_main_memory_only_where_allowed_and_as_few_as_it_takes():
    devices = [card(0, 6 * GIB), cpu(64 * GIB)]
    assert assess(EIGHT, devices).fits is False
    decision = plan(EIGHT, devices, Flags(offload=True))
    (replica,) = decision.replicas
    # five layers would fit, but the first one computes on the card and needs room there to come and go
    assert layers(replica, "cpu") == [0, 1, 2, 3]
    assert layers(replica, "cuda:0") == [4, 5, 6, 7]
    assert replica.weights == {"cuda:0": 4 * GIB, "cpu": 4 * GIB}
    assert replica.loads["cuda:0"].activations == GIB
    assert "4 layers (4.0 GiB) stay in main memory" in decision.arithmetic
    assert decision.placement_of(0, threads=2).offload


def test_what_fits_the_cards_is_not_offloaded_though_it_may_be():
    decision = plan(EIGHT, [card(0, 6 * GIB), card(1, 6 * GIB), cpu(64 * GIB)], Flags(offload=True))
    assert "cpu" not in decision.replicas[0].devices
    assert not decision.placement_of(0, threads=2).offload


def test_main_memory_has_its_limits_too():
    assert assess(EIGHT, [card(0, 6 * GIB), cpu(4 * GIB)], Flags(offload=True)).fits is False
    assert assess(EIGHT, [card(0, 6 * GIB), cpu(4 * GIB + ON_CPU)], Flags(offload=True)).fits
    assert assess(model(100), [cpu(64 * GIB)]).fits is False


# --- what the backend is told


def test_the_backend_is_told_all_that_was_decided():
    flags = Flags("shard", max_memory={0: 6 * GIB}, quantization="int8", dtype="float16")
    decision = plan(parted(*[GIB] * 8, linear=0), [card(0, 9 * GIB), card(1, 9 * GIB)], flags)
    placement = decision.placement_of(0, threads=3)
    assert (placement.dtype, placement.quantization, placement.threads) == ("float16", "int8", 3)
    assert placement.caps == {"cuda:0": 6 * GIB}
    assert placement.planned == decision.replicas[0].weights
    assert sum(placement.planned.values()) == 8 * GIB
    assert set(placement.device_map) == {module.path for module in EIGHT.modules}


# --- refusals

# model, devices, flags -> the bytes it lacks and the flags that would fit, best first
REFUSALS = {
    "by one byte": (model(4), [card(0, 4 * GIB + ON_CARD - 1)], Flags(), 1, []),
    "no silent spill to the CPU": (
        model(20),
        [card(0, 8 * GIB), cpu(64 * GIB)],
        Flags(),
        12 * GIB + ON_CARD,
        ["--placement cpu"],
    ),
    "a budget": (model(4), [card(0, 8 * GIB)], Flags(max_memory={0: 4 * GIB}), ON_CARD, ["without --max-memory"]),
    "another card": (
        model(4),
        [card(0, 2 * GIB), card(1, 8 * GIB)],
        Flags("single", (0,)),
        2 * GIB + ON_CARD,
        ["--devices 1"],
    ),
    "more cards": (
        EIGHT,
        [card(0, 6 * GIB), card(1, 6 * GIB)],
        Flags(devices=(0,)),
        2 * GIB + ON_CARD,
        ["--devices 0,1"],
    ),
    "a wide dtype": (model(4), [card(0, 8 * GIB)], Flags(dtype="float32"), ON_CARD, ["--dtype bfloat16"]),
    "one card is too small": (
        EIGHT,
        [card(0, 6 * GIB), card(1, 6 * GIB)],
        Flags("single"),
        2 * GIB + ON_CARD,
        ["--placement shard"],
    ),
    "no card has room for a replica": (
        EIGHT,
        [card(0, 6 * GIB), card(1, 6 * GIB)],
        Flags("replicate"),
        2 * GIB + ON_CARD,
        ["--placement shard"],
    ),
    "cards that are not there": (
        EIGHT,
        [card(0, 6 * GIB), card(1, 6 * GIB)],
        Flags("2x2"),
        GIB + ON_CARD,
        ["--placement auto"],
    ),
    "together they are too small": (EIGHT, [card(0, 4 * GIB), card(1, 4 * GIB)], Flags(), ON_CARD, []),
    "fewer bits": (
        parted(*[GIB] * 8, linear=GIB // 2),
        [card(0, 5 * GIB)],
        Flags(),
        3 * GIB + ON_CARD,
        ["--quantize int8", "--quantize int4"],
    ),
    "a shorter conversation": (
        TALKER,
        [card(0, 2 * GIB + 2**28 + ON_CARD + TALK)],
        Flags(),
        2**28,
        ["--context 4096"],
    ),
    "two changes where one is not enough": (
        EIGHT,
        [card(0, 6 * GIB), card(1, 6 * GIB), card(2, 6 * GIB)],
        Flags("single", (0, 1), dtype="float32"),
        10 * GIB + ON_CARD,
        ["--placement shard --dtype bfloat16"],
    ),
    "main memory helps": (EIGHT, [card(0, 6 * GIB), cpu(6 * GIB)], Flags(), 2 * GIB + ON_CARD, ["--offload"]),
    "the best comes first": (
        EIGHT,
        [card(0, 6 * GIB), card(1, 9 * GIB), cpu(64 * GIB)],
        Flags("single", (0,)),
        2 * GIB + ON_CARD,
        ["--devices 1", "--offload", "--placement cpu"],
    ),
    "the CPU is too small, the card is not": (
        model(4),
        [card(0, 8 * GIB), cpu(2 * GIB)],
        Flags("cpu"),
        2 * GIB + ON_CPU,
        ["--placement auto"],
    ),
}


@pytest.mark.parametrize(("footprint", "devices", "flags", "short", "fitting"), REFUSALS.values(), ids=REFUSALS)
def test_what_does_not_fit_is_refused_with_what_would(footprint, devices, flags, short, fitting):
    decision = assess(footprint, devices, flags)
    assert decision.fits is False
    assert decision.replicas == ()
    assert decision.shortfall_bytes == short
    assert [suggestion.flags for suggestion in decision.suggestions if suggestion.fits] == fitting
    with pytest.raises(DoesNotFit) as caught:
        plan(footprint, devices, flags)
    assert all(words in str(caught.value) for words in fitting)


def test_a_refusal_shows_its_arithmetic():
    shape = {"layers": 32, "kv_width": 4096, "context": 2048}
    with pytest.raises(DoesNotFit) as caught:
        plan(model(33, **shape), [card(0, 24 * GIB), card(1, 20 * GIB)], Flags("single"))
    message = str(caught.value)
    for part in (
        "weights 33.0 GiB (17.7 billion parameters in bfloat16)",
        "KV cache 1.0 GiB (2048 tokens)",
        "activations ",
        "reserve 0.8 GiB",
        "on one device",
        "cuda:0 has 24.0 GiB free, cuda:1 has 20.0 GiB free",
        "GiB short",
        "No other flags would make it fit here.",
    ):
        assert part in message


def test_a_refusal_of_a_split_says_what_each_card_lacks():
    words = assess(EIGHT, [card(0, 4 * GIB), card(1, 4 * GIB)], Flags("shard")).arithmetic
    assert "on 2 devices" in words
    assert "cuda:0, cuda:1 have 4.0 GiB free each: 0.8 GiB short on each" in words
    words = assess(EIGHT, [card(0, 20 * GIB)], Flags("2x2")).arithmetic
    assert "2x2 takes 4 cards, and there are 1." in words


def test_cards_that_are_left_out_are_named_with_the_reason():
    words = plan(EIGHT, [card(0, 9 * GIB), card(1, GIB), card(2, 9 * GIB)]).arithmetic
    assert "Skipped, too full: cuda:1 (1.0 GiB free)." in words
    words = plan(EIGHT, [card(n, 6 * GIB) for n in range(3)]).arithmetic
    assert "Not needed: cuda:2." in words


def test_a_model_whose_parts_are_not_known_is_not_split_and_says_so():
    decision = assess(model(8), [card(0, 6 * GIB), card(1, 6 * GIB)], Flags("shard"))
    assert decision.fits is False
    assert "Its parts are not known, so it cannot be split." in decision.arithmetic


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (Flags("magic"), "magic.*auto, single, replicate, shard, cpu, and RxG"),
        (Flags("0x2"), "0x2.*RxG"),
        (Flags("single"), r"no card.*--placement cpu"),
        (Flags("2x2"), r"no card.*--placement cpu"),
        (Flags(quantization="int7"), "int7.*none, int8, int4"),
        (Flags(dtype="float8"), "float8.*bfloat16"),
        (Flags(devices=(3,)), r"no such card \(3\). Cards here: none"),
        (Flags(max_memory={1: 5}), r"no such card \(1\)"),
        (Flags(offload=True, quantization="int8"), "--offload or --quantize"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        plan(model(1), [cpu(64 * GIB)], flags)


def test_a_machine_without_any_device_is_refused():
    with pytest.raises(ConfigError, match="no CPU"):
        plan(model(1), [card(0, GIB)], Flags("cpu"))


# --- models of unknown size

UNKNOWN = {
    "auto": (Flags(), [{"": "cuda:1"}], "single"),
    "replicate": (Flags("replicate"), [{"": "cuda:0"}, {"": "cuda:1"}], "replicate"),
    "two by one": (Flags("2x1"), [{"": "cuda:0"}, {"": "cuda:1"}], "2x1"),
    "cpu": (Flags("cpu"), [{"": "cpu"}], "cpu"),
}


@pytest.mark.parametrize(("flags", "maps", "name"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_model_whose_size_is_not_known_is_planned_without_sizes(flags, maps, name):
    decision = plan("owner/repo", [card(0, 8 * GIB), card(1, 9 * GIB), cpu(64 * GIB)], flags)
    assert (decision.fits, decision.weights_bytes, decision.dtype, decision.placement) == (None, None, "auto", name)
    assert [replica.device_map for replica in decision.replicas] == maps


@pytest.mark.parametrize("placement", ["shard", "1x2", "3x1"])
def test_a_model_whose_size_is_not_known_cannot_be_split_or_outnumber_the_cards(placement):
    with pytest.raises(ConfigError):
        plan("owner/repo", [card(0, 8 * GIB), card(1, 9 * GIB)], Flags(placement))


# --- words


def test_the_json_of_a_plan_has_the_fields_of_the_contract():
    fits = plan(model(4), [card(0, 8 * GIB)]).to_json()
    contract = {
        "model": "m",
        "dtype": "bfloat16",
        "quantization": "none",
        "placement": "single",
        "fits": True,
        "weights_bytes": 4 * GIB,
        "parameters": 2 * GIB,
        "kv_cache_bytes": 0,
        "activation_bytes": 0,
        "reserve_bytes": ON_CARD,
        "shortfall_bytes": 0,
        "suggestions": [],
    }
    assert {key: fits[key] for key in contract} == contract
    assert [replica["devices"] for replica in fits["replicas"]] == [{"cuda:0": 4 * GIB + ON_CARD}]
    refused = assess(model(4), [card(0, GIB), cpu(64 * GIB)]).to_json()
    assert refused["suggestions"][0] == {"flags": "--placement cpu", "fits": True, "bytes": 8 * GIB + ON_CPU}
    assert refused.keys() == fits.keys()


def test_a_configuration_becomes_flags():
    config = EngineConfig(
        placement="single",
        devices=(1,),
        max_memory={1: 5},
        dtype="float16",
        quantize="int8",
        offload=True,
        slots=3,
        context=9,
        swap=True,
        compile="graphs",
    )
    asked = {"offload": True, "slots": 3, "context": 9, "swap": True, "graphs": True, "kernels": True}
    expected = Flags("single", (1,), {1: 5}, "float16", "int8", **asked)
    assert Flags.of(config) == expected
    assert Flags.of(EngineConfig()).slots is None


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.0 MiB"), (80 * 2**20, "80.0 MiB"), (GIB // 2, "0.5 GiB"), (33 * GIB, "33.0 GiB")]
)
def test_sizes_for_people_have_a_fitting_unit(size, text):
    assert gib(size) == text


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (Flags(), False),
        (Flags("shard"), True),
        (Flags("2x2"), True),
        (Flags("2x1"), False),
        (Flags(quantization="int4"), True),
        (Flags(offload=True), True),
        (Flags("cpu", quantization="int4"), False),
    ],
)
def test_the_parts_of_a_model_are_asked_for_only_where_it_may_be_cut(flags, wanted):
    assert needs_outline([card(0, GIB), card(1, GIB), cpu(GIB)], flags) is wanted


def test_a_chain_of_ties_ends_on_one_card():
    loop = parted(*[GIB] * 3)
    shared = replace(loop.modules[3], tied_to="layers.0", floats=0)
    footprint = ModelFootprint(
        "m", GIB, "bfloat16", shape=loop.shape, modules=(*loop.modules[:3], shared, *loop.modules[4:])
    )
    (replica,) = plan(footprint, [card(0, 2 * GIB), card(1, 2 * GIB)], Flags("shard")).replicas
    assert replica.device_map["layers.2"] == replica.device_map["layers.0"] != replica.device_map["layers.1"]


def test_weights_that_may_wait_in_main_memory_are_not_suggested_to_be_quantized():
    """The two exclude each other."""
    footprint = parted(*[4 * UNIT] * 4, first=UNIT, head=UNIT, linear=2 * UNIT)
    refused = assess(footprint, [card(0, 10 * UNIT), cpu(0)], Flags("single", offload=True))
    assert refused.fits is False
    assert not any("quantize" in suggestion.flags for suggestion in refused.suggestions)
    cards_alone = assess(footprint, [card(0, 10 * UNIT), cpu(0)], Flags("single"))
    assert any("quantize" in suggestion.flags for suggestion in cards_alone.suggestions)


@pytest.mark.parametrize("devices", [[card(0, 24 * GIB), cpu(GIB)], [cpu(GIB)]], ids=["a card", "no card"])
def test_models_that_cannot_be_measured_yet_are_placed_unmeasured_whatever_there_is(devices):
    found = assess_together(["some/model", "another/model"], devices, Flags(graphs=None, slots=None))
    assert [(each.model, each.fits) for each in found] == [("some/model", None), ("another/model", None)]
