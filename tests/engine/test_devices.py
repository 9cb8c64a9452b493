"""Sizes as people write them, and what the machine has."""

# ruff: noqa: N802 - the stand-in has the names of the library

import contextlib
import sys
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.engine import devices
from demo.engine.devices import GIB, cpu_threads, detect, parse_assumed, parse_bytes
from demo.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GiB", 20 * GIB),
        (" 1.5 GiB ", 3 * GIB // 2),
        ("20gb", 20 * 10**9),
        ("24g", 24 * GIB),
        ("500MB", 500 * 10**6),
        ("512mib", 2**29),
        ("0", 0),
        ("12345", 12345),
    ],
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "1e9", "20 gigs", "nan", "inf", "1,5GiB", "²GiB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="not a size"):
        parse_bytes(text)


@given(st.text())
def test_any_text_is_a_size_or_a_clear_refusal(text):
    with contextlib.suppress(ConfigError):
        assert parse_bytes(text) >= 0


@given(st.integers(0, 2**60))
@example(2**53 + 1)
def test_a_plain_number_is_bytes(size):
    assert parse_bytes(str(size)) == size


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("24GiB", [24]),
        ("2x24GiB", [24, 24]),
        ("2x24GiB,80GiB", [24, 24, 80]),
        (" 1 x 8gib , 2X16GiB", [8, 16, 16]),
    ],
)
def test_assumed_cards_are_numbered_and_empty(text, sizes):
    cards = parse_assumed(text)
    assert [card.total_bytes for card in cards] == [card.free_bytes for card in cards] == [s * GIB for s in sizes]
    assert [card.id for card in cards] == [f"cuda:{index}" for index in range(len(sizes))]


@pytest.mark.parametrize("text", ["", "0x24GiB", "x24GiB", "2x", "ax24GiB", "2x24GiB,", "9999x1GiB", "-1x24GiB"])
def test_what_is_no_card_is_refused(text):
    with pytest.raises(ConfigError):
        parse_assumed(text)


def test_this_machine_has_a_cpu_with_memory():
    cpu = detect()[-1]
    assert cpu.id == "cpu"
    assert 0 < cpu.free_bytes <= cpu.total_bytes
    assert cpu_threads() >= 1


def cgroup(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "1000000", "memory.current": "700000", "memory.stat": "anon 1\ninactive_file 200000\n"},
        {
            "memory/memory.limit_in_bytes": "1000000",
            "memory/memory.usage_in_bytes": "700000",
            "memory/memory.stat": "total_inactive_file 200000\n",
        },
    ],
    ids=["v2", "v1"],
)
def test_a_containers_limit_is_respected_and_its_page_cache_counts_as_free(files, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CGROUP", cgroup(tmp_path, files))  # the system's own files cannot be set
    cpu = detect()[-1]
    assert (cpu.total_bytes, cpu.free_bytes) == (1_000_000, 500_000)


def test_a_container_without_a_limit_has_the_machines_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    free = detect()[-1].total_bytes
    cgroup(tmp_path, {"memory.max": "max\n", "memory.current": "1", "memory.stat": ""})
    assert detect()[-1].total_bytes == free


@pytest.mark.parametrize(("quota", "threads"), [("100000 100000", 1), ("1000 100000", 1), ("max 100000", None)])
def test_a_containers_share_of_the_cores_is_respected(quota, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CGROUP", cgroup(tmp_path, {}))
    unlimited = cpu_threads()
    cgroup(tmp_path, {"cpu.max": quota})
    assert cpu_threads() == (threads or unlimited)


class FakeNvml:
    """What nvidia-ml-py offers, for a machine with these cards; a stand-in for a library that needs the hardware."""

    class NVMLError(Exception):
        pass

    def __init__(self, *uuids, has_driver=True):
        self._uuids = uuids
        self._has_driver = has_driver

    def nvmlInit(self):
        if not self._has_driver:
            raise self.NVMLError

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self._uuids)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return self._uuids[handle].encode()  # older versions answer in bytes

    def nvmlDeviceGetName(self, handle):
        return f"card {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=100 * (handle + 1), free=10 * (handle + 1))

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if handle == 2:
            raise self.NVMLError  # as some shared cards do
        entries = [(7, 40), (8, None), (9, 0), (7, 2)]  # the driver does not know every process's bytes
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in entries if handle == 0]


def cards(monkeypatch, nvml, **environ):
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return [device for device in detect(environ) if device.kind == "cuda"]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["card 0", "card 1", "card 2"]),
        ("2,0", ["card 2", "card 0"]),
        ("GPU-bb", ["card 1"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["card 0"]),  # CUDA stops at the first that is not there
        ("GPU-", []),  # names more than one
    ],
)
def test_the_visible_cards_are_numbered_as_torch_numbers_them(visible, names, monkeypatch):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = cards(monkeypatch, FakeNvml("GPU-aa", "GPU-bb", "GPU-cc"), **environ)
    assert [card.name for card in found] == names
    assert [card.id for card in found] == [f"cuda:{index}" for index in range(len(names))]
    assert [card.index for card in found] == list(range(len(names)))


def test_a_cards_memory_is_read(monkeypatch):
    (card,) = cards(monkeypatch, FakeNvml("GPU-aa"))
    assert (card.total_bytes, card.free_bytes) == (100, 10)


def test_the_bytes_of_each_process_are_read_where_the_driver_tells_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("GPU-aa", "GPU-bb", "GPU-cc"))
    with contextlib.closing(devices.DeviceReader({"CUDA_VISIBLE_DEVICES": "1,0,2"})) as reader:
        assert reader.processes() == {"cuda:0": {}, "cuda:1": {7: 42}}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with contextlib.closing(devices.DeviceReader({})) as reader:
        assert reader.processes() == {}


def test_a_machine_without_a_driver_has_no_cards(monkeypatch):
    assert cards(monkeypatch, FakeNvml("GPU-aa", has_driver=False)) == []


def test_a_machine_without_the_library_has_no_cards(monkeypatch):
    assert cards(monkeypatch, None) == []  # None in sys.modules makes the import fail
