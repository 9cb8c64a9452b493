"""From a picture file to boxes in its pixels, through a worker process, for models of several families.

The models are tiny and random, but may say one thing only: an answer of their family, as one token.
"""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from tokenizers import AddedToken
from transformers import AutoTokenizer

from demo.config import EngineConfig, ModelChoice
from demo.engine.manager import ModelManager
from demo.ui.context import make_context
from demo.ui.handlers import looking
from demo.ui.language import load_languages
from demo.ui.reading import readable
from tests import tinyfamilies
from tests.tinymodels import save_cogagent, save_qwen

SAY = load_languages().english
ROOT = Path(__file__).resolve().parents[1]
WIDE = (1600, 100)  # Qwen2.5-VL is shown 1568 x 112 of it, in whose pixels it answers
ANSWERS = {
    "qwen2_5_vl": (save_qwen, '[{"bbox_2d": [784, 56, 1568, 112], "label": "a dog"}]'),
    "cogagent": (save_cogagent, "[button] a dog -> CLICK at the box [[500,500,999,999]]"),
    "florence2": (tinyfamilies.save_florence2, "a dog<loc_500><loc_500><loc_999><loc_999>"),
    "kosmos2": (
        tinyfamilies.save_kosmos2,
        "<phrase> a dog</phrase><object><patch_index_0528><patch_index_1023></object>",
    ),
}


def teach(directory: Path, answer: str) -> Path:
    """Have the model say nothing but this, as often as it may."""
    words = AutoTokenizer.from_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    size = config.get("text_config", config)["vocab_size"]
    words.add_tokens([AddedToken(answer, special=False, normalized=False)])
    said = words.convert_tokens_to_ids(answer)
    assert said < size
    words.save_pretrained(directory)
    path = directory / "generation_config.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    settings["suppress_tokens"] = [token for token in range(size) if token != said]
    path.write_text(json.dumps(settings))
    return directory


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Directories of models, each made once."""
    made = {}

    def taught(family):
        make, answer = ANSWERS[family]
        if family not in made:
            made[family] = teach(make(tmp_path_factory.mktemp(family) / "model"), answer)
        return str(made[family])

    return taught


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "uploads" / "wide.png"
    path.parent.mkdir()
    Image.new("RGB", WIDE, "#c0ffee").save(path)
    return path


def nearly(box, quantum) -> bool:
    return all(abs(got - wanted) <= quantum for got, wanted in zip(box, (800, 50, 1600, 100), strict=True))


def test_the_terminal_prints_boxes_in_the_files_pixels(taught, picture):
    model = taught("qwen2_5_vl")
    command = [sys.executable, "launch.py", "ground", str(picture), "the dog", "--json", "--model", model]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)["regions"]
    assert found[0]["label"] == "a dog"
    assert nearly(found[0]["box"], 1)


@pytest.mark.parametrize(("family", "quantum"), [("qwen2_5_vl", 1), ("florence2", 2), ("kosmos2", 1600 / 32)])
def test_the_page_draws_them_and_shows_no_syntax(taught, picture, family, quantum):
    config = EngineConfig(models=(ModelChoice(taught(family)),))
    with ModelManager(config) as manager:
        manager.start()
        context = make_context(manager, look=lambda: None, folder=picture.parent)
        # temperature, top_p, top_k, the most new tokens, repetition_penalty, seed
        with closing(looking.ground(context, str(picture), "the dog", (0, 1, 0, 3, 1, None))) as steps:
            answers = [step for step in steps if step.text]
    assert answers[-1].state == "done"
    assert answers[-1].drawn is not None
    assert len(answers[-1].regions) == 3
    box = answers[-1].regions[0].box
    assert nearly((box.x0, box.y0, box.x1, box.y1), quantum)
    for answer in answers:
        pieces = readable(SAY, answer.text, answer.regions, answer.dialect, is_growing=answer.state == "answering")
        assert not set("<>|[{_0123456789") & set("".join(piece for piece, _ in pieces))
        assert {region.label for region in answer.regions} == {"a dog"}


def test_an_agents_action_is_drawn_and_stays_to_be_read(taught, picture):
    with ModelManager(EngineConfig(models=(ModelChoice(taught("cogagent")),))) as manager:
        manager.start()
        context = make_context(manager, look=lambda: None, folder=picture.parent)
        with closing(looking.ground(context, str(picture), "the dog", (0, 1, 0, 1, 1, None))) as steps:
            answer = [step for step in steps if step.text][-1]
    (region,) = answer.regions
    assert region.label == "a dog"
    assert nearly((region.box.x0, region.box.y0, region.box.x1, region.box.y1), 2)
    pieces = readable(SAY, answer.text, answer.regions, answer.dialect)
    assert [words for words, label in pieces if label] == ["a dog"]
    assert "".join(words for words, _ in pieces) == "[button] a dog -> CLICK at the box"
