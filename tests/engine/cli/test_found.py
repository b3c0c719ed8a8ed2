"""Commands that other packages bring."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from sam2_engine.cli import main
from sam2_engine.cli.found import GROUP

Install = Callable[[dict[str, str]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes entry points as if packages with them were installed."""

    def bring(named: dict[str, str]) -> None:
        found = [EntryPoint(name, value, GROUP) for name, value in named.items()]

        def entry_points(*, group: str) -> Sequence[EntryPoint]:
            return [entry for entry in found if entry.group == group]

        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    return bring


@pytest.fixture
def kettle(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package with the command ``brew tea``."""
    module = ModuleType("kettle")

    def run(args: argparse.Namespace) -> int:
        print(f"tea, {args.minutes} minutes, quiet: {args.quiet}")
        return 7

    def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
        parser = commands.add_parser("tea", parents=[common], help="a cup of it")
        parser.add_argument("--minutes", type=int, default=3)
        parser.set_defaults(run=run, parser=parser)

    module.add_parser = add_parser  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kettle", module)
    return module


def test_a_command_of_another_package_runs(
    install: Install, kettle: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    install({"brew.tea": "kettle"})
    assert main(["brew", "tea", "--minutes", "4", "--quiet"]) == 7
    assert capsys.readouterr()[0] == "tea, 4 minutes, quiet: True\n"


def test_help_lists_what_is_found_without_importing_it(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install({"brew.tea": "no_such_module", "brew.coffee": "no_such_module"})
    assert main(["--help"]) == 0
    assert ["brew", "coffee,", "tea"] in [line.split() for line in capsys.readouterr()[0].splitlines()]


def test_help_of_a_word_lists_its_commands(
    install: Install, kettle: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    install({"brew.tea": "kettle"})
    assert main(["brew", "--help"]) == 0
    assert "a cup of it" in capsys.readouterr()[0]


def test_our_own_commands_never_look_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(*, group: str) -> Sequence[EntryPoint]:
        raise AssertionError("looked for")

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert main(["segment", "--help"]) == 0


def test_nobody_replaces_a_command_of_ours(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install({"segment.tea": "no_such_module"})
    assert main(["--help"]) == 0
    assert "tea" not in capsys.readouterr()[0].split("general")[0].split()


def test_a_command_that_cannot_be_imported_is_one_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install({"brew.tea": "no_such_module"})
    assert main(["brew", "tea"]) == 1
    said = capsys.readouterr()[1]
    assert said.startswith("sam2: error: the command 'sam2 brew tea' cannot be loaded (") and said.count("\n") == 1


def test_an_unknown_word_is_wrong_use(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install({"brew.tea": "no_such_module"})
    assert main(["fly"]) == 2
    assert "usage: sam2" in capsys.readouterr()[1]
