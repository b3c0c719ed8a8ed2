"""Sequences from video files: exact frame numbers, whatever the container says.

Every test picture shows its own number as eight bright or dark blocks, so that a wrong frame cannot pass.
"""

from __future__ import annotations

import builtins
import gc
import logging
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine._readers import video as video_module
from sam2_engine._readers import video_index
from sam2_engine._readers.video import VideoFrames
from sam2_engine.errors import FramesError, ImageTooLargeError, MissingDependencyError
from sam2_engine.frames import open_frames

av = pytest.importorskip("av")

HEIGHT, WIDTH, BLOCK = 48, 64, 16
LENGTH = 60


def picture(number: int) -> NDArray[np.uint8]:
    made = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(8):
        row, column = divmod(bit, WIDTH // BLOCK)
        made[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = 215 if number >> bit & 1 else 40
    made[2 * BLOCK :, : 4 + number % 50] = (200, 80, 40)
    made[2 * BLOCK :, 56:] = np.random.default_rng(number).integers(
        0, 256, (BLOCK, 8, 3)
    )  # gives every frame some bytes
    return made


def number_in(frame: NDArray[np.uint8]) -> int:
    grey = frame if frame.ndim == 2 else frame.mean(axis=2)
    blocks = grey[: 2 * BLOCK].reshape(2, BLOCK, WIDTH // BLOCK, BLOCK).mean(axis=(1, 3)).ravel()
    return int(sum(1 << bit for bit in range(8) if blocks[bit] > 128))


def write_video(
    path: Path,
    codec: str = "libx264",
    *,
    length: int = LENGTH,
    gop: int = 12,
    times: Iterable[int] | None = None,
    rotation: int | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg cannot encode {codec}")
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options or {})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pix_fmt
        stream.codec_context.gop_size = gop
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        if rotation is not None:
            if not hasattr(type(stream), "set_display_rotation"):
                pytest.skip("this PyAV cannot write a rotation")
            stream.set_display_rotation(rotation)
        stamps = list(times) if times is not None else None
        for number in range(length):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4 with B-frames": ("a.mp4", {}),
    "mp4 with one keyframe": ("a.mp4", {"gop": 250}),
    "mp4 of keyframes": ("a.mp4", {"gop": 1}),
    "mp4 with open groups": ("a.mp4", {"options": {"x264-params": "open-gop=1:bframes=3"}}),
    "fragmented mp4": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "mp4 of irregular times": ("a.mp4", {"times": np.cumsum(1 + np.arange(LENGTH) % 7).tolist()}),
    "mov mpeg4 with B-frames": ("a.mov", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "mkv": ("a.mkv", {}),
    "avi mpeg4": ("a.avi", {"codec": "mpeg4"}),
    "avi mpeg4 with B-frames": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "avi h264 with B-frames": ("a.avi", {}),
    "avi h264 with one keyframe": ("a.avi", {"gop": 250}),
    "avi mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "webm vp8 with hidden frames": (
        "a.webm",
        {"codec": "libvpx", "gop": 30, "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "arnr-maxframes": "7"}},
    ),
    "webm vp9": ("a.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}}),
    "mpeg program stream": ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "grey": ("a.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
}


@pytest.mark.filterwarnings("ignore:deprecated pixel format")
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_frame_has_its_number_in_any_order(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    name, options = KINDS[kind]
    write_video(tmp_path / name, **options)
    order = [*range(LENGTH), *range(LENGTH - 1, -1, -1), *np.random.default_rng(0).permutation(LENGTH).tolist()]
    with open_frames(tmp_path / name) as frames:
        assert isinstance(frames, VideoFrames)
        assert len(frames) == LENGTH
        assert frames.size == (HEIGHT, WIDTH)
        assert not frames.is_truncated
        assert [number_in(frames[number]) for number in order] == order
        assert frames[7].shape == ((HEIGHT, WIDTH) if kind == "grey" else (HEIGHT, WIDTH, 3))
        assert frames[7].dtype == np.uint8
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_colours_are_right(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", options={"crf": "10"})
    with open_frames(tmp_path / "a.mp4") as frames:
        assert np.abs(frames[30][36:, :24].astype(int) - [200, 80, 40]).max() < 25


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_the_rotation_noted_in_the_file_is_applied(tmp_path: Path, rotation: int, turns: int) -> None:
    write_video(tmp_path / "a.mp4")
    write_video(tmp_path / "b.mp4", rotation=rotation)
    with open_frames(tmp_path / "a.mp4") as upright, open_frames(tmp_path / "b.mp4") as turned:
        assert turned.size == ((WIDTH, HEIGHT) if turns % 2 else (HEIGHT, WIDTH))
        np.testing.assert_array_equal(turned[9], np.rot90(upright[9], turns))


def _count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    real = video_index.decode_packet

    def counting(packet: Any) -> Any:
        frames = real(packet)
        counted.append(len(frames))
        return frames

    monkeypatch.setattr(video_module, "decode_packet", counting)
    return counted


def test_reading_forwards_decodes_each_frame_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4")
    counted = _count_decoded(monkeypatch)
    with open_frames(tmp_path / "a.mp4") as frames:
        for number in range(LENGTH):
            frames[number]
    assert sum(counted) <= LENGTH + 2


def test_reading_backwards_decodes_a_group_of_pictures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4")
    counted = _count_decoded(monkeypatch)
    with open_frames(tmp_path / "a.mp4") as frames:
        for number in range(LENGTH - 1, -1, -1):
            frames[number]
    assert sum(counted) <= 2 * LENGTH


def test_a_jump_decodes_from_the_keyframe_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", options={"x264-params": "scenecut=0:keyint=12:min-keyint=12"})
    counted = _count_decoded(monkeypatch)
    with open_frames(tmp_path / "a.mp4") as frames:
        before = sum(counted)
        assert number_in(frames[50]) == 50
        assert sum(counted) - before <= 12


def test_opening_does_not_decode_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", length=240)
    counted: list[int] = []
    real = video_index.decode_packet
    monkeypatch.setattr(video_index, "decode_packet", lambda packet: counted.append(1) or real(packet))
    with open_frames(tmp_path / "a.mp4") as frames:
        assert len(frames) == 240
    assert len(counted) < 120


# --- counts that are not true


def _change_avi_frame_count(path: Path, count: int) -> None:
    whole = bytearray(path.read_bytes())
    main, stream = whole.index(b"avih"), whole.index(b"strh")
    whole[main + 8 + 16 : main + 8 + 20] = count.to_bytes(4, "little")
    whole[stream + 8 + 32 : stream + 8 + 36] = count.to_bytes(4, "little")
    path.write_bytes(whole)


@pytest.mark.parametrize(("announced", "is_truncated"), [(10, False), (500, True)])
def test_frames_are_counted_not_believed(
    tmp_path: Path, announced: int, is_truncated: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "a.avi", "mpeg4")
    _change_avi_frame_count(tmp_path / "a.avi", announced)
    with open_frames(tmp_path / "a.avi") as frames:
        assert isinstance(frames, VideoFrames)
        assert len(frames) == LENGTH
        assert frames.is_truncated == is_truncated
        assert number_in(frames[59]) == 59
    assert ("announces 500 frames and 60 can be read" in caplog.text) == is_truncated


TRUNCATED = {
    "mp4": ("a.mp4", {"container_options": {"movflags": "faststart"}}),
    "mkv": ("a.mkv", {}),
    "avi": ("a.avi", {"codec": "mpeg4"}),
    "avi mpeg4 with B-frames": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "avi h264": ("a.avi", {}),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "mpeg program stream": ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "fragmented mp4": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
}


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("kind", list(TRUNCATED))
def test_a_truncated_file_gives_the_frames_that_decode_and_a_warning(
    tmp_path: Path, kind: str, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    name, options = TRUNCATED[kind]
    write_video(tmp_path / name, **options)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    try:
        frames = open_frames(tmp_path / name)
    except FramesError as error:
        assert "cannot be read as video" in str(error)  # cut within the table of a fragment
        assert kind == "fragmented mp4"
        return
    with frames:
        assert isinstance(frames, VideoFrames)
        assert 0 < len(frames) < LENGTH
        if kind not in ("fragmented mp4", "mpeg program stream"):  # which announce nothing, so nothing is missing
            assert frames.is_truncated
            assert f"{name} is truncated or damaged" in caplog.text
            assert f"and {len(frames)} can be read" in caplog.text
        for number in range(len(frames)):
            assert number_in(frames[number]) == number


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 4000])
@pytest.mark.parametrize("suffix", ["mp4", "avi", "mov", "mkv"])
def test_what_is_no_video_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(FramesError, match=rf"a\.{suffix} (is empty|cannot be read)"):
        open_frames(path)


def test_an_mp4_cut_before_its_index_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FramesError, match="copy or export it again"):
        open_frames(tmp_path / "a.mp4")


def test_a_file_of_sound_is_no_sequence(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(FramesError, match="no video stream that can"):
        open_frames(tmp_path / "a.mkv")


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_damage_in_the_middle_gives_right_frames_or_a_frames_error(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / name, "mpeg4")
    whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
    rng = np.random.default_rng(5)
    for _ in range(12):
        damaged = whole.copy()
        where = rng.integers(300, len(whole), 6)
        damaged[where] = rng.integers(0, 256, 6)
        (tmp_path / name).write_bytes(damaged.tobytes())
        try:
            with open_frames(tmp_path / name) as frames:
                for number in (len(frames) - 1, 0, len(frames) // 2):
                    try:
                        assert frames[number].shape[:2] == frames.size
                    except FramesError as error:
                        assert name in str(error)
        except (FramesError, ImageTooLargeError) as error:
            assert name in str(error)


def test_frames_above_the_limit_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", length=2)
    with pytest.raises(ImageTooLargeError, match="48 × 64"):
        open_frames(tmp_path / "a.mp4", max_pixels=1000)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", length=2)
    real = builtins.__import__

    def without_av(name: str, *rest: Any, **named: Any) -> Any:
        if name == "av":
            raise ImportError("no av")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sam2-tools\[video\]'"):
        open_frames(tmp_path / "a.mp4")


def test_files_are_closed_by_the_block_and_when_forgotten(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("counts open files through /proc")
    write_video(tmp_path / "a.mp4")

    def open_files() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{name}").endswith("a.mp4") for name in os.listdir("/proc/self/fd"))

    with open_frames(tmp_path / "a.mp4") as frames:
        frames[5]
        assert open_files() == 1
    assert open_files() == 0
    forgotten = open_frames(tmp_path / "a.mp4")
    forgotten[5]
    del forgotten, frames
    gc.collect()
    assert open_files() == 0
