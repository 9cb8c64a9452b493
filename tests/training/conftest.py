"""A small world for the training tests: drawn shapes in place of emoji, and a tokenizer learnt on them."""

from collections.abc import Iterator

import pytest
import torch

from training import sets, tokenizer
from training.bank import Bank, Photos
from training.data import corpus


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Thousands of small operations: on a busy machine threads would mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def bank():
    return Bank.synthetic()


@pytest.fixture(scope="session")
def config(bank):
    return sets.training(bank, Photos.synthetic())


@pytest.fixture(scope="session")
def words(bank, config):
    return tokenizer.build(corpus(bank, config, scenes=60, seed=9), merges=300)
