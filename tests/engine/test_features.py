"""The cache of features holds what it may and no more."""

from __future__ import annotations

import torch

from sam2_engine.features import FeatureCache
from sam2_engine.outputs import ImageFeatures


def features(value: float) -> ImageFeatures:
    plane = torch.full((1, 2, 4, 4), value)
    return ImageFeatures(plane, (plane, plane))


def test_features_are_computed_once() -> None:
    cache, calls = FeatureCache(10_000), []
    for _ in range(3):
        cache.get(7, lambda: calls.append(1) or features(1.0))  # type: ignore[func-returns-value]
    assert len(calls) == 1


def test_the_least_recently_used_goes_first() -> None:
    size = features(0.0).nbytes
    cache = FeatureCache(2 * size)
    for key in "ab":
        cache.get(key, lambda: features(0.0))
    cache.get("a", lambda: features(0.0))
    cache.get("c", lambda: features(0.0))
    assert "a" in cache
    assert "b" not in cache
    assert cache.nbytes == 2 * size


def test_the_number_of_frames_is_bounded_too() -> None:
    cache = FeatureCache(10**9, max_entries=3)
    for key in range(10):
        cache.get(key, lambda: features(0.0))
    assert [key for key in range(10) if key in cache] == [7, 8, 9]


def test_one_entry_larger_than_the_limit_still_serves() -> None:
    cache = FeatureCache(1)
    assert float(cache.get(0, lambda: features(5.0)).embedding[0, 0, 0, 0]) == 5.0
    assert 0 in cache
