"""Exports step by step: progress, stopping in the middle, channels that are layers of their own."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from napari_sam2._controller import Controller
from napari_sam2._exporting import FORMATS, export_steps, measure_steps
from napari_sam2._picture import Picture
from napari_sam2._picture_source import AlongChannels
from napari_sam2._writers import write_label_tiff
from sam2_engine.errors import ExportError
from tests.napari.work_cases import at, disc, run, stack

SIZE = (40, 48)


@pytest.fixture
def controller(clip):
    made = Controller(Picture(clip, ("t", "y", "x"), 0, name="film"), lambda: None)
    obj = made.new_object()
    for frame in range(8):
        made.add_mask(obj, at(frame), disc(SIZE, 13, 12))
    return made


def steps_of(controller, name, path):
    return export_steps(name, str(path), controller.picture, controller.all_labels, controller.objects)


def target(folder, one):
    return folder / f"out-{one.name}{one.suffix}"


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_format_tells_how_far_it_is(controller, tmp_path, one):
    if one.name == "ome_zarr":
        pytest.importorskip("zarr")
    told = list(steps_of(controller, one.name, target(tmp_path, one)))
    assert target(tmp_path, one).exists()
    assert told[-1].done == told[-1].total >= 8
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_an_export_stopped_midway_leaves_nothing(controller, tmp_path, one):
    if one.name == "ome_zarr":
        pytest.importorskip("zarr")
    steps = steps_of(controller, one.name, target(tmp_path, one))
    for _ in range(4):
        next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_an_export_shows_the_objects_as_they_were_when_it_began(controller, tmp_path):
    steps = steps_of(controller, "label_tiff", tmp_path / "out.tif")
    next(steps)
    controller.delete([1])
    run(steps)
    from tifffile import imread

    assert (imread(tmp_path / "out.tif") == 1).any(axis=(1, 2)).all()


def test_an_unknown_format_is_refused(controller, tmp_path):
    with pytest.raises(ExportError, match="label_tiff"):
        run(steps_of(controller, "jpeg", tmp_path / "out.jpg"))


def test_all_channels_are_measured_when_they_are_layers(clip, tmp_path):
    names = ("membrane", "nuclei", "actin")
    picture = Picture(
        clip, ("z", "y", "x"), 0, others=(clip * 0 + 7, clip * 0 + 9), channels=(0, 1), channel_names=names
    )
    controller = Controller(picture, lambda: None)
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    table = run(measure_steps(picture, controller.all_labels))
    assert table["mean_nuclei"].tolist() == [7.0] and table["mean_actin"].tolist() == [9.0]
    assert table["mean_membrane"][0] == pytest.approx(clip[3][disc(SIZE, 13, 12)].mean())
    run(export_steps("measurements", str(tmp_path / "m.csv"), picture, controller.all_labels, controller.objects))
    with open(tmp_path / "m.csv", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["max_actin"] == "9"


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_channels_are_measured_wherever_their_axis_is(clip, axis):
    data = np.stack([clip, clip * 0 + 5], axis)
    picture = Picture(data, ("z", "y", "x"), 0, channel_axis=axis)
    controller = Controller(picture, lambda: None)
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    table = run(measure_steps(picture, controller.all_labels))
    assert table["mean_c1"].tolist() == [5.0]
    assert table["mean_c0"][0] == pytest.approx(clip[3][disc(SIZE, 13, 12)].mean())


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_a_layer_along_channels_is_written_without_them(clip, tmp_path, axis):
    controller = Controller(stack(clip), lambda: None)
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    names = ["z", "y", "x"]
    names.insert(axis, "c")
    meta = {"axis_labels": tuple(names), "scale": tuple(2.0 if name == "z" else 1.0 for name in names)}
    write_label_tiff(str(tmp_path / "out.tif"), AlongChannels(controller.work_labels, axis, 3), meta)
    from tifffile import TiffFile

    with TiffFile(tmp_path / "out.tif") as file:
        assert file.series[0].shape == clip.shape and file.series[0].axes == "ZYX"
        assert np.array_equal(file.asarray(), np.asarray(controller.work_labels))
