"""Labels of all axes as TIFF, OME-Zarr and COCO, read back by others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from sam2_engine.errors import ExportError
from sam2_engine.export import (
    ImageSpace,
    ctc_steps,
    decode_rle,
    label_coco,
    label_tiff_steps,
    ome_zarr_steps,
    tracks_csv_steps,
    write_label_coco,
    write_label_tiff,
    write_ome_zarr,
)
from sam2_engine.frames import open_frames

AXES = ["YX", "ZYX", "TYX", "TZYX"]
LENGTHS = {"T": 2, "Z": 3, "Y": 6, "X": 7}
STEPS = {"T": (120.0, "second"), "Z": (2.0, "micrometer"), "Y": (0.5, "micrometer"), "X": (0.25, "micrometer")}


def labels_of(axes: str, dtype: Any = np.uint16) -> NDArray[Any]:
    """A different label at every place."""
    labels = np.zeros([LENGTHS[letter] for letter in axes], dtype)
    planes = labels.reshape(-1, 6, 7)
    for number, plane in enumerate(planes, start=1):
        plane[1:3, 2 : 3 + number % 4] = number
        plane[4, :2] = 200
    return labels


def space_of(axes: str, **more: Any) -> ImageSpace:
    return ImageSpace(axes, tuple(STEPS[a][0] for a in axes), tuple(STEPS[a][1] for a in axes), **more)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", ["labels.tif", "labels.ome.tif"])
def test_label_tiffs_of_all_axes_come_back(tmp_path: Path, axes: str, name: str) -> None:
    write_label_tiff(tmp_path / name, labels_of(axes), space_of(axes))
    with tifffile.TiffFile(tmp_path / name) as file:
        assert file.series[0].axes == axes
        assert file.series[0].asarray().dtype == np.uint8
        np.testing.assert_array_equal(file.series[0].asarray(), labels_of(axes))


def test_the_sizes_of_pixels_slices_and_time_points_stand_in_the_file(tmp_path: Path) -> None:
    write_label_tiff(tmp_path / "a.ome.tif", labels_of("TZYX"), space_of("TZYX"))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    known = {name: pixels[name] for name in ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")}
    assert known == {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0, "TimeIncrement": 120.0}
    assert (pixels["SizeT"], pixels["SizeZ"]) == (2, 3)


def test_other_units_are_converted_and_unknown_ones_left_out(tmp_path: Path) -> None:
    space = ImageSpace("TYX", (2.0, 500.0, 500.0), ("minute", "nanometer", "nanometer"))
    write_label_tiff(tmp_path / "a.ome.tif", labels_of("TYX"), space)
    write_label_tiff(tmp_path / "b.ome.tif", labels_of("TYX"), ImageSpace("TYX"))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["TimeIncrement"]) == (0.5, 120.0)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert "PhysicalSizeX" not in file.ome_metadata


def test_axes_in_another_order_are_written_in_the_usual_one(tmp_path: Path) -> None:
    labels = labels_of("ZYX")
    write_label_tiff(tmp_path / "a.tif", labels.transpose(1, 2, 0), ImageSpace("YXZ"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", AXES)
def test_ome_zarr_of_all_axes_comes_back_with_its_metadata(tmp_path: Path, axes: str, version: Any) -> None:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "labels.ome.zarr"
    shift = tuple(float(number) for number in range(len(axes)))
    write_ome_zarr(path, labels_of(axes), space_of(axes, translate=shift), version=version)
    group = zarr.open_group(str(path), mode="r")
    assert group.metadata.zarr_format == (3 if version == "0.5" else 2)
    known = dict(group.attrs)
    image = (known["ome"] if version == "0.5" else known)["multiscales"][0]
    assert [axis["name"] for axis in image["axes"]] == list(axes.lower())
    assert [axis["unit"] for axis in image["axes"]] == [STEPS[letter][1] for letter in axes]
    assert {axis["type"] for axis in image["axes"]} <= {"time", "space"}
    (dataset,) = image["datasets"]
    scale, translation = dataset["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [STEPS[letter][0] for letter in axes]}
    assert translation == {"type": "translation", "translation": list(shift)}
    np.testing.assert_array_equal(group[dataset["path"]][:], labels_of(axes))
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.ome.zarr"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_our_reader_takes_the_finest_level(tmp_path: Path, version: Any) -> None:
    pytest.importorskip("zarr")
    write_ome_zarr(tmp_path / "a.zarr", labels_of("ZYX"), space_of("ZYX"), version=version, num_levels=2)
    with open_frames(tmp_path / "a.zarr", axis="z") as frames:
        np.testing.assert_array_equal(frames[2], labels_of("ZYX")[2])


def test_levels_take_every_second_pixel_and_say_so(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    labels = labels_of("ZYX")
    write_ome_zarr(tmp_path / "a.zarr", labels, space_of("ZYX"), num_levels=3)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    for level, dataset in enumerate(group.attrs["ome"]["multiscales"][0]["datasets"]):
        np.testing.assert_array_equal(group[dataset["path"]][:], labels[:, :: 2**level, :: 2**level])
        assert dataset["coordinateTransformations"][0]["scale"] == [2.0, 0.5 * 2**level, 0.25 * 2**level]


@pytest.mark.parametrize(("side", "levels"), [(512, 1), (513, 2), (1024, 2), (1025, 3)])
def test_the_coarsest_level_is_at_most_512_wide(tmp_path: Path, side: int, levels: int) -> None:
    zarr = pytest.importorskip("zarr")
    write_ome_zarr(tmp_path / "a.zarr", np.zeros((2, side), np.uint8), ImageSpace("YX"))
    assert len(list(zarr.open_group(str(tmp_path / "a.zarr"), mode="r").array_keys())) == levels


def test_planes_without_objects_take_no_files(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    labels = np.zeros((50, 8, 8), np.uint16)
    labels[7, 2, 2] = 3
    write_ome_zarr(tmp_path / "a.zarr", labels, ImageSpace("ZYX"))
    chunks = [path for path in (tmp_path / "a.zarr" / "0").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert len(chunks) == 1


def test_an_earlier_zarr_is_replaced_as_a_whole_but_nothing_else_is(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, np.ones((4, 8, 8), np.uint8), ImageSpace("ZYX"), num_levels=3, version="0.4")
    write_ome_zarr(path, np.ones((2, 8, 8), np.uint8), ImageSpace("ZYX"))
    assert list(zarr.open_group(str(path), mode="r").array_keys()) == ["0"]
    assert not (path / ".zgroup").exists()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds other things, such as 'notes\.txt'"):
        write_ome_zarr(path, np.ones((2, 8, 8), np.uint8), ImageSpace("ZYX"))
    assert (path / "notes.txt").read_text() == "mine" and (path / "0").is_dir()


@pytest.mark.parametrize("make", [label_tiff_steps, ome_zarr_steps, ctc_steps, tracks_csv_steps])
def test_every_export_goes_step_by_step_and_leaves_nothing_when_closed(tmp_path: Path, make: Any) -> None:
    pytest.importorskip("zarr")
    steps = make(tmp_path / "a.out", labels_of("TZYX"), ImageSpace("TZYX"))
    done, total = next(steps)
    assert (done, total % 6) == (1, 0)
    steps.close()
    assert list(tmp_path.iterdir()) == []
    assert list(make(tmp_path / "a.out", labels_of("TZYX"), ImageSpace("TZYX")))[-1] == (total, total)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.out"]


@pytest.mark.parametrize("write", [write_ome_zarr, write_label_tiff])
def test_stopping_an_export_leaves_what_was_there(tmp_path: Path, write: Any) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "a.tif"
    write(path, labels_of("ZYX"), ImageSpace("ZYX"))
    before = sorted(entry.relative_to(tmp_path) for entry in tmp_path.rglob("*"))

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, np.zeros((3, 6, 7), np.uint8), ImageSpace("ZYX"), progress=stop)
    assert sorted(entry.relative_to(tmp_path) for entry in tmp_path.rglob("*")) == before


def test_coco_has_an_image_for_each_plane_and_the_label_as_object(tmp_path: Path) -> None:
    labels = labels_of("TZYX")
    dataset = label_coco(labels, space_of("TZYX"))
    assert [image["file_name"] for image in dataset["images"]][:2] == ["t000_z000.png", "t000_z001.png"]
    assert len(dataset["images"]) == 6
    drawn = np.zeros_like(labels).reshape(-1, 6, 7)
    for one in dataset["annotations"]:
        drawn[one["image_id"] - 1][decode_rle(one["segmentation"])] = one["object_id"]
    np.testing.assert_array_equal(drawn.reshape(labels.shape), labels)
    write_label_coco(tmp_path / "a.json", labels, space_of("TZYX"))
    assert json.loads((tmp_path / "a.json").read_text()) == dataset


def test_coco_pictures_can_be_named() -> None:
    named = label_coco(labels_of("ZYX"), ImageSpace("ZYX"), file_names=lambda time, slice_: f"{slice_}.tif")
    assert [image["file_name"] for image in named["images"]] == ["0.tif", "1.tif", "2.tif"]
    assert label_coco(labels_of("YX"), ImageSpace("YX"))["images"][0]["file_name"] == "image.png"
