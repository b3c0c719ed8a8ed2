"""Stacks over time with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_engine.errors import ShapeError
from sam2_engine.training.synthetic import make_moving_stack


def test_the_same_generator_gives_the_same_stacks() -> None:
    one, two = (make_moving_stack(np.random.default_rng(3), 3, (8, 48, 48)) for _ in range(2))
    np.testing.assert_array_equal(one.volumes, two.volumes)
    np.testing.assert_array_equal(one.labels, two.labels)


def test_nuclei_are_brighter_than_what_is_around_them_at_all_times() -> None:
    made = make_moving_stack(np.random.default_rng(4), 4, (8, 64, 64))
    assert made.volumes.shape == made.labels.shape == (4, 8, 64, 64)
    for volume, labels in zip(made.volumes, made.labels, strict=True):
        assert volume[labels > 0].mean() > 1.5 * volume[labels == 0].mean()


def test_daughters_lie_beside_where_the_mother_was() -> None:
    made = make_moving_stack(np.random.default_rng(5), 4, (10, 80, 80))
    (mother,) = set(made.parents.values())
    before = np.argwhere(made.labels[1] == mother).mean(axis=0)
    centres = [np.argwhere(made.labels[2] == daughter).mean(axis=0) for daughter in made.parents]
    assert np.linalg.norm(np.mean(centres, axis=0) - before) < 3
    assert np.linalg.norm(centres[0] - centres[1]) > 5


def test_too_few_times_do_not_divide_and_none_is_refused() -> None:
    assert make_moving_stack(np.random.default_rng(0), 2, (8, 32, 32)).parents == {}
    with pytest.raises(ShapeError, match="got 0 of"):
        make_moving_stack(np.random.default_rng(0), 0, (8, 32, 32))
