"""What setup.cfg promises as lowest versions is what the tests with the lowest versions run with."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def lowest(*extras: str) -> dict[str, str]:
    """Lowest version of each package that the project, or an extra of it, asks for."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [declared["options"]["install_requires"], *(declared["options.extras_require"][one] for one in extras)]
    asked = [Requirement(line) for text in lists for line in text.splitlines() if line.strip()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix(">=") for one in asked}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("name", sorted(set(lowest("napari", "batch")) - {"torch"}))
def test_the_oldest_environment_holds_the_lowest_version(name: str) -> None:
    parts = pinned()[name].split(".")
    promised = lowest("napari", "batch")[name].split(".")
    assert parts[: len(promised)] == promised and set(parts[len(promised) :]) <= {"0"}
