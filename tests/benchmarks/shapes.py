"""Shapes small enough to be written and run in a test, in the form in which models are published."""

import json
from pathlib import Path

from tests import tinymodels

FIXTURES = Path(__file__).parents[1] / "fixtures" / "cogvlm"


def cogvlm(folder: Path) -> Path:
    """A CogVLM whose configuration states no type; 18 tokens a picture, and a context of 128."""
    changes = {"vocab_size": 300, "torch_dtype": "float32"}
    config = json.loads((FIXTURES / "cogvlm_config.json").read_text())
    del config["model_type"]
    return shape(folder / "tiny-cogvlm", {**config, **changes})


def cogagent(folder: Path) -> Path:
    """A CogAgent in the same form and of the same context."""
    changes = {"vocab_size": 300, "torch_dtype": "float32", "max_position_embeddings": 128}
    config = json.loads((FIXTURES / "cogagent_config.json").read_text())
    del config["model_type"]
    return shape(folder / "tiny-cogagent", {**config, **changes})


def llava(folder: Path) -> Path:
    return shape(folder / "tiny-llava", tinymodels.llava_config(dtype="bfloat16", image_seq_length=4).to_dict())


def shape(directory: Path, config: dict) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory
