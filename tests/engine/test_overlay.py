"""Overlay pictures and videos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import ExportError, ShapeError
from sam2_engine.export import OverlayVideo, object_color, overlay, overlay_video, to_display_uint8, write_overlay_png
from sam2_engine.outputs import FrameMasks
from sam2_engine.pixels import Range
from sam2_engine.prompts import Box, Click, Prompts

GREY = np.full((60, 80), 100, np.uint8)


def square(top: int = 20, left: int = 30, side: int = 20) -> NDArray[np.bool_]:
    mask = np.zeros(GREY.shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_colours_of_many_neighbouring_ids_are_distinct() -> None:
    colours = np.array([object_color(obj) for obj in range(24)], int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    assert distances[~np.eye(24, dtype=bool)].min() > 50
    assert np.abs(colours[:-1] - colours[1:]).sum(axis=1).min() > 200


def test_colours_of_names_are_the_same_in_another_process() -> None:
    program = "from sam2_engine.export import object_color; print(object_color('nucleus'))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == str(object_color("nucleus"))


def test_masks_are_tinted_and_the_rest_stays() -> None:
    picture = overlay(GREY, {1: square()}, alpha=0.5, outline=0)
    assert picture.shape == (60, 80, 3)
    assert picture.dtype == np.uint8
    assert (picture[~square()] == 100).all()
    expected = np.rint(50 + np.array(object_color(1)) / 2)
    assert (picture[square()] == expected).all()


def test_outlines_lie_inside_of_the_mask_and_not_on_the_border_of_the_image() -> None:
    mask = np.zeros(GREY.shape, bool)
    mask[10:30, :40] = True
    picture = overlay(GREY, {1: mask}, alpha=0.0, outline=2)
    is_contour = (picture == object_color(1)).all(axis=2)
    expected = np.zeros_like(mask)
    expected[10:12, :40] = expected[28:30, :40] = expected[10:30, 38:40] = True
    np.testing.assert_array_equal(is_contour, expected)


def test_the_image_given_is_not_changed_and_empty_masks_are_fine() -> None:
    image = np.repeat(GREY[:, :, None], 3, axis=2)
    picture = overlay(image, {1: square(), 2: np.zeros(GREY.shape, bool)}, prompts={1: Prompts((Click(5, 5),))})
    assert (image == 100).all()
    assert picture.flags.writeable


def test_frame_masks_are_taken_as_they_come() -> None:
    frame = FrameMasks(0, {1: square()}, {1: 1.0})
    np.testing.assert_array_equal(overlay(GREY, frame), overlay(GREY, frame.masks))


def test_clicks_are_drawn_where_they_are_and_tell_positive_from_negative() -> None:
    prompts = {1: Prompts((Click(20, 12), Click(60, 40, positive=False)))}
    picture = overlay(GREY, {}, prompts=prompts).astype(int)
    changed = (picture != 100).any(axis=2)
    rows, columns = np.nonzero(changed[:30])
    assert (round(columns.mean()), round(rows.mean())) == (20, 12)
    positive, negative = picture[15, 23], picture[43, 63]
    assert positive[1] > positive[0]
    assert negative[0] > negative[1]


def test_boxes_are_drawn_as_a_frame() -> None:
    picture = overlay(GREY, {}, prompts={3: Prompts(box=Box(10, 20, 50, 40))})
    assert tuple(picture[20, 30]) == object_color(3)
    assert tuple(picture[30, 10]) == object_color(3)
    assert tuple(picture[30, 30]) == (100, 100, 100)


def test_prompts_outside_of_the_image_do_no_harm() -> None:
    prompts = {1: Prompts((Click(-500, 12), Click(9e4, 40)), Box(-50, -50, 500, 500)), 2: Prompts(mask=square())}
    assert overlay(GREY, {}, prompts=prompts).shape == (60, 80, 3)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="image size"):
        overlay(GREY, {1: np.zeros((80, 60), bool)})


def test_16_bit_images_are_stretched_to_be_seen() -> None:
    image = np.linspace(3000, 3400, 60 * 80).reshape(60, 80).astype(np.uint16)
    shown = to_display_uint8(image)
    assert shown.shape == (60, 80, 3)
    assert shown.min() == 0
    assert shown.max() == 255


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0, 7], [200, 255]], np.uint8), [[0, 7], [200, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[0.0, np.nan, 1.0, np.inf]]), [[0, 0, 255, 255]]),
        (np.full((1, 3), 7, np.uint16), [[0, 0, 0]]),
        (np.full((1, 2), np.nan), [[0, 0]]),
    ],
)
def test_values_for_display(image: NDArray[np.generic], expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(to_display_uint8(image)[:, :, 0], expected)


def test_one_span_shows_equal_values_equally() -> None:
    span = Range(0.0, 1000.0)
    dark, bright = np.full((4, 4), 100, np.uint16), np.full((4, 4), 900, np.uint16)
    assert to_display_uint8(dark, span).max() < 30
    assert to_display_uint8(bright, span).min() > 225


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_number_of_channels_is_shown(channels: int) -> None:
    assert to_display_uint8(np.zeros((5, 6, channels), np.uint8)).shape == (5, 6, 3)


def test_the_png_holds_the_overlay(tmp_path: Path) -> None:
    write_overlay_png(tmp_path / "a.png", GREY, {1: square()}, alpha=0.3)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), overlay(GREY, {1: square()}, alpha=0.3))


# --- video


def pictures(count: int, size: tuple[int, int] = (61, 79)) -> list[NDArray[np.uint8]]:
    made = []
    for number in range(count):
        picture = np.full((*size, 3), 90, np.uint8)
        picture[10:40, number * 4 : number * 4 + 20] = (200, 60, 60)
        made.append(picture)
    return made


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_video_of_odd_size_is_padded_and_shows_its_pictures(tmp_path: Path, suffix: str) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"a{suffix}"
    with OverlayVideo(path, fps=12.5) as video:
        for picture in pictures(12):
            video.add(picture)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width, stream.pix_fmt) == (62, 80, "yuv420p")
        assert float(stream.average_rate) == 12.5
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(shown) == 12
    for got, given in zip(shown, pictures(12), strict=True):
        assert np.abs(got[:61, :79].astype(int) - given).mean() < 6
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_without_h264_the_video_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    monkeypatch.delitem(overlay_video._ENCODERS, "libx264")
    monkeypatch.delitem(overlay_video._ENCODERS, "libopenh264")
    with OverlayVideo(tmp_path / "a.mp4") as video:
        for picture in pictures(5):
            video.add(picture)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.abs(shown[4][:61, :79].astype(int) - pictures(5)[4]).mean() < 8


@pytest.mark.parametrize("count", [0, 3])
def test_an_exception_leaves_no_video(tmp_path: Path, count: int) -> None:
    pytest.importorskip("av")
    with pytest.raises(RuntimeError, match="stop"), OverlayVideo(tmp_path / "a.mp4") as video:
        for picture in pictures(count):
            video.add(picture)
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_video_mistakes_are_named(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with pytest.raises(ExportError, match="add at least one"), OverlayVideo(tmp_path / "a.mp4"):
        pass
    with pytest.raises(ShapeError, match="those before"), OverlayVideo(tmp_path / "a.mp4") as video:
        video.add(pictures(1)[0])
        video.add(pictures(1)[0][:-1])
    with pytest.raises(ShapeError, match=r"\[H, W, 3\]"), OverlayVideo(tmp_path / "a.mp4") as video:
        video.add(GREY)
    with pytest.raises(ExportError, match=r"\.mp4"):
        OverlayVideo(tmp_path / "a.txt")
    with pytest.raises(ExportError, match="fps"):
        OverlayVideo(tmp_path / "a.mp4", fps=0)
    with pytest.raises(ExportError, match="create it"):
        OverlayVideo(tmp_path / "no" / "a.mp4")
    video = OverlayVideo(tmp_path / "a.mp4")
    video.abort()
    with pytest.raises(ExportError, match="finished"):
        video.add(pictures(1)[0])
    assert list(tmp_path.iterdir()) == []
