"""Sizes, places and intensities of objects whose values are known."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError
from sam2_engine.export import (
    ImageSpace,
    label_features,
    measure_labels,
    track_points,
    track_table,
    write_measurements,
    write_tracks_csv,
)

SPACE = ImageSpace("ZYX", (2.0, 0.5, 0.5), ("micrometer",) * 3, (10.0, 0.0, 100.0))


def stack() -> tuple[NDArray[Any], NDArray[Any]]:
    """Object 3: 2 × 4 pixels on planes 1 and 2; object 70000: one pixel on plane 2. Intensities are 100 z + x."""
    labels = np.zeros((4, 6, 8), np.uint32)
    labels[1:3, 2:4, 3:7] = 3
    labels[2, 5, 0] = 70_000
    z, _, x = np.indices(labels.shape)
    return labels, (100 * z + x).astype(np.uint16)


def column(table: Any, name: str) -> list[Any]:
    return list(table[name].tolist())


def test_planes_have_areas_places_and_intensities() -> None:
    labels, image = stack()
    planes = measure_labels(labels, SPACE, image).planes
    assert column(planes, "label") == [3, 3, 70_000]
    assert column(planes, "z") == [1, 2, 2]
    assert column(planes, "z_um") == [12.0, 14.0, 14.0]
    assert column(planes, "area_px") == [8, 8, 1]
    assert column(planes, "area_um2") == [2.0, 2.0, 0.25]
    assert column(planes, "y_px") == [2.5, 2.5, 5.0]
    assert column(planes, "x_px") == [4.5, 4.5, 0.0]
    assert column(planes, "x_um") == [102.25, 102.25, 100.0]
    assert column(planes, "mean") == [104.5, 204.5, 200.0]
    assert column(planes, "min") == [103.0, 203.0, 200.0]
    assert column(planes, "max") == [106.0, 206.0, 200.0]


def test_whole_objects_have_volumes() -> None:
    labels, image = stack()
    measured = measure_labels(labels, SPACE, image)
    for table in (measured.objects, measured.volumes):
        assert column(table, "label") == [3, 70_000]
        assert column(table, "volume_px") == [16, 1]
        assert column(table, "volume_um3") == [8.0, 0.5]
        assert column(table, "z_px") == [1.5, 2.0]
        assert column(table, "z_um") == [13.0, 14.0]
        assert column(table, "mean") == [154.5, 200.0]
        assert column(table, "min") == [103.0, 200.0]
        assert column(table, "max") == [206.0, 200.0]
        assert "t" not in table and "num_t" not in table


def test_channels_have_columns_each() -> None:
    labels, image = stack()
    both = np.stack((image, 2 * image), axis=1)
    table = measure_labels(labels, SPACE, both, channel_axis=1, channel_names=("dapi", "gfp")).objects
    assert column(table, "mean_dapi") == [154.5, 200.0]
    assert column(table, "mean_gfp") == [309.0, 400.0]
    assert column(table, "max_gfp") == [412.0, 400.0]
    assert "mean_c1" in measure_labels(labels, SPACE, np.moveaxis(both, 1, -1), channel_axis=-1).objects


def test_without_an_image_there_are_shapes_only() -> None:
    table = measure_labels(stack()[0], SPACE).planes
    assert list(table) == ["label", "z", "z_um", "area_px", "area_um2", "y_px", "x_px", "y_um", "x_um"]


def test_plain_pixels_get_no_second_columns() -> None:
    table = measure_labels(stack()[0], ImageSpace("ZYX")).objects
    assert list(table) == ["label", "volume_px", "z_px", "y_px", "x_px"]


def test_a_scale_without_a_unit_is_called_scaled() -> None:
    table = measure_labels(stack()[0], ImageSpace("ZYX", (3.0, 1.0, 1.0))).objects
    assert column(table, "volume_scaled") == [48.0, 3.0]
    assert column(table, "z_scaled") == [4.5, 6.0]
    assert "y_scaled" not in table


def test_time_lapses_of_stacks_have_all_three_tables() -> None:
    labels = np.zeros((3, 2, 5, 5), np.uint8)
    labels[0, 0, 0, 0] = 1
    labels[2, :, 1, 1:3] = 1
    labels[1, 1, 4, 4] = 2
    space = ImageSpace("TZYX", (60.0, 1.0, 1.0, 1.0), ("second", "pixel", "pixel", "pixel"))
    measured = measure_labels(labels, space, labels)
    assert column(measured.planes, "t") == [0, 1, 2, 2]
    assert column(measured.volumes, "label") == [1, 1, 2]
    assert column(measured.volumes, "t") == [0, 2, 1]
    assert column(measured.volumes, "time_s") == [0.0, 120.0, 60.0]
    assert column(measured.volumes, "volume_px") == [1, 4, 1]
    objects = measured.objects
    assert [column(objects, name) for name in ("first_t", "last_t", "num_t")] == [[0, 1], [2, 1], [2, 1]]
    assert column(objects, "volume_px") == [2.5, 1.0], "the mean over time points"


def test_nothing_to_measure_gives_empty_tables() -> None:
    measured = measure_labels(np.zeros((2, 5, 5), np.uint8), ImageSpace("TYX"), np.zeros((2, 5, 5)))
    assert len(measured.planes["label"]) == len(measured.objects["mean"]) == 0
    assert track_points(measured).shape == (0, 4)


def test_axes_in_any_order_give_the_same(tmp_path: Path) -> None:
    labels, image = stack()
    turned = ImageSpace("XYZ", SPACE.scale[::-1], SPACE.units, SPACE.translate[::-1])
    there, here = measure_labels(labels.T, turned, image.T), measure_labels(labels, SPACE, image)
    assert {name: column(there.planes, name) for name in here.planes} == {
        name: column(here.planes, name) for name in here.planes
    }


def test_an_image_of_another_size_is_refused() -> None:
    labels, image = stack()
    with pytest.raises(ShapeError, match=r"labels have 4 planes of \(6, 8\), the image has 3 of \(6, 8\)"):
        measure_labels(labels, SPACE, image[1:])
    with pytest.raises(ShapeError, match="the image has 1 channels, got the names"):
        measure_labels(labels, SPACE, image, channel_names=("a", "b"))


def test_values_agree_with_a_plain_count() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.integers(0, 6, (3, 20, 21)) * (rng.random((3, 20, 21)) < 0.5)).astype(np.uint16)
    image = rng.random((3, 20, 21)).astype(np.float32)
    table = measure_labels(labels, ImageSpace("ZYX"), image).objects
    for row, label in enumerate(table["label"].tolist()):
        inside = labels == label
        assert table["volume_px"][row] == inside.sum()
        expected = [float(index.mean()) for index in np.nonzero(inside)]
        assert [table[f"{axis}_px"][row] for axis in "zyx"] == pytest.approx(expected)
        assert table["mean"][row] == pytest.approx(image[inside].mean(dtype=np.float64))
        assert (table["min"][row], table["max"][row]) == (image[inside].min(), image[inside].max())


def test_features_of_a_labels_layer_name_the_label_index() -> None:
    features = label_features(measure_labels(stack()[0], SPACE))
    assert features["index"].tolist() == [3, 70_000]
    assert "label" not in features


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_written_side_by_side(tmp_path: Path) -> None:
    labels, image = stack()
    files = write_measurements(tmp_path / "m.csv", measure_labels(labels, SPACE, image))
    assert [file.name for file in files] == ["m.csv", "m_objects.csv"]
    assert [row["area_um2"] for row in rows(files[0])] == ["2", "2", "0.25"]
    assert [row["volume_um3"] for row in rows(files[1])] == ["8", "0.5"]
    over_time = measure_labels(labels[None], ImageSpace("TZYX"))
    names = [file.name for file in write_measurements(tmp_path / "n.csv", over_time)]
    assert names == ["n.csv", "n_volumes.csv", "n_objects.csv"]


def test_tracks_are_sorted_by_object_and_time_with_their_parents(tmp_path: Path) -> None:
    labels = np.zeros((3, 5, 6), np.uint8)
    labels[0, 1, 1:4] = 9
    labels[1:, 1, 1] = 2
    labels[1:, 1, 3] = 4
    space = ImageSpace("TYX", (5.0, 0.5, 0.5), ("minute", "micrometer", "micrometer"))
    measured = measure_labels(labels, space)
    expected = [[2, 1, 1, 1], [2, 2, 1, 1], [4, 1, 1, 3], [4, 2, 1, 3], [9, 0, 1, 2]]
    assert track_points(measured).tolist() == expected
    table = track_table(measured, {2: 9, 4: 9})
    assert column(table, "parent_id") == [9, 9, 9, 9, 0]
    write_tracks_csv(tmp_path / "t.csv", labels, space, {2: 9, 4: 9})
    first = rows(tmp_path / "t.csv")[0]
    assert first == {
        "track_id": "2",
        "parent_id": "9",
        "t": "1",
        "time_min": "5",
        "area_px": "1",
        "area_um2": "0.25",
        "y_px": "1",
        "x_px": "1",
        "y_um": "0.5",
        "x_um": "0.5",
    }


def test_tracks_in_stacks_have_a_depth_and_need_time() -> None:
    labels = np.zeros((2, 3, 5, 6), np.uint8)
    labels[:, 2, 1, 1] = 1
    assert track_points(measure_labels(labels, ImageSpace("TZYX"))).tolist() == [[1, 0, 2, 1, 1], [1, 1, 2, 1, 1]]
    for function in (track_points, track_table):
        with pytest.raises(ShapeError, match="tracks need time points"):
            function(measure_labels(labels[0], ImageSpace("ZYX")))
