"""The catalogue: names, directories and repositories become specs, and what cannot be used is refused clearly."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo import catalog
from demo.catalog import BUNDLED, CATALOG, VICUNA, resolve
from demo.config import ModelChoice
from demo.errors import BrokenCheckpoint, ConfigError, DemoError, ModelNotFound
from demo.families import FAMILIES, family_of
from demo.grounding import dialects
from demo.prompts import load_prompts, prompt_sets

FLAT_V1 = {"num_attention_heads": 32, "vision_config": {"image_size": 490}, "auto_map": {"AutoConfig": "x.Y"}}
FLAT_V2 = {**FLAT_V1, "num_multi_query_heads": 8}


def directory(tmp_path: Path, config: object, *files: str) -> Path:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for file in files:
        (folder / file).write_text("{}")
    return folder


@pytest.mark.parametrize("name", CATALOG)
def test_every_name_of_the_catalogue_resolves_to_its_own_spec(name):
    spec = resolve(ModelChoice(name))
    assert (spec.name, spec.source) == (name, CATALOG[name].source)
    assert load_prompts(spec.prompts).caption["short"]


def test_every_family_is_whole():
    for name, family in FAMILIES.items():
        assert family.name == name
        grounds = "grounding" in family.roles
        assert (family.dialect is not None) == grounds == bool(load_prompts(family.prompts).ground)
        assert family.dialect in (None, *dialects.names())
        assert family_of(family.types[0] if family.types else None) is family
    types = [model_type for family in FAMILIES.values() for model_type in family.types]
    assert len(types) == len(set(types))


def test_every_model_that_serves_grounding_has_a_dialect_and_a_way_to_ask():
    for spec in CATALOG.values():
        if "grounding" in spec.roles:
            assert spec.dialect
            assert "{phrase}" in load_prompts(spec.prompts).ground


def test_the_bundled_model_lies_beside_the_package_and_says_what_it_is(monkeypatch, tmp_path):
    (tmp_path / "nouns.json").write_text(json.dumps({"dog": "1f436", "cat": "1f431", "red car": "1f697"}))
    assert Path(catalog.__file__).parent.parent / "assets" / "bundled" == BUNDLED
    monkeypatch.setattr(catalog, "BUNDLED", tmp_path)
    note = resolve(ModelChoice("bundled")).note
    assert "knows 3 kinds of things; photos are not its world. Start with --model REPO" in note


def test_a_missing_list_of_nouns_leaves_the_note_readable(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "BUNDLED", tmp_path)
    assert "knows some kinds of things" in resolve(ModelChoice("bundled")).note


def test_the_fakes_options_come_from_its_query():
    spec = resolve(ModelChoice("fake?token_s=0.05&tokens=200"))
    assert spec.backend == spec.source == "fake"
    assert spec.options == (("token_s", "0.05"), ("tokens", "200"))
    assert resolve(ModelChoice("fake")).options == ()


@pytest.mark.parametrize(
    ("config", "files", "family", "dialect", "tokenizer"),
    [
        (FLAT_V1, (), "cogvlm", "cogvlm", VICUNA),
        (FLAT_V1, ("tokenizer.json",), "cogvlm", "cogvlm", None),
        (FLAT_V2, (), "cogvlm2", "cogvlm", None),
        ({**FLAT_V1, "model_type": ""}, (), "cogvlm", "cogvlm", VICUNA),  # as published, once saved again
        ({**FLAT_V2, "model_type": ""}, (), "cogvlm2", "cogvlm", None),
        ({**FLAT_V1, "cross_image_size": 1120}, (), "cogagent", "cogagent", VICUNA),
        ({**FLAT_V1, "cross_hidden_size": 1024}, ("tokenizer.model",), "cogagent", "cogagent", None),
        ({**FLAT_V1, "architectures": ["CogAgentForCausalLM"]}, (), "cogagent", "cogagent", VICUNA),
        ({**FLAT_V1, "model_type": "cogagent"}, (), "cogagent", "cogagent", VICUNA),
        ({**FLAT_V1, "architectures": ["CogVLMForCausalLM"]}, (), "cogvlm", "cogvlm", VICUNA),
        # of the same name, but another family's: its decoder is GLM's, and it is not in transformers
        ({"model_type": "chatglm", "vision_config": {}, "_name_or_path": "cogagent-9b"}, (), "generic", None, None),
        ({"text_config": {}, "vision_config": {}}, (), "generic", None, None),  # CogVLM's own is flat
        ({**FLAT_V1, "model_type": "cogvlm"}, ("tokenizer.json",), "cogvlm", "cogvlm", None),
        ({**FLAT_V2, "model_type": "cogvlm"}, (), "cogvlm2", "cogvlm", None),
        ({"model_type": "llava", "vision_config": {}}, (), "llava", None, None),
        ({"model_type": "qwen2_5_vl", "vision_config": {}}, (), "qwen2_5_vl", "qwen2_5_vl", None),
        ({"model_type": "qwen3_vl_moe", "vision_config": {}}, (), "qwen3_vl", "qwen3_vl", None),
        ({"model_type": "of-tomorrow", "vision_config": {}}, (), "generic", None, None),
        ({"model_type": "fuyu"}, (), "generic", None, None),
        ({"model_type": "molmo2", "vit_config": {}}, (), "molmo2", "molmo", None),  # as published
    ],
)
def test_a_directorys_family_is_read_from_its_config(tmp_path, config, files, family, dialect, tokenizer):
    folder = directory(tmp_path, config, *files)
    spec = resolve(ModelChoice(str(folder)))
    assert (spec.family, spec.dialect, spec.tokenizer) == (family, dialect, tokenizer)
    assert (spec.name, spec.source, spec.is_directory) == ("my-model", str(folder), True)
    assert ("grounding" in spec.roles) == (dialect is not None)


def test_a_text_only_model_is_refused_with_its_type(tmp_path):
    with pytest.raises(ConfigError, match=r"reads no pictures.*my-model, model_type llama"):
        resolve(ModelChoice(str(directory(tmp_path, {"model_type": "llama", "hidden_size": 8}))))


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "\x00"])
def test_an_unreadable_config_is_called_broken(tmp_path, text):
    with pytest.raises(BrokenCheckpoint, match=r"config\.json cannot be read"):
        resolve(ModelChoice(str(directory(tmp_path, text))))


def test_a_directory_without_config_is_named_by_its_last_part_only(tmp_path):
    with pytest.raises(ModelNotFound) as raised:
        resolve(ModelChoice(str(tmp_path)))
    assert tmp_path.name in str(raised.value)
    assert str(tmp_path.parent) not in str(raised.value)


def test_an_unknown_repository_is_left_for_the_worker_to_recognise():
    spec = resolve(ModelChoice("some-org/Some.Model-7b"), revision="abc")
    assert (spec.family, spec.source, spec.revision) == ("auto", "some-org/Some.Model-7b", "abc")
    assert spec.roles == ("chat", "captioning")


def test_a_catalogued_repository_is_recognised_by_its_address():
    assert resolve(ModelChoice("zai-org/cogvlm2-llama3-chat-19B")).name == "cogvlm2"
    assert resolve(ModelChoice("zai-org/cogagent-chat-hf")).name == "cogagent-chat"
    assert resolve(ModelChoice("zai-org/cogagent-vqa-hf")).roles == ("chat", "captioning")


def test_a_directory_wins_over_a_repository_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(FLAT_V2))
    assert resolve(ModelChoice("org/model")).source == str(folder)


@pytest.mark.parametrize("name", ["", "nonsense", "cogvlm3", "BUNDLED"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(
        ConfigError, match="bundled, cogvlm, cogvlm-grounding, cogvlm2, cogagent-chat, cogagent-vqa, fake"
    ):
        resolve(ModelChoice(name))


@pytest.mark.parametrize("name", ["./not-there", "/not/there", "a/b/c", "~/not-there-at-all", "../x"])
def test_a_path_that_is_not_there_is_not_taken_for_a_repository(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFound, match="no such directory"):
        resolve(ModelChoice(name))


def test_a_role_the_model_does_not_serve_is_refused():
    with pytest.raises(ConfigError, match=r"role grounding.*cogvlm2.*It serves: chat, captioning"):
        resolve(ModelChoice("cogvlm2", "grounding"))
    assert "grounding" in resolve(ModelChoice("cogvlm-grounding", "grounding")).roles


def test_the_tokenizer_can_be_overridden(tmp_path):
    assert resolve(ModelChoice("cogvlm")).tokenizer == resolve(ModelChoice("cogagent-chat")).tokenizer == VICUNA
    assert resolve(ModelChoice("cogvlm?tokenizer=my-org/tok")).tokenizer == "my-org/tok"
    assert resolve(ModelChoice(f"cogvlm?tokenizer={tmp_path}")).tokenizer == str(tmp_path)


@pytest.mark.parametrize("name", ["cogvlm?tokenizer=", "cogvlm?colour=red", "cogvlm?nonsense", "org/model?a=b"])
def test_an_option_the_model_does_not_have_is_refused(name):
    with pytest.raises(ConfigError, match="option"):
        resolve(ModelChoice(name))


def test_the_revision_pins_repositories_only(tmp_path):
    folder = directory(tmp_path, FLAT_V2)
    assert resolve(ModelChoice("cogvlm2"), revision="main").revision == "main"
    assert resolve(ModelChoice(str(folder)), revision="main").revision is None
    assert resolve(ModelChoice("fake"), revision="main", trust_remote_code=True).trust_remote_code is False


@given(st.text(max_size=60))
@example("~nobody-of-this-name")
@example("x" * 5000)
@example("a\x00b")
@example("/x?tokenizer=" + "y" * 5000)
def test_a_name_nobody_chose_is_refused_by_our_own_error(text):
    with pytest.raises(DemoError):
        resolve(ModelChoice("\N{SNOWMAN}" + text))
    with contextlib.suppress(DemoError):  # anything else that escapes fails the test
        resolve(ModelChoice(text))


def test_the_catalogue_names_only_prompt_sets_that_exist():
    assert {spec.prompts for spec in CATALOG.values()} | {"generic"} <= set(prompt_sets())


def test_the_catalogue_imports_no_framework():
    import subprocess

    code = "import sys, demo.catalog, demo.prompts; sys.exit(any(m in sys.modules for m in ('torch','transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
