"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam2_engine.atomic import atomic_path, write_json
from sam2_engine.errors import ExportError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_appears_and_nothing_else(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_temporary_file_has_the_suffix_of_the_target(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.ome.tif") as temporary:
        temporary.touch()
        assert temporary.suffix == ".tif"
        assert temporary.parent == tmp_path


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), GeneratorExit()])
def test_an_exception_leaves_the_old_content_and_no_temporary(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_an_export_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(ExportError, match=r"a\.txt.*free some space"), atomic_path(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist: create it"), atomic_path(tmp_path / "no" / "a") as temporary:
        temporary.write_text("new")


def test_a_folder_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(ExportError, match="add a file name"), atomic_path(tmp_path / "a"):
        pytest.fail("the block must not run")


def test_a_link_is_written_through_and_permissions_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "real.txt"
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_the_longest_file_name_works(tmp_path: Path) -> None:
    name = "n" * 251 + ".txt"
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == [name]


def test_json_keeps_letters_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"größe": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"größe": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"größe": [1, 2.5, None]}


_WRITERS = {
    "labels.tif": """
rng = np.random.default_rng(0)
with LabelWriter(path, 4, (256, 256), dtype="uint16") as writer:
    for frame in range(4):
        writer.write(frame, rng.integers(0, 60_000, (256, 256)))
""",
    "assembled.tif": """
rng = np.random.default_rng(0)
writer = LabelWriter(path, 40, (100, 100), dtype="uint32")
for frame in range(40):
    writer.write(frame, np.arange(10_000).reshape(100, 100) % 7)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
writer.close()
""",
    "mask.png": "write_png(path, np.random.default_rng(0).integers(0, 60_000, (256, 256)))",
    "video.mp4": """
rng = np.random.default_rng(0)
with OverlayVideo(path) as video:
    for _ in range(60):
        video.add(rng.integers(0, 255, (128, 128, 3)).astype(np.uint8))
""",
    "masks.json": "write_json(path, list(range(40_000)))",
}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size are a POSIX thing")
@pytest.mark.parametrize("name", list(_WRITERS))
def test_a_disk_that_takes_no_more_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    """A real refusal by the system in the middle of writing: the process may not make files above 40 kB."""
    target = tmp_path / name
    target.write_bytes(b"old")
    program = f"""
import resource, sys
import numpy as np
from sam2_engine.atomic import write_json
from sam2_engine.errors import ExportError
from sam2_engine.export import LabelWriter, OverlayVideo, write_png
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
{"".join("    " + line + chr(10) for line in _WRITERS[name].strip().splitlines())}
except ExportError as error:
    print("refused", error)
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(target)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("refused")
    assert name in ran.stdout
    assert "choose another folder" in ran.stdout
    assert ran.stderr == ""
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == [name]


@pytest.mark.skipif(os.name == "nt", reason="permissions of this kind")
def test_new_files_have_the_usual_permissions_whatever_the_writer_makes(tmp_path: Path) -> None:
    ordinary, ours = tmp_path / "ordinary", tmp_path / "ours"
    ordinary.touch()
    with atomic_path(ours) as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    assert ours.stat().st_mode == ordinary.stat().st_mode
