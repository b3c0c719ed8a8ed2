"""The pictures of the napari guide: ``python docs/make_napari_pictures.py [NAME …]``.

Opens a real napari window with the sample data, does what the guide says, and saves what is seen to
``docs/images/napari_*.jpg``. Needs a screen, or ``xvfb-run -a -s "-screen 0 1920x1080x24" python …``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from napari_window import Window  # noqa: E402

from napari_sam2 import _sample_data as samples  # noqa: E402

FOLDER = ROOT / "docs" / "images"

NUCLEI = ((20, 149, 142), (20, 88, 160), (20, 91, 239), (20, 58, 10), (20, 145, 218), (20, 246, 12), (20, 120, 56))
"""A click (z, y, x) in each of some nuclei of the sample stack."""

LEAKING, NEIGHBOUR = (30, 27, 137), (30, 50, 151)
"""A click whose mask takes in a part of what touches its nucleus, and a place on that part."""


def save(picture: Any, name: str, width: int = 1300) -> None:
    """Save a screenshot, no wider than `width`."""
    image = Image.fromarray(np.asarray(picture)[..., :3])
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.save(FOLDER / f"napari_{name}.jpg", quality=88, optimize=True)
    print(f"docs/images/napari_{name}.jpg {image.size}", flush=True)


def shot(one: Window, *, canvas: bool = False) -> Any:
    """What is seen, without napari's frame around the mark that was made last."""
    if one.work is not None:
        one.work.layers.marks.points.selected_data = set()
    one.settle(1.0)
    return one.viewer.screenshot(canvas_only=canvas, flash=False)


def opened(sample: Callable[[], list[Any]], axis: int) -> Window:
    """A window with a sample, begun."""
    ((data, settings, _),) = sample()
    one = Window(data, **settings)
    one.begin(axis)
    return one


def segmented(one: Window, clicks: tuple[tuple[float, ...], ...]) -> None:
    """A new object for each click, and all of them propagated."""
    for number, position in enumerate(clicks):
        if number:
            one.controller.new_object()
        one.click(position)
    one.widget.running.propagate("both")
    one.wait(1200)


def start() -> None:
    """Step 3: the widget before it is begun."""
    ((data, settings, _),) = samples.stack()
    one = Window(data, **settings)
    one.show((20, 0, 0))
    save(shot(one), "start")
    one.close()


def stack() -> None:
    """Steps 4 to 8: one click, propagated, several objects, the strip, 3D."""
    one = opened(samples.stack, 0)
    one.click(NUCLEI[0])
    save(shot(one), "click")
    for position in NUCLEI[1:]:
        one.controller.new_object()
        one.click(position)
    one.widget.running.propagate("both")
    one.wait(1200)
    one.controller.select(2)
    one.show((22, 0, 0))
    save(shot(one), "stack")
    strip(one)
    session(one)
    in_3d(one)
    one.close()


def strip(one: Window) -> None:
    """The slider and the confidence strip under it."""
    one.settle(0.5)
    window = one.viewer.window._qt_window
    corners = [one.widget.strip.mapTo(window, corner()) for corner in (_top_left(one), _bottom_right(one))]
    left, right = one.widget.strip.position_of(-0.5), one.widget.strip.position_of(39.5)
    picture = shot(one)
    scale = picture.shape[0] / window.height()
    rows = slice(int((corners[0].y() - 36) * scale), int((corners[1].y() + 2) * scale))
    columns = slice(int((corners[0].x() + left - 40) * scale), int((corners[0].x() + right + 60) * scale))
    save(np.repeat(np.repeat(picture[rows, columns], 2, axis=0), 2, axis=1), "strip", 1300)


def _top_left(one: Window) -> Any:
    return one.widget.strip.rect().topLeft


def _bottom_right(one: Window) -> Any:
    return one.widget.strip.rect().bottomRight


def session(one: Window) -> None:
    """Step 9 and 10: the lower end of the widget."""
    area = one.widget.session.parentWidget().parentWidget().parentWidget()
    area.ensureWidgetVisible(one.widget.session)
    for group in (one.widget.objects, one.widget.prompt):
        group.setVisible(False)
    one.settle(0.5)
    area.ensureWidgetVisible(one.widget.session)
    picture = one.widget.grab().toImage()
    path = FOLDER / "napari_session.png"
    picture.save(str(path))
    save(Image.open(path).convert("RGB"), "session")
    path.unlink()
    for group in (one.widget.objects, one.widget.prompt):
        group.setVisible(True)


def in_3d(one: Window) -> None:
    """All objects as volumes."""
    one.viewer.dims.ndisplay = 3
    one.layer.opacity = 0.5
    one.viewer.reset_view()
    camera = one.viewer.scene.camera if hasattr(one.viewer, "scene") else one.viewer.camera
    camera.angles = (12, -38, 128)
    one.settle(2.0)
    save(shot(one, canvas=True), "3d", 900)


def correction() -> None:
    """Step 5: a click takes in too much; a negative click puts it right."""
    one = opened(samples.stack, 0)
    one.click(LEAKING)
    before = shot(one, canvas=True)
    one.click(NEIGHBOUR, positive=False)
    after = shot(one, canvas=True)
    height = min(before.shape[0], after.shape[0])
    gap = np.full((height, 12, 4), 255, np.uint8)
    save(np.concatenate((before[:height], gap, after[:height]), axis=1), "correction")
    one.close()


def tracks() -> None:
    """A division in a time-lapse of stacks, and the lineage."""
    moving = samples.make_moving_stack_sample()
    one = opened(samples.time_lapse_of_stacks, 1)
    mother = next(iter(moving.parents.values()))
    others = np.argsort(-np.bincount(moving.labels[0, 8].ravel()))[1:5]
    for number, label in enumerate([mother, *(label for label in others if label != mother)]):
        if number:
            one.controller.new_object()
        one.click(middle(moving.labels, label, 0, 8))
    one.widget.running.carry("forward")
    one.wait(1200)
    time = len(moving.labels) // 2
    one.show((time, 8, 0, 0))
    one.controller.select(1)
    daughters = one.controller.divide(1, one.work.layers.place())
    one.widget.doing.use_setting(exclusive=True)
    places = [middle(moving.labels, label, time, 8) for label in moving.parents]
    for obj, own, other in zip(daughters, places, places[::-1], strict=True):
        one.controller.select(obj)
        one.click(own)
        one.click(other, positive=False)
    one.work.use_label(True)
    one.widget.running.carry("forward")
    one.wait(1200)
    one.widget.doing.show_tracks()
    one.settle()
    layer = next(layer for layer in one.viewer.layers if layer.name == "SAM2 tracks")
    layer.tail_width, layer.head_length = 5, 0
    one.show((time + 2, 8, 0, 0))
    save(shot(one), "tracks")
    one.close()


def middle(labels: Any, label: int, time: int, slice_: int) -> tuple[float, ...]:
    """A pixel (t, z, y, x) in the middle of an object."""
    rows, columns = np.nonzero(labels[time, slice_] == label)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return float(time), float(slice_), float(rows[nearest]), float(columns[nearest])


PICTURES: dict[str, Callable[[], None]] = {"start": start, "stack": stack, "correction": correction, "tracks": tracks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; all when not given")
    for name in parser.parse_args().names or PICTURES:
        PICTURES[name]()


if __name__ == "__main__":
    main()
