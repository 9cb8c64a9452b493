"""Exact plans for exact sizes, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.config import EngineConfig
from demo.engine.devices import GIB, Device
from demo.engine.footprint import ModelFootprint, Shape
from demo.engine.planner import RESERVE_BYTES, Flags, assess, gib, left_by, plan
from demo.errors import ConfigError, DoesNotFit

ON_CARD, ON_CPU = RESERVE_BYTES["cuda"], RESERVE_BYTES["cpu"]


def card(number, free, total=None):
    return Device(f"cuda:{number}", "card", "cuda", total or free, free)


def cpu(free):
    return Device("cpu", "CPU", "cpu", free, free)


def model(gigabytes, dtype="bfloat16", **shape):
    """A model whose weights take this many GiB in 16 bits."""
    return ModelFootprint("m", int(gigabytes * GIB) // 2, dtype, shape=Shape(**shape))


def placed(decision):
    (replica,) = decision.replicas
    return replica.device_map[""]


# model GiB, devices, flags -> the device and the dtype
PLANS = {
    "the only card": (4, [card(0, 8 * GIB), cpu(64 * GIB)], Flags(), "cuda:0", "bfloat16"),
    "the emptiest card": (4, [card(0, 8 * GIB), card(1, 20 * GIB, 24 * GIB)], Flags(), "cuda:1", "bfloat16"),
    "the first of equal cards": (4, [card(1, 8 * GIB), card(0, 8 * GIB)], Flags(), "cuda:0", "bfloat16"),
    "no card": (4, [cpu(64 * GIB)], Flags(), "cpu", "float32"),
    "no card, little memory": (4, [cpu(6 * GIB)], Flags(), "cpu", "bfloat16"),
    "the CPU is asked for": (4, [card(0, 80 * GIB), cpu(64 * GIB)], Flags(placement="cpu"), "cpu", "float32"),
    "a card is named": (4, [card(0, 8 * GIB), card(1, 20 * GIB)], Flags(devices=(0,)), "cuda:0", "bfloat16"),
    "a budget": (
        4,
        [card(0, 8 * GIB), card(1, 20 * GIB)],
        Flags(max_memory={1: 6 * GIB}),
        "cuda:0",
        "bfloat16",
    ),
    "a budget above what is free": (4, [card(0, 8 * GIB)], Flags(max_memory={0: 99 * GIB}), "cuda:0", "bfloat16"),
    "a dtype": (4, [card(0, 12 * GIB)], Flags(dtype="float32"), "cuda:0", "float32"),
    "to the byte": (4, [card(0, 4 * GIB + ON_CARD)], Flags(), "cuda:0", "bfloat16"),
}


@pytest.mark.parametrize(("size", "devices", "flags", "device", "dtype"), PLANS.values(), ids=PLANS)
def test_a_model_goes_where_it_should(size, devices, flags, device, dtype):
    decision = plan(model(size), devices, flags)
    assert (placed(decision), decision.dtype) == (device, dtype)
    assert decision.placement == ("cpu" if device == "cpu" else "single")
    assert decision.shortfall_bytes == 0


# model GiB, devices, flags -> the bytes it lacks and the suggestions that fit
REFUSALS = {
    "by one byte": (4, [card(0, 4 * GIB + ON_CARD - 1)], Flags(), 1, []),
    "no silent spill to the CPU": (
        20,
        [card(0, 8 * GIB), cpu(64 * GIB)],
        Flags(),
        12 * GIB + ON_CARD,
        [("--placement cpu", 40 * GIB + ON_CPU)],
    ),
    "a budget": (
        4,
        [card(0, 8 * GIB)],
        Flags(max_memory={0: 4 * GIB}),
        ON_CARD,
        [("without --max-memory", 4 * GIB + ON_CARD)],
    ),
    "a card that was not named": (
        4,
        [card(0, 2 * GIB), card(1, 8 * GIB)],
        Flags(devices=(0,)),
        2 * GIB + ON_CARD,
        [("--devices 1", 4 * GIB + ON_CARD)],
    ),
    "a wide dtype": (
        4,
        [card(0, 8 * GIB)],
        Flags(dtype="float32"),
        ON_CARD,
        [("--dtype bfloat16", 4 * GIB + ON_CARD)],
    ),
    "the CPU is too small, the card is not": (
        4,
        [card(0, 8 * GIB), cpu(2 * GIB)],
        Flags(placement="cpu"),
        2 * GIB + ON_CPU,
        [("--placement single", 4 * GIB + ON_CARD)],
    ),
    "the best suggestion comes first": (
        4,
        [card(0, 2 * GIB), card(1, 20 * GIB), cpu(64 * GIB)],
        Flags(devices=(0,), dtype="float32"),
        6 * GIB + ON_CARD,
        [("--devices 1", 8 * GIB + ON_CARD), ("--placement cpu", 8 * GIB + ON_CPU)],
    ),
}


@pytest.mark.parametrize(("size", "devices", "flags", "short", "fitting"), REFUSALS.values(), ids=REFUSALS)
def test_what_does_not_fit_is_refused_with_what_would(size, devices, flags, short, fitting):
    decision = assess(model(size), devices, flags)
    assert decision.fits is False
    assert decision.replicas == ()
    assert decision.shortfall_bytes == short
    assert [(s.flags, s.bytes) for s in decision.suggestions if s.fits] == fitting
    with pytest.raises(DoesNotFit) as caught:
        plan(model(size), devices, flags)
    assert all(words in str(caught.value) for words, _ in fitting)


def test_a_refusal_shows_its_arithmetic():
    shape = {"layers": 32, "kv_width": 4096, "context": 2048, "vocabulary": 2**18}
    with pytest.raises(DoesNotFit) as caught:
        plan(model(33, **shape), [card(0, 24 * GIB), card(1, 20 * GIB)])
    message = str(caught.value)
    for part in (
        "weights 33.0 GiB (17.7 billion parameters in bfloat16)",
        "KV cache 1.0 GiB",
        "activations 1.0 MiB",
        "reserve 0.8 GiB",
        "m needs 34.8 GiB on one device",
        "cuda:0 has 24.0 GiB free, cuda:1 has 20.0 GiB free",
        "10.8 GiB short",
        "Nothing on this machine would fit; it takes a device with 34.8 GiB free.",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (Flags(placement="magic"), "magic.*auto, single, cpu"),
        (Flags(placement="single"), r"no card.*--placement cpu"),
        (Flags(quantization="int7"), "int7.*none"),
        (Flags(dtype="float8"), "float8.*bfloat16"),
        (Flags(devices=(3,)), r"no such card \(3\). Cards here: none"),
        (Flags(max_memory={1: 5}), r"no such card \(1\)"),
        (Flags(offload=True), "--offload"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        plan(model(1), [cpu(64 * GIB)], flags)


def test_a_machine_without_any_device_is_refused():
    with pytest.raises(ConfigError, match="no CPU"):
        plan(model(1), [card(0, GIB)], Flags(placement="cpu"))


def test_a_model_whose_size_is_not_known_is_planned_without_sizes():
    decision = plan("owner/repo", [card(0, 8 * GIB), card(1, 9 * GIB), cpu(64 * GIB)])
    assert (decision.fits, decision.weights_bytes, decision.dtype) == (None, None, "auto")
    assert placed(decision) == "cuda:1"


def test_the_json_of_a_plan_has_the_fields_of_the_contract():
    fits = plan(model(4), [card(0, 8 * GIB)]).to_json()
    assert fits == {
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
        "replicas": [{"devices": {"cuda:0": 4 * GIB + ON_CARD}}],
        "shortfall_bytes": 0,
        "suggestions": [],
    }
    refused = assess(model(4), [card(0, GIB), cpu(64 * GIB)]).to_json()
    assert refused["suggestions"][0] == {"flags": "--placement cpu", "fits": True, "bytes": 8 * GIB + ON_CPU}
    assert refused.keys() == fits.keys()


def test_a_configuration_becomes_flags():
    config = EngineConfig(
        placement="single", devices=(1,), max_memory={1: 5}, dtype="float16", quantize="int8", offload=True
    )
    assert Flags.of(config) == Flags("single", (1,), {1: 5}, "float16", "int8", offload=True)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.0 MiB"), (80 * 2**20, "80.0 MiB"), (GIB // 2, "0.5 GiB"), (33 * GIB, "33.0 GiB")]
)
def test_sizes_for_people_have_a_fitting_unit(size, text):
    assert gib(size) == text


def test_the_next_model_gets_what_the_one_before_left():
    devices = [card(0, 8 * GIB), card(1, 6 * GIB), cpu(64 * GIB)]
    left = left_by(plan(model(4), devices), devices)
    assert [device.free_bytes for device in left] == [4 * GIB - ON_CARD, 6 * GIB, 64 * GIB]
    assert placed(plan(model(4), left)) == "cuda:1"


# --- what holds for every model and machine

SIZES = st.integers(0, 40 * GIB)
MODELS = st.builds(
    ModelFootprint,
    name=st.just("m"),
    floats=st.integers(0, 20 * GIB),
    stored_dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    other_bytes=st.integers(0, GIB),
    shape=st.builds(
        Shape,
        layers=st.integers(0, 64),
        kv_width=st.integers(0, 4096),
        context=st.integers(1, 8192),
        vocabulary=st.integers(0, 200_000),
        hidden=st.integers(0, 8192),
    ),
)
MACHINES = st.builds(
    lambda cards, memory: [*(card(i, free) for i, free in enumerate(cards)), cpu(memory)],
    st.lists(SIZES, max_size=4),
    SIZES,
)


@st.composite
def cases(draw):
    machine = draw(MACHINES)
    numbers = list(range(len(machine) - 1))
    placements = ["auto", "cpu", *(["single"] if numbers else [])]
    chosen = draw(st.none() | st.lists(st.sampled_from(numbers), min_size=1, unique=True)) if numbers else None
    budgets = draw(st.dictionaries(st.sampled_from(numbers), SIZES)) if numbers else {}
    flags = Flags(
        placement=draw(st.sampled_from(placements)),
        devices=None if chosen is None else tuple(chosen),
        max_memory=budgets,
        dtype=draw(st.sampled_from(["auto", "float32", "bfloat16"])),
        slots=draw(st.integers(1, 4)),
    )
    return draw(MODELS), machine, flags


@given(cases())
def test_no_plan_goes_over_what_is_free_or_allowed(case):
    footprint, machine, flags = case
    decision = assess(footprint, machine, flags)
    for replica in decision.replicas:
        for device in machine:
            allowed = min(device.free_bytes, flags.max_memory.get(device.index, device.free_bytes))
            assert replica.devices.get(device.id, 0) <= allowed


@given(cases())
def test_a_plan_is_all_its_parts_and_a_refusal_says_exactly_what_is_missing(case):
    decision = assess(*case)
    parts = decision.weights_bytes + decision.kv_cache_bytes + decision.activation_bytes + decision.reserve_bytes
    if decision.fits:
        (replica,) = decision.replicas
        assert list(replica.devices.values()) == [parts]
        assert decision.suggestions == ()
    else:
        assert decision.replicas == ()
        assert 0 < decision.shortfall_bytes <= parts


@given(cases())
def test_a_refusal_is_only_for_what_fits_no_allowed_device(case):
    footprint, machine, flags = case
    if assess(footprint, machine, flags).fits:
        return
    for device in machine:
        if device.kind == "cpu" and (flags.placement == "single" or (flags.placement == "auto" and len(machine) > 1)):
            continue
        if device.kind == "cuda" and (
            flags.placement == "cpu" or device.index not in (flags.devices or (device.index,))
        ):
            continue
        dtype = (
            flags.dtype if flags.dtype != "auto" else footprint.stored_dtype if device.kind == "cuda" else "bfloat16"
        )
        conversation = (
            footprint.kv_cache_bytes(dtype, slots=flags.slots) + footprint.activation_bytes(dtype) * flags.slots
        )
        need = footprint.weights_bytes(dtype) + conversation + RESERVE_BYTES[device.kind]
        assert need > min(device.free_bytes, flags.max_memory.get(device.index, device.free_bytes))


@given(cases(), st.data())
def test_more_memory_never_turns_a_plan_into_a_refusal(case, data):
    footprint, machine, flags = case
    if assess(footprint, machine, flags).fits:
        index = data.draw(st.integers(0, len(machine) - 1))
        old = machine[index]
        more = old.free_bytes + data.draw(SIZES)
        machine = [*machine[:index], Device(old.id, old.name, old.kind, more, more), *machine[index + 1 :]]
        assert assess(footprint, machine, flags).fits


@given(cases(), st.randoms())
def test_the_order_of_the_devices_does_not_matter(case, random):
    footprint, machine, flags = case
    shuffled = list(machine)
    random.shuffle(shuffled)
    assert assess(footprint, shuffled, flags) == assess(footprint, machine, flags)


@given(cases())
def test_a_suggestion_that_is_said_to_fit_does(case):
    footprint, machine, flags = case
    fitting = [s for s in assess(footprint, machine, flags).suggestions if s.fits]
    assert fitting == sorted(fitting, key=lambda s: ("cpu" in s.flags, s.bytes))
    for suggestion in fitting:
        changed = {
            "--dtype bfloat16": {"dtype": "bfloat16"},
            "without --max-memory": {"max_memory": {}},
            "--placement cpu": {"placement": "cpu"},
            "--placement single": {"placement": "single", "devices": None},
        }.get(suggestion.flags) or {"devices": (int(suggestion.flags.split()[1]),)}
        plain = {name: getattr(flags, name) for name in ("placement", "devices", "max_memory", "dtype", "slots")}
        assert assess(footprint, machine, Flags(**plain | changed)).fits
