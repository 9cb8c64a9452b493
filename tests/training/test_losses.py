"""The losses: plain cross entropy for words, a bell over the neighbours for coordinates, patches against the scene."""

import pytest
import torch
import torch.nn.functional as F

from training.losses import dense_loss, picked, text_loss
from training.packing import IGNORED
from training.tokenizer import COORDINATES, FIRST_COORDINATE

VOCABULARY = 1100
LAST_COORDINATE = FIRST_COORDINATE + len(COORDINATES) - 1
SIDE = 4  # patches along a picture's side


def loss_of_guess(guess, label, sharpness=20.0):
    """The loss where the model is sure of ``guess``; the head is the identity, so logits are the hidden states."""
    logits = torch.zeros(1, VOCABULARY)
    logits[0, guess] = sharpness
    return text_loss(torch.eye(VOCABULARY), logits, torch.tensor([label])).item()


def bell(label, sigma=4.0, reach=10):
    """The coordinate target written plainly, token by token."""
    weight = torch.zeros(VOCABULARY)
    for token in range(max(FIRST_COORDINATE, label - reach), min(LAST_COORDINATE, label + reach) + 1):
        weight[token] = torch.exp(torch.tensor(-0.5 * ((token - label) / sigma) ** 2))
    return weight / weight.sum()


def test_words_cost_their_plain_cross_entropy():
    torch.manual_seed(0)
    head, hidden = torch.randn(VOCABULARY, 16), torch.randn(9, 16)
    words = torch.tensor([0, 1, 2, LAST_COORDINATE + 1, VOCABULARY - 1, IGNORED, 1050, IGNORED, 1])
    expected = F.cross_entropy(hidden @ head.T, words, ignore_index=IGNORED)
    torch.testing.assert_close(text_loss(head, hidden, words), expected)


@pytest.mark.parametrize("value", [0, 3, 500, 995, 999])
def test_a_coordinate_costs_the_cross_entropy_with_a_bell_over_its_neighbours(value):
    torch.manual_seed(value)
    logits, label = torch.randn(1, VOCABULARY), FIRST_COORDINATE + value
    expected = -(bell(label) * logits.log_softmax(-1)).sum()
    torch.testing.assert_close(text_loss(torch.eye(VOCABULARY), logits, torch.tensor([label])), expected)


@pytest.mark.parametrize("value", [0, 400, 999])
def test_a_coordinate_costs_least_where_it_is_right_and_more_the_further_off(value):
    label, away = FIRST_COORDINATE + value, -1 if value == 999 else 1
    losses = [loss_of_guess(label + away * miss, label) for miss in range(12)]
    assert losses[:11] == sorted(losses[:11])
    assert losses[1] > losses[0]
    assert losses[10] > losses[9]
    assert losses[11] == pytest.approx(loss_of_guess(label + away * 300, label))  # beyond reach all misses are alike
    assert losses[11] > losses[10]


def test_a_word_beside_the_coordinates_never_shares_in_their_bell():
    first, beside = FIRST_COORDINATE, FIRST_COORDINATE - 1
    assert loss_of_guess(beside, first) == pytest.approx(loss_of_guess(VOCABULARY - 1, first))
    assert loss_of_guess(first, beside) == pytest.approx(loss_of_guess(VOCABULARY - 1, beside))


def test_a_row_without_any_label_costs_nothing():
    labels = torch.full((3,), IGNORED)
    assert text_loss(torch.eye(VOCABULARY), torch.randn(3, VOCABULARY), labels).item() == 0


def test_the_first_labelled_positions_are_picked_in_their_order():
    labels = torch.tensor([[IGNORED, 7, IGNORED, 8, 9], [5, IGNORED, IGNORED, IGNORED, 6]])
    hidden = torch.arange(10.0).view(2, 5, 1).expand(-1, -1, 3)
    chosen, kept = picked(hidden, labels, 2)
    assert kept.tolist() == [[7, 8], [5, 6]]
    assert chosen[..., 0].tolist() == [[1, 3], [5, 9]]
    assert chosen.shape == (2, 2, 3)


def test_a_row_with_too_few_labels_is_filled_up_with_ignored_ones():
    _, kept = picked(torch.zeros(1, 4, 1), torch.tensor([[IGNORED, IGNORED, 3, IGNORED]]), 3)
    assert kept.tolist() == [[3, IGNORED, IGNORED]]


@pytest.fixture
def scene():
    """Two pictures: thing 1 on patch 5 of the first, thing 0 on patches 0 and 1 of the second, which has no colour."""
    owner = torch.full((2, SIDE * SIDE), -1, dtype=torch.int8)
    owner[0, 5], owner[1, :2] = 1, 0
    return {
        "owner": owner,
        "nouns": torch.tensor([[0, 2], [1, 0]]),
        "colours": torch.tensor([[-1, 3], [-1, -1]]),
        "boxes": torch.tensor([[[0.0] * 4, [0.2, 0.25, 0.5, 0.5]], [[0.0, 0.0, 0.5, 0.2], [0.0] * 4]]),
    }


def perfect_heads(scene, nouns=3, colours=5):
    """What the dense head should say, patch by patch: the last noun and the last colour mean none."""
    noun = torch.zeros(2, SIDE * SIDE, nouns + 1)
    colour, offsets = torch.zeros(2, SIDE * SIDE, colours + 1), torch.zeros(2, SIDE * SIDE, 4)
    for b in range(2):
        for p in range(SIDE * SIDE):
            thing = int(scene["owner"][b, p])
            tint = int(scene["colours"][b, thing]) if thing >= 0 else -1
            noun[b, p, scene["nouns"][b, thing] if thing >= 0 else nouns] = 30
            colour[b, p, tint if tint >= 0 else colours] = 30
            x, y = (p % SIDE + 0.5) / SIDE, (p // SIDE + 0.5) / SIDE
            if thing >= 0:
                offsets[b, p] = scene["boxes"][b, thing] - torch.tensor([x, y, x, y])
    return noun, colour, offsets


def test_a_perfect_dense_head_costs_next_to_nothing(scene):
    assert dense_loss(perfect_heads(scene), **scene).item() < 1e-6


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_each_output_of_the_dense_head_is_held_to_the_scene(scene, wrong):
    heads = perfect_heads(scene)
    heads[wrong][0, 5] = heads[wrong][0, 5].roll(1) if wrong < 2 else heads[wrong][0, 5] + 0.1
    assert dense_loss(heads, **scene).item() > 0.1


def test_boxes_count_only_where_a_patch_shows_a_thing(scene):
    heads = perfect_heads(scene)
    heads[2][0, 6] += 5.0  # patch 6 shows nothing
    assert dense_loss(heads, **scene).item() < 1e-6
