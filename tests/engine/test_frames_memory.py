"""Reading a long sequence needs the memory of one frame, not of the sequence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

SHORT, LONG = 200, 2_000
SIDE = 160  # 2,000 frames of 16 bits are 98 MiB

_READER = """
import sys
from sam2_engine.frames import open_frames

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

with open_frames(sys.argv[1]) as frames:
    for number in range(200):
        frames[number]
    before = resident_mib()
    for number in range(200, len(frames)):
        frames[number]
    for number in range(len(frames) - 1, 0, -7):
        frames[number]
    print(len(frames), before, resident_mib())
"""


def _contiguous(path: Path) -> Path:
    tifffile.imwrite(path / "a.tif", shape=(LONG, SIDE, SIDE), dtype=np.uint16, photometric="minisblack")
    return path / "a.tif"


def _compressed(path: Path) -> Path:
    page = np.zeros((SIDE, SIDE), np.uint16)
    with tifffile.TiffWriter(path / "a.tif") as writer:
        for number in range(LONG):
            writer.write(page + np.uint16(number % 50), metadata=None, compression="zlib")
    return path / "a.tif"


def _video(path: Path) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for number in range(LONG):
            picture = np.full((SIDE, SIDE, 3), number % 250, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path / "a.mp4"


def _zarr(path: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(
        str(path / "a.zarr"), shape=(LONG, SIDE, SIDE), chunks=(1, SIDE, SIDE), dtype="uint16", fill_value=7
    )
    return path / "a.zarr"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use through /proc")
@pytest.mark.parametrize("make", [_contiguous, _compressed, _video, _zarr])
def test_2000_frames_need_no_more_memory_than_200(tmp_path: Path, make: object) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    ran = subprocess.run([sys.executable, "-c", _READER, str(path)], capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    length, before, after = map(float, ran.stdout.split())
    assert length == LONG
    assert after < before * 1.05 + 2, f"{before:.1f} MiB after {SHORT} frames, {after:.1f} MiB after {LONG}"
