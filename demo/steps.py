"""The fixed shapes of recorded steps: how many answers, and how many columns of what they remember, one looks at.

Owns the numbers. Pure: the planner counts with them what the backend then records. Knows nothing of how a step is
recorded or what it costs. A shape is (answers, columns).
"""

from __future__ import annotations

Shape = tuple[int, int]

LEAST_COLUMNS = 256


def shape_for(count: int, columns: int, *, slots: int, context: int) -> Shape:
    """The smallest shape that so many answers fit, of which the longest looks at so many columns.

    ``slots`` and ``context`` are the most of either that there is memory for.
    """
    return min(_power(count), slots), min(max(_power(columns), LEAST_COLUMNS), context)


def all_shapes(*, slots: int, context: int) -> list[Shape]:
    """Every shape that there is, the smallest first."""
    counts, columns = _powers(slots), _powers(context)
    shapes = {shape_for(count, width, slots=slots, context=context) for count in counts for width in columns}
    return sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape))


def _powers(most: int) -> list[int]:
    """All powers of two up to the first that is no less than a number."""
    return [1 << exponent for exponent in range(_power(most).bit_length())]


def _power(number: int) -> int:
    """The smallest power of two that is no less."""
    return 1 << (number - 1).bit_length()
