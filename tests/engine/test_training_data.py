"""Reading labelled folders and drawing clips from them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sam2_engine.errors import FramesError, ImageError
from sam2_engine.training.augment import AugmentSettings
from sam2_engine.training.data import (
    SampleMixture,
    Sequences,
    Stills,
    Synthetic,
    default_mixture,
    moving_picture,
    window_of_frames,
    with_passer_by,
)
from sam2_engine.training.folders import ArrayCache, LabelledFolder, MicroscopyFolder, PairedFolder, usable
from sam2_engine.training.scenes import Clip, Scene


def disks(frames: int = 1, height: int = 60, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Two bright disks that move two pixels a frame."""
    rows, columns = np.ogrid[:height, :width]
    labels = np.zeros((frames, height, width), dtype=np.uint16)
    for frame in range(frames):
        for obj, (row, column) in enumerate([(20, 15), (38, 50)], start=1):
            labels[frame][(rows - row) ** 2 + (columns - column - 2 * frame) ** 2 <= 100] = obj
    return (20 + 90 * labels).astype(np.uint8), labels


def entry(
    name: str, dims: str, shape: tuple[int, ...], subset: str, category: str, **more: object
) -> dict[str, object]:
    return {
        "name": name,
        "image": more.pop("image", f"{name}.tif"),
        "labels": f"{name}_labels.tif",
        "dims": dims,
        "shape": list(shape),
        "subset": subset,
        "category": category,
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A still, a colour still for development, a stack, a video of JPEG frames, and a stack without consistent ids."""
    image, labels = disks()
    tifffile.imwrite(tmp_path / "still.tif", image[0])
    tifffile.imwrite(tmp_path / "still_labels.tif", labels[0])
    tifffile.imwrite(tmp_path / "colour.tif", np.repeat(image[0][..., None], 3, axis=-1), photometric="rgb")
    tifffile.imwrite(tmp_path / "colour_labels.tif", labels[0])
    images, planes = disks(5)
    for name in ("stack", "loose"):
        tifffile.imwrite(tmp_path / f"{name}.tif", images.astype(np.uint16) * 100)
        tifffile.imwrite(tmp_path / f"{name}_labels.tif", planes)
    (tmp_path / "video").mkdir()
    for number, frame in enumerate(images):
        Image.fromarray(np.repeat(frame[..., None], 3, axis=-1)).save(tmp_path / "video" / f"{number:05d}.jpg")
    tifffile.imwrite(tmp_path / "video_labels.tif", planes)
    items = [
        entry("still", "YX", (60, 80), "train", "A"),
        entry("colour", "YXC", (60, 80, 3), "dev", "A"),
        entry("stack", "ZYX", (5, 60, 80), "train", "B", ids_consistent_over_planes=True),
        entry("loose", "ZYX", (5, 60, 80), "train", "B", ids_consistent_over_planes=False),
        entry("video", "TYXC", (5, 60, 80, 3), "train", "C", image="video/", ids_consistent_over_planes=True),
    ]
    (tmp_path / "index.json").write_text(json.dumps({"format": "…", "items": items}), encoding="utf-8")
    return tmp_path


def test_an_indexed_folder_gives_the_items_of_a_subset(folder: Path) -> None:
    assert [item.name for item in MicroscopyFolder(folder, "train").items] == ["still", "stack", "loose", "video"]
    assert [item.name for item in MicroscopyFolder(folder, "dev").items] == ["colour"]
    assert [item.name for item in MicroscopyFolder(folder, categories=["C"]).items] == ["video"]
    assert MicroscopyFolder(folder).categories == ("A", "B", "C")
    assert len(MicroscopyFolder(folder).only("B")) == 2


def test_every_kind_of_item_is_read(folder: Path) -> None:
    source = MicroscopyFolder(folder)
    shapes = {
        item.name: (clip.images.shape, clip.images.dtype) for item, clip in zip(source.items, source, strict=True)
    }
    assert shapes == {
        "still": ((1, 60, 80), np.uint8),
        "colour": ((1, 60, 80, 3), np.uint8),
        "stack": ((5, 60, 80), np.uint16),
        "loose": ((5, 60, 80), np.uint16),
        "video": ((5, 60, 80, 3), np.uint8),
    }


def test_frames_are_read_in_the_order_asked_for(folder: Path) -> None:
    source = MicroscopyFolder(folder)
    images, planes = disks(5)
    stack, video = source.items[2], source.items[4]
    clip = source.read(stack, [3, 0])
    np.testing.assert_array_equal(clip.images, images[[3, 0]] * np.uint16(100))
    np.testing.assert_array_equal(clip.labels, planes[[3, 0]])
    frames = source.read(video, [4, 1]).images[..., 0].astype(int)
    assert np.abs(frames - images[[4, 1]]).mean() < 3  # JPEG


def test_only_the_frames_asked_for_are_decoded(folder: Path) -> None:
    source = MicroscopyFolder(folder)
    for path in (folder / "video").glob("0000[0234].jpg"):
        path.write_bytes(b"broken")
    assert source.read(source.items[4], [1]).images.shape == (1, 60, 80, 3)
    with pytest.raises(FramesError, match=r"00002\.jpg"):
        source.read(source.items[4], [1, 2])


def test_the_cache_keeps_the_newest_arrays_within_its_limit() -> None:
    cache, reads = ArrayCache(2500), []

    def get(name: str) -> None:
        cache.get((Path(name), None), lambda: reads.append(name) or np.zeros(1000, np.uint8))

    for name in "abacab":  # c pushes out b, which is read again
        get(name)
    assert reads == ["a", "b", "c", "b"]
    assert cache.nbytes <= 2500


def test_what_is_read_cannot_be_changed_for_others(folder: Path) -> None:
    source = MicroscopyFolder(folder)
    first = source.read(source.items[0])
    if first.images.flags.writeable:
        first.images[:] = 0
    assert source.read(source.items[0]).images.any()


def test_sources_travel_to_other_processes(folder: Path) -> None:
    mixture = pickle.loads(pickle.dumps(default_mixture(MicroscopyFolder(folder, "train"))))
    assert mixture.sample_image(np.random.default_rng(0), 64).labels.shape == (64, 64)


@pytest.mark.parametrize("text", ["{", "[]", '{"items": 3}', '{"things": []}'])
def test_a_broken_index_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(FramesError, match=r"index|items"):
        MicroscopyFolder(tmp_path)


def test_a_missing_index_a_missing_key_and_an_empty_subset_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FramesError, match=r"index\.json"):
        MicroscopyFolder(tmp_path / "nowhere")
    with pytest.raises(FramesError, match="no items of subset 'test'"):
        MicroscopyFolder(folder, "test")
    (folder / "index.json").write_text('{"items": [{"image": "a.tif"}]}')
    with pytest.raises(FramesError, match="lacks"):
        MicroscopyFolder(folder)


def test_files_that_do_not_fit_or_cannot_be_read_are_named(folder: Path) -> None:
    source = MicroscopyFolder(folder)
    tifffile.imwrite(folder / "still_labels.tif", np.zeros((7, 7), np.uint16))
    with pytest.raises(FramesError, match="still: images"):
        source.read(source.items[0])
    (folder / "stack.tif").write_bytes(b"II*\0 nonsense")
    with pytest.raises(FramesError, match=r"stack\.tif cannot be read"):
        source.read(source.items[2])
    (folder / "colour.tif").unlink()
    with pytest.raises(FramesError, match=r"colour\.tif cannot be read"):
        source.read(source.items[1])


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    image, labels = disks()
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name in ("one.png", "two.jpg", "lonely.png"):
        Image.fromarray(image[0]).save(images / name)
    tifffile.imwrite(masks / "one_mask.tif", labels[0])
    Image.fromarray(((labels[0] > 0) * 255).astype(np.uint8)).save(masks / "two.png")
    stack, planes = disks(4)
    tifffile.imwrite(images / "zstack.tif", stack, photometric="minisblack")
    tifffile.imwrite(masks / "zstack_labels.tif", planes, photometric="minisblack")
    return images, masks


def test_pictures_are_paired_with_masks_by_name(pairs: tuple[Path, Path]) -> None:
    source = PairedFolder(*pairs)
    assert [(item.name, item.num_frames, item.is_tracked) for item in source.items] == [
        ("one", 1, False),
        ("two", 1, False),
        ("zstack", 4, True),
    ]
    np.testing.assert_array_equal(source.read(source.items[0]).labels, disks()[1])


def test_a_black_and_white_mask_is_split_into_objects(pairs: tuple[Path, Path]) -> None:
    source = PairedFolder(*pairs)
    labels = source.read(source.items[1]).labels
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(labels > 0, disks()[1] > 0)


def test_folders_without_pairs_are_refused(tmp_path: Path, pairs: tuple[Path, Path]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FramesError, match="no picture"):
        PairedFolder(pairs[0], tmp_path / "empty")
    with pytest.raises(FramesError, match="is no folder"):
        PairedFolder(pairs[0], tmp_path / "nowhere")


def test_pictures_of_any_kind_become_usable() -> None:
    assert usable(np.ones((4, 5), bool)).max() == 255
    assert usable(np.zeros((4, 5, 1), np.uint8)).shape == (4, 5)
    assert usable(np.zeros((4, 5, 4), np.uint8)).shape == (4, 5, 3)
    deep = usable(np.linspace(0, 60000, 60).reshape(4, 5, 3).astype(np.uint16))
    assert deep.dtype == np.uint8
    assert (deep.min(), deep.max()) == (0, 255)


@pytest.mark.parametrize("image", [np.zeros((2, 3, 4, 5)), np.zeros(7), np.full((4, 4), np.nan)])
def test_what_is_no_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError):
        usable(image)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_windows_are_regular_steps_inside_the_sequence(available: int, wanted: int, stride: int, seed: int) -> None:
    frames = window_of_frames(np.random.default_rng(seed), available, wanted, stride)
    assert len(frames) == wanted
    assert min(frames) >= 0
    assert max(frames) < available
    steps = np.diff(frames if frames[0] <= frames[-1] else frames[::-1])
    if wanted <= available:
        assert len(set(steps.tolist())) <= 1
        assert (steps <= stride).all()
        assert (steps >= 1).all()
    else:
        assert set(np.unique(frames)) == set(range(available))


@pytest.mark.parametrize("frames", [1, 3])
def test_every_source_gives_square_clips(folder: Path, frames: int) -> None:
    source = MicroscopyFolder(folder, "train")
    for clips in (Synthetic(), Stills(source), Sequences(source), default_mixture(source), default_mixture()):
        for seed in range(4):
            clip = clips.sample_clip(np.random.default_rng(seed), 48, frames)
            assert clip.labels.shape == (frames, 48, 48)
            assert clip.images.shape[:3] == (frames, 48, 48)
            assert clip.labels.dtype == np.int32


def test_the_same_generator_state_gives_the_same_clip(folder: Path) -> None:
    # each from a fresh reader: what is cached must not matter
    clips = [
        default_mixture(MicroscopyFolder(folder, "train"), synthetic=0.0).sample_clip(np.random.default_rng(3), 48, 3)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(clips[0].images, clips[1].images)
    np.testing.assert_array_equal(clips[0].labels, clips[1].labels)


def test_sequences_use_tracked_items_only(folder: Path) -> None:
    assert [item.name for item in Sequences(MicroscopyFolder(folder)).items] == ["stack", "video"]
    with pytest.raises(FramesError, match="no sequence"):
        Sequences(MicroscopyFolder(folder, categories=["A"]))
    with pytest.raises(FramesError, match="no labelled pictures"):
        Stills(LabelledFolder([]))


class Constant:
    """A source of one value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        labels = np.ones((num_frames, side, side), np.int32)
        return Clip(np.full(labels.shape, self.value, np.uint8), labels)


def test_a_mixture_draws_by_weight_for_stills_and_for_clips() -> None:
    mixture = SampleMixture((Constant(0), Constant(1)), (1, 3), (1, 0))
    rng = np.random.default_rng(0)
    stills = [mixture.sample_image(rng, 4).image[0, 0] for _ in range(400)]
    assert 0.68 < np.mean(stills) < 0.82
    assert all(mixture.sample_clip(rng, 4, 2).images.max() == 0 for _ in range(50))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
def test_weights_that_do_not_fit_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="2 sources need"):
        SampleMixture((Constant(0), Constant(1)), weights, (1.0, 1.0))


def test_the_default_mixture_gives_synthetic_scenes_their_share(folder: Path) -> None:
    mixture = default_mixture(MicroscopyFolder(folder, "train"), synthetic=0.25)
    for weights in (mixture.still_weights, mixture.clip_weights):
        assert sum(weights) == pytest.approx(1)
        assert weights[0] == 0.25


def one_disk() -> Scene:
    image, labels = disks()
    return Scene(image[0], labels[0].astype(np.int32))


def test_a_moving_picture_moves_smoothly() -> None:
    shares = []
    for seed in range(20):
        clip = moving_picture(one_disk(), np.random.default_rng(seed), 64, 4, AugmentSettings(whole=1))
        for before, after in zip(clip.labels[:-1], clip.labels[1:], strict=True):
            union = ((before == 1) | (after == 1)).sum()
            if union:
                shares.append(((before == 1) & (after == 1)).sum() / union)
    assert 0.5 < np.mean(shares) < 0.999


def test_a_passer_by_is_a_new_object_with_the_look_of_an_old_one() -> None:
    scene = one_disk()
    clip = Clip(np.repeat(scene.image[None], 4, axis=0), np.repeat(scene.labels[None], 4, axis=0))
    seen = 0
    for seed in range(20):
        passing = with_passer_by(clip, np.random.default_rng(seed), 1.0)
        assert set(np.unique(passing.labels)) <= {0, 1, 2, 3}
        visible = passing.labels == 3
        seen += bool(visible.any())
        if visible.sum() > 200:
            middle = np.median(passing.images[visible])
            assert min(abs(middle - 110), abs(middle - 200)) <= 1
    assert seen > 5
    np.testing.assert_array_equal(clip.images[0], scene.image)
