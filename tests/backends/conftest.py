"""A tiny model of each family, loaded once a module."""

import pytest

from tests.backends.family_kit import MAKERS, loaded, saved


@pytest.fixture(scope="module", params=MAKERS, ids=str)
def tiny(request, tmp_path_factory):
    found = loaded(saved(request.param, tmp_path_factory.mktemp(request.param)))
    yield found
    found.backend.close()
