"""A tiny model of each family, loaded once a module; and what a test changes for the whole process, put back."""

import pytest
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.backends.family_kit import MAKERS, loaded, saved


@pytest.fixture(scope="module", params=MAKERS, ids=str)
def tiny(request, tmp_path_factory):
    found = loaded(saved(request.param, tmp_path_factory.mktemp(request.param)))
    yield found
    found.backend.close()


@pytest.fixture
def attention_as_before():
    """What all models of the process attend by is put back."""
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    yield
    ALL_ATTENTION_FUNCTIONS.register("sdpa", before)
