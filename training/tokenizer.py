"""The bundled model's tokenizer: byte-level BPE learnt on generated conversations, with one token per coordinate.

Owns the vocabulary's layout. Any text round-trips, since every byte is a token. The coordinates "000" to "999" have
contiguous ids from `FIRST_COORDINATE`, so that the trainer can aim at a neighbourhood of the right one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, BOS, EOS)
FIRST_COORDINATE = len(SPECIAL)
COORDINATES = tuple(f"{i:03d}" for i in range(1000))
# Brackets of boxes are one token each, with or without the space before them (which byte-level BPE writes as "Ġ").
BRACKETS = ("[[", "]]", "Ġ[[")
# A word with the space before it, three digits, one digit, a bracket pair, or any other single character.
_PIECES = r" ?\[\[|\]\]| ?\p{L}+|\d{3}|\d|\s|[^\s\p{L}\d]"


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _learn(corpus: Iterable[str], merges: int) -> tuple[dict[str, int], list[list[str]]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False, min_frequency=20
    )
    # Digits are left out: numbers are coordinates, which have tokens of their own.
    tokenizer.train_from_iterator(("".join(c for c in text if not c.isdigit()) for text in corpus), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [list(pair) for pair in model["merges"]]


def build(corpus: Iterable[str], *, merges: int) -> PreTrainedTokenizerFast:
    """Learn ``merges`` merges from ``corpus``; the same corpus gives the same tokenizer."""
    learnt, pairs = _learn(corpus, merges)
    words = [*SPECIAL, *COORDINATES, *BRACKETS]
    words += [word for word in sorted(learnt, key=learnt.__getitem__) if word not in set(words)]
    # ignore_merges: a piece that is in the vocabulary is that token, so coordinates need no merges.
    model = models.BPE(
        vocab={word: i for i, word in enumerate(words)}, merges=[(a, b) for a, b in pairs], ignore_merges=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def load(directory: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(directory)
