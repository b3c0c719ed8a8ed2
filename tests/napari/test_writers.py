"""Labels layers to files, as napari's File menu writes them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_sam2 import _writers as writers
from sam2_engine.training.readers.ctc import read_lineage

META: dict[str, Any] = {
    "name": "cells",
    "axis_labels": ("t", "y", "x"),
    "scale": np.array([60.0, 0.5, 0.5]),
    "translate": np.array([0.0, 0.0, 10.0]),
    "units": ("second", "micrometer", "micrometer"),
    "metadata": {"parents": {2: 1, 3: 1}},
}


def labels() -> NDArray[np.uint16]:
    """Object 1 divides into 2 and 3 at time 2."""
    planes = np.zeros((4, 8, 10), np.uint16)
    planes[:2, 2:4, 2:8] = 1
    planes[2:, 2:4, 2:4] = 2
    planes[2:, 2:4, 6:8] = 3
    return planes


def rows(path: str | Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tiffs_have_the_axes_of_the_layer(tmp_path: Path) -> None:
    (path,) = writers.write_label_tiff(str(tmp_path / "a.ome.tif"), labels(), META)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "TYX"
        np.testing.assert_array_equal(file.series[0].asarray(), labels())
        assert 'TimeIncrement="60.0"' in file.ome_metadata


def test_zarrs_have_scale_and_translation(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    (path,) = writers.write_ome_zarr(str(tmp_path / "a.zarr"), labels(), META)
    group = zarr.open_group(path, mode="r")
    (dataset,) = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert [one.get("scale", one.get("translation")) for one in dataset["coordinateTransformations"]] == [
        [60.0, 0.5, 0.5],
        [0.0, 0.0, 10.0],
    ]
    np.testing.assert_array_equal(group["0"][:], labels())


def test_divisions_in_the_metadata_reach_the_tracking_formats(tmp_path: Path) -> None:
    (folder,) = writers.write_ctc(str(tmp_path / "01_RES"), labels(), META)
    assert [(row.label, row.parent) for row in read_lineage(Path(folder, "res_track.txt"))] == [(1, 0), (2, 1), (3, 1)]
    (path,) = writers.write_tracks(str(tmp_path / "tracks.csv"), labels(), META)
    assert [row["parent_id"] for row in rows(path)] == ["0", "0", "1", "1", "1", "1"]


def test_measurements_take_intensities_of_an_image_saved_along(tmp_path: Path) -> None:
    image = labels() * 10
    layers: list[Any] = [(image, {"rgb": False}, "image"), (labels(), META, "labels")]
    files = writers.write_measurements(str(tmp_path / "m.csv"), layers)
    assert [Path(file).name for file in files] == ["m.csv", "m_objects.csv"]
    assert {(row["label"], row["mean"]) for row in rows(files[0])} == {("1", "10"), ("2", "20"), ("3", "30")}
    alone = writers.write_measurements(str(tmp_path / "n.csv"), layers[1:])
    assert "mean" not in rows(alone[0])[0]


def test_coco_names_planes_by_time(tmp_path: Path) -> None:
    (path,) = writers.write_coco(str(tmp_path / "a.json"), labels(), META)
    assert '"file_name": "t003.png"' in Path(path).read_text()


def test_of_multiscale_labels_the_finest_level_is_written(tmp_path: Path) -> None:
    writers.write_label_tiff(str(tmp_path / "a.tif"), [labels(), labels()[:, ::2, ::2]], META)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels())


def test_layers_without_names_of_axes_are_stacks(tmp_path: Path) -> None:
    space = writers.space_of_layer(labels(), {"scale": (2.0, 1.0, 1.0)})
    assert space.axes == "ZYX" and space.scale == (2.0, 1.0, 1.0)
