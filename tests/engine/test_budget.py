"""One value says how much may be kept, and who gets what of it."""

from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine import budget as module
from sam2_engine.budget import LEAST_MB, MEBIBYTE, Budget
from sam2_engine.errors import BudgetError


@pytest.mark.property
@given(st.floats(LEAST_MB, 1e6))
def test_the_parts_are_no_more_than_the_whole(memory_mb):
    budget = Budget(memory_mb)
    assert 0.99 * budget.memory_bytes < sum(astuple(budget.shares)) <= budget.memory_bytes


@pytest.mark.parametrize("memory_mb", [0, -1, 15, math.nan, math.inf, "512", True])
def test_too_little_memory_is_refused(memory_mb):
    with pytest.raises(BudgetError, match="memory_mb is a number of MiB from 16 on"):
        Budget(memory_mb)


@pytest.mark.parametrize("disk_mb", [-1, math.nan, "1"])
def test_too_little_disk_is_refused(disk_mb, tmp_path: Path):
    with pytest.raises(BudgetError, match="disk_mb"):
        Budget(64, disk_mb, tmp_path)


def test_other_formats_are_refused():
    with pytest.raises(BudgetError, match="int8"):
        Budget(64, stored="int8")  # type: ignore[arg-type]


def test_nothing_goes_to_the_disk_unless_a_folder_is_named(tmp_path: Path):
    assert Budget(64).disk_bytes == Budget(64, 100).disk_bytes == Budget(64, 0, tmp_path).disk_bytes == 0
    assert Budget(64, 100, tmp_path).disk_bytes == 100 * MEBIBYTE


@pytest.mark.parametrize(("free_mb", "wanted_mb"), [(100, 256), (4000, 1000), (10**6, 4096)])
def test_memory_is_a_quarter_of_what_is_free_within_bounds(monkeypatch, free_mb, wanted_mb):
    monkeypatch.setattr(module, "free_memory_bytes", lambda: free_mb * MEBIBYTE)
    assert Budget().memory_mb == wanted_mb


def test_the_limit_of_a_container_counts(monkeypatch):
    numbers = {"memory.max": 500 * MEBIBYTE, "memory.current": 100 * MEBIBYTE}
    monkeypatch.setattr(module, "_number_in", lambda path: numbers[path.name])
    assert module.free_memory_bytes() == 400 * MEBIBYTE
    numbers["memory.max"] = None  # what the kernel says where there is no limit
    assert module.free_memory_bytes() > 400 * MEBIBYTE


def test_a_folder_that_is_not_there_yet_lies_on_some_disk(tmp_path: Path):
    assert Budget(64, folder=tmp_path / "a" / "b").disk_mb == module.default_disk_mb(tmp_path)


def test_features_lie_beside_the_weights(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("SAM2_CACHE", str(tmp_path))
    assert module.default_folder() == tmp_path / "features"
