"""Checks of a checkpoint's files by their headers, without reading weights."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from demo.backends.checkpoint import INDEX, check_weights, weight_files
from demo.errors import BrokenCheckpoint, DemoError, UnsafeWeights

WEIGHTS = {"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16), "c": torch.tensor(1.0)}


def index(folder, **shards: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": shards}))


def test_the_number_of_weights_is_read_from_the_headers(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert check_weights(tmp_path) == 15 + 7 + 1


def test_the_index_says_which_files_count(tmp_path):
    for name in ("one", "two", "stray"):
        save_file({name: torch.zeros(4)}, tmp_path / f"{name}.safetensors")
    index(tmp_path, a="one.safetensors", b="two.safetensors", c="two.safetensors")
    assert [path.name for path in weight_files(tmp_path)] == ["one.safetensors", "two.safetensors"]
    assert check_weights(tmp_path) == 8


def test_a_missing_shard_is_named(tmp_path):
    save_file(WEIGHTS, tmp_path / "one.safetensors")
    index(tmp_path, a="one.safetensors", b="model-00002-of-00002.safetensors")
    with pytest.raises(BrokenCheckpoint, match=r"is missing \(model-00002-of-00002\.safetensors\)"):
        check_weights(tmp_path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BrokenCheckpoint, match=r"is empty \(model\.safetensors\)"):
        check_weights(tmp_path)


@given(st.data())
def test_a_file_cut_anywhere_or_continued_is_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    whole = save(WEIGHTS)
    length = data.draw(st.integers(0, len(whole) - 1))
    tail = data.draw(st.binary(min_size=1, max_size=9))
    for content in (whole[:length], whole + tail):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(BrokenCheckpoint, match=r"model\.safetensors"):
            check_weights(folder)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: struct.pack("<Q", len(b)) + b)))
def test_any_bytes_are_refused_by_our_own_error(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(DemoError):
        check_weights(folder)


@pytest.mark.parametrize("header", [[], {"a": 1}, {"a": {"shape": [1]}}, {"a": {"shape": 1, "data_offsets": [0, 4]}}])
def test_a_header_of_another_shape_is_called_damaged(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(BrokenCheckpoint, match="damaged"):
        check_weights(tmp_path)


def test_a_git_lfs_pointer_is_told_apart(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(BrokenCheckpoint, match="git lfs pull"):
        check_weights(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pth"])
def test_pickled_weights_alone_are_unsafe(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeWeights, match=name):
        check_weights(tmp_path)


def test_pickled_weights_beside_safetensors_are_left_alone(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert check_weights(tmp_path) == 23


def test_no_weights_at_all_is_broken_and_shows_no_path(tmp_path):
    with pytest.raises(BrokenCheckpoint, match="no weights") as raised:
        check_weights(tmp_path)
    assert str(tmp_path.parent) not in str(raised.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../../secret"}}'])
def test_an_index_that_cannot_be_followed_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(BrokenCheckpoint, match=r"model\.safetensors\.index\.json"):
        check_weights(tmp_path)
