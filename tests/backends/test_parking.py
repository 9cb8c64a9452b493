"""Weights leave their place and come back the same, whoever holds them; on a CPU they stay."""

from __future__ import annotations

import gc

import pytest
import torch

from demo.backends import parking, tensors
from demo.backends.parking import Garage
from tests.models.kit import prompt, tiny_model


@torch.inference_mode()
def logits(model):
    return model(**prompt(model.config, [5, 6, 7])).logits


@pytest.mark.parametrize("tied", [False, True])
def test_what_was_parked_comes_back_to_the_bit_and_in_the_same_tensors(tied):
    model = tiny_model(tie_word_embeddings=tied)
    expected, weights = logits(model), list(model.parameters())
    garage = Garage(model, leaves="cpu")
    for _ in range(2):
        garage.park()
        assert all(weight.untyped_storage().nbytes() == 0 for weight in weights)
        garage.resume()
        assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))
        assert torch.equal(logits(model), expected)


def test_weights_are_copied_once_tied_ones_too():
    model = tiny_model(tie_word_embeddings=True)
    garage = Garage(model, leaves="cpu")
    assert not garage.has_copy
    garage.park()
    copied = sum(len(place.on_host) for place in garage._places)
    assert copied == sum(weight.numel() for weight in model.parameters()) * 4
    first = [place.on_host.data_ptr() for place in garage._places]
    garage.resume()
    garage.park()
    assert [place.on_host.data_ptr() for place in garage._places] == first


def test_parking_twice_or_resuming_what_is_here_changes_nothing():
    model = tiny_model()
    expected = logits(model)
    garage = Garage(model, leaves="cpu")
    garage.resume()
    garage.park()
    garage.park()
    garage.resume()
    garage.resume()
    assert torch.equal(logits(model), expected)


def test_on_a_cpu_nothing_moves_and_nothing_is_copied():
    model = tiny_model()
    before = tensors.resident(model)
    garage = Garage(model)
    garage.park()
    assert (garage.is_parked, garage.has_copy) == (True, False)
    assert tensors.resident(model) == before
    garage.resume()
    assert not garage.is_parked


class Cudart:
    """What of CUDA's runtime pins memory, for a machine without a card."""

    def __init__(self):
        self.pinned = set()
        self.sizes = []

    def cudaHostRegister(self, address, size, flags):  # noqa: N802 - the name is the library's
        self.pinned.add(address)
        self.sizes.append(size)
        return 0

    def cudaHostUnregister(self, address):  # noqa: N802
        self.pinned.remove(address)
        return 0


@pytest.mark.parametrize("is_inference", [False, True])  # a view holds on to its tensor in one, not in the other
def test_a_block_stays_pinned_as_long_as_any_view_of_it_and_no_longer(monkeypatch, is_inference):
    cudart = Cudart()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
    with torch.inference_mode(is_inference):
        block = parking._pinned(4096)
        view = block[512:1024]
    assert (cudart.pinned, cudart.sizes) == ({block.data_ptr()}, [4096])
    del block
    gc.collect()
    assert len(cudart.pinned) == 1
    assert view.untyped_storage().nbytes() == 4096
    del view
    gc.collect()
    assert cudart.pinned == set()


def test_what_a_garage_pins_is_unpinned_when_the_garage_goes(monkeypatch):
    cudart = Cudart()
    monkeypatch.setattr(parking, "_empty_caches", lambda: None)
    garage = Garage(tiny_model(), leaves="cpu")
    with monkeypatch.context() as with_card:
        with_card.setattr(torch.cuda, "is_available", lambda: True)
        with_card.setattr(torch.cuda, "cudart", lambda: cudart)
        garage.park()
    garage.resume()
    assert len(cudart.pinned) == 1  # the copy is kept for the next turn
    del garage
    gc.collect()
    assert cudart.pinned == set()
