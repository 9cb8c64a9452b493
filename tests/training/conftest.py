"""A small world for the training tests: drawn shapes in place of emoji, and a tokenizer learnt on them."""

import pytest

from training import sets, tokenizer
from training.bank import Bank, Photos
from training.data import corpus


@pytest.fixture(scope="session")
def bank():
    return Bank.synthetic()


@pytest.fixture(scope="session")
def config(bank):
    return sets.training(bank, Photos.synthetic())


@pytest.fixture(scope="session")
def words(bank, config):
    return tokenizer.build(corpus(bank, config, scenes=60, seed=9), merges=300)
