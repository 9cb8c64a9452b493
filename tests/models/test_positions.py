import torch
from hypothesis import given
from hypothesis import strategies as st

from demo.models.cogvlm.positions import picture_positions, takes_vision_expert


@st.composite
def rows(draw):
    """Padding, text before, perhaps a picture of at least one patch, text after: types and mask of one row."""
    pads, before = draw(st.integers(0, 4)), draw(st.integers(1, 3))
    picture = draw(st.one_of(st.just(0), st.integers(3, 9)))
    after = draw(st.integers(1, 6))
    types = [0] * (pads + before) + [1] * picture + [0] * after
    return types, [0] * pads + [1] * (before + picture + after)


def told_plainly(types, mask):
    """The two rules, read off one row with a finger."""
    positions, experts, position = [], [], 0
    first, last = (types.index(1), len(types) - 1 - types[::-1].index(1)) if 1 in types else (None, None)
    for index, (kind, real) in enumerate(zip(types, mask, strict=True)):
        inner_patch = kind and index not in (first, first + 1, last)
        if index and real and not inner_patch:
            position += 1
        positions.append(position)
        experts.append(bool(kind) and index != last)
    return positions, experts


@given(rows())
def test_the_rules_hold_for_any_row(row):
    types, mask = row
    positions, experts = told_plainly(types, mask)
    tensor = torch.tensor([types])
    assert picture_positions(tensor, torch.tensor([mask]))[0].tolist() == positions
    assert takes_vision_expert(tensor)[0].tolist() == experts


@given(rows())
def test_padding_moves_all_positions_alike(row):
    types, mask = row
    pads = mask.count(0)
    alone = picture_positions(torch.tensor([types[pads:]]))[0]
    padded = picture_positions(torch.tensor([types]), torch.tensor([mask]))[0, pads:]
    assert len(set((padded - alone).tolist())) == 1


def test_the_last_token_never_takes_the_vision_expert():
    assert takes_vision_expert(torch.tensor([[0, 1, 1, 1]])).tolist() == [[False, True, True, False]]
