from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sam2_engine import __file__ as engine_file
from sam2_engine.cli import main

Run = Callable[..., int]


def test_help_comes_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from sam2_engine.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'scipy', 'PIL', 'tqdm'} & set(sys.modules); assert not heavy, heavy; sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(engine_file).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "segment", "track", "replay", "models", "info", "train", "evaluate"):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", ["demo", "segment", "track", "replay", "models", "info", "train", "evaluate"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: sam2 {command}" in capsys.readouterr()[0]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from sam2_engine._version import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr()[0].split() == ["sam2-tools", __version__]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["segment"],
        ["segment", "cells.png"],
        ["segment", "cells.png", "--everything", "--point", "3,3"],
        ["segment", "cells.png", "--point", "3"],
        ["segment", "cells.png", "--point", "3,x"],
        ["segment", "cells.png", "--point", "nan,3"],
        ["segment", "cells.png", "--point", "3,3,?"],
        ["segment", "cells.png", "--box", "1,2,3"],
        ["segment", "cells.png", "--box", "9,2,3,8"],
        ["segment", "cells.png", "--box", "1,1,5,5", "--box", "2,2,5,5"],
        ["segment", "cells.png", "--mask", "m.png", "--point", "3,3"],
        ["segment", "cells.png", "--object", "0", "--point", "3,3"],
        ["segment", "cells.png", "--object", "2"],
        ["segment", "cells.png", "--point", "3,3", "--prompts", "p.json"],
        ["segment", "cells.png", "--point", "3,3", "--side", "100"],
        ["segment", "cells.png", "--point", "3,3", "--device", "tpu"],
        ["segment", "cells.png", "--point", "3,3", "--threads", "0"],
        ["segment", "cells.png", "--everything", "--min-iou", "1.5"],
        ["track", "stack.tif"],
        ["track", "stack.tif", "--frame", "3"],
        ["track", "stack.tif", "--frame", "-1", "--point", "3,3"],
        ["track", "stack.tif", "--point", "3,3", "--frame", "1", "--point", "4,4", "--frame", "2", "--point", "5,5"],
        ["track", "stack.tif", "--point", "3,3", "--both", "--backward"],
        ["track", "stack.tif", "--point", "3,3", "--at", "t"],
        ["track", "stack.tif", "--point", "3,3", "--fps", "0"],
        ["evaluate", ".", "--clicks", "0"],
    ],
)
def test_wrong_use_gives_2_and_says_how(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()[1]
    assert "usage: sam2" in said
    assert "error: " in said
    assert sorted(path.name for path in folder.iterdir()) == ["cells.png", "stack.tif"]


def test_a_reader_that_stops_listening_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(Path(engine_file).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "sam2_engine.cli", "models"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
