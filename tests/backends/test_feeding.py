"""Weights copied from the replica that has them: the same model, in memory of its own, or the files once more."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from demo.backends import feeding
from demo.backends.hf import HFBackend
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Message, Placement
from tests.backends.family_kit import CPU, MAKERS, Tiny, picture, saved, skipped_where_a_library_is_missing
from tests.tinymodels import save_cogvlm, save_qwen

QUESTION = Message("user", "What?", (picture(),))


class HereWire:
    """Reaches the memory of its own process; counts what was opened, and may damage it."""

    kind = "cpu"

    def __init__(self):
        self.shared = []
        self.opened = 0
        self.is_noisy = self.is_closed = False

    def share(self, store):
        if self.is_closed:
            raise RuntimeError("no handles here")
        self.shared.append(store)
        return len(self.shared) - 1

    def open(self, handle, device):
        self.opened += 1
        store = self.shared[handle]
        if self.is_noisy:
            store = store.clone()
            store[0] = store[0] ^ 1
        return store


class Told:
    """A feed that remembers what was offered, and gives it to whoever waits."""

    def __init__(self, offered=None):
        self.offered = offered
        self.waits = self.offers = 0

    def offer(self, weights):
        self.offers += 1
        self.offered = weights

    def wait(self):
        self.waits += 1
        return self.offered


def load(spec, wire, feed, placement=CPU):
    backend = HFBackend(wire)
    backend.facts = backend.load(spec, placement, lambda *_: None, feed)
    return Tiny(spec, backend)


def named(model):
    both = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    return {name: tensor for tensors in both for name, tensor in tensors}


def shared_names(model):
    """The groups of names that are one tensor."""
    groups = {}
    for name, tensor in named(model).items():
        groups.setdefault(id(tensor), []).append(name)
    return sorted(groups.values())


def config_of(tiny):
    found = tiny.backend._model.config.to_dict()
    return {key: value for key, value in found.items() if key != "_name_or_path"}


@pytest.fixture(name="quiet")
def _quiet(caplog):
    caplog.set_level(logging.INFO, "demo.backends.feeding")
    return caplog


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "demo.backends.feeding"]


@pytest.mark.parametrize("name", ["cogvlm", *MAKERS])
def test_a_copied_model_is_the_one_that_was_read(name, tmp_path, quiet):
    spec = resolve(ModelChoice(str(save_cogvlm(tmp_path)))) if name == "cogvlm" else saved(name, tmp_path)
    wire = HereWire()
    with skipped_where_a_library_is_missing():
        read = load(spec, wire, feed := Told())
    copied = load(spec, wire, feed)
    assert not said(quiet)
    assert wire.opened
    assert (feed.waits, feed.offers) == (2, 1)
    mine, theirs = named(copied.backend._model), named(read.backend._model)
    assert list(mine) == list(theirs)
    for key, tensor in mine.items():
        assert tensor.dtype == theirs[key].dtype
        assert torch.equal(tensor, theirs[key]), key
        assert tensor.requires_grad == theirs[key].requires_grad
        assert not tensor.numel() or tensor.data_ptr() != theirs[key].data_ptr()
    assert shared_names(copied.backend._model) == shared_names(read.backend._model)
    assert copied.backend.facts.resident_bytes == read.backend.facts.resident_bytes
    assert copied.backend._settings.to_dict() == read.backend._settings.to_dict()
    assert config_of(copied) == config_of(read)
    assert copied.ask(QUESTION)[0] == read.ask(QUESTION)[0]
    assert {"waiting", "weights"} < copied.backend.facts.spans_s.keys()
    read.backend.close()
    copied.backend.close()


@pytest.fixture(name="spec")
def _spec(tmp_path):
    return resolve(ModelChoice(str(save_cogvlm(tmp_path))))


def test_the_first_offers_as_soon_as_it_has_the_weights(spec, quiet):
    feed = Told()
    first = load(spec, HereWire(), feed)
    assert (feed.waits, feed.offers) == (1, 1)
    assert feed.offered
    assert not said(quiet)
    first.backend.close()


def test_a_copy_that_is_not_the_same_is_thrown_away(spec, quiet):
    wire = HereWire()
    first = load(spec, wire, feed := Told())
    wire.is_noisy = True
    second = load(spec, wire, feed)
    assert "could not be copied" in quiet.text
    assert "adds up to" in quiet.text
    assert second.ask(QUESTION)[0] == first.ask(QUESTION)[0]
    first.backend.close()
    second.backend.close()


def test_weights_of_another_model_are_not_taken(spec, quiet, tmp_path):
    wire = HereWire()
    other = load(resolve(ModelChoice(str(save_qwen(tmp_path / "other")))), wire, feed := Told())
    first = load(spec, wire, feed)
    assert "could not be copied" in quiet.text
    assert first.ask(QUESTION)[1].usage.completion_tokens
    first.backend.close()
    other.backend.close()


def test_weights_that_lack_some_are_not_taken(spec, quiet):
    wire = HereWire()
    first = load(spec, wire, feed := Told())
    whole = pickle.loads(feed.offered)
    second = load(spec, wire, Told(pickle.dumps(replace(whole, pieces=whole.pieces[:-1]))))
    assert f"nobody offered {whole.pieces[-1].name}" in quiet.text
    assert second.ask(QUESTION)[0] == first.ask(QUESTION)[0]
    first.backend.close()
    second.backend.close()


def test_where_memory_cannot_be_reached_the_others_are_told_at_once(spec, quiet):
    wire, feed = HereWire(), Told()
    wire.is_closed = True
    first = load(spec, wire, feed)
    assert (feed.offers, feed.offered) == (1, None)
    assert "no handles here" in quiet.text
    first.backend.close()


@pytest.mark.parametrize(
    ("placement", "may"),
    [
        (Placement({"": "cuda:0"}), True),
        (Placement({"a": "cuda:0", "b": "cuda:1"}), True),
        (Placement({"": "cpu"}), False),
        (Placement({"a": "cuda:0", "b": "cpu"}, offload=True), False),
        (Placement({"": "cuda:0"}, quantization="int8"), False),
        (Placement({"": "cuda:0"}, takes_turns=True), False),
    ],
)
def test_what_may_be_copied_from_card_to_card(spec, placement, may):
    assert feeding.may_be_handed_on(spec, Path(spec.source), placement, feeding.CARD_WIRE) is may
    trusted = replace(spec, trust_remote_code=True)
    assert feeding.may_be_handed_on(trusted, Path(spec.source), placement, feeding.CARD_WIRE) is False
