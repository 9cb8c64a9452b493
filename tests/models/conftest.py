import pytest
import torch

from tests.models import kit


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the reference numbers were made, and kind to neighbours
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=kit.NAMES)
def name(request):
    return request.param


@pytest.fixture
def published(name, tmp_path):
    return kit.publish(name, tmp_path / name)
