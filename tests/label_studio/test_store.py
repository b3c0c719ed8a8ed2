"""One model for the process, pictures fetched and decoded once, pages and masks as files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from ls_backend import ObjectLabel, parse_label_config, read_prompts, results_from_masks
from ls_backend.bitmaps import decode_bitmap, encode_bitmap
from ls_backend.keeping import Addresses, Recent
from ls_backend.settings import CacheSettings, Settings
from ls_backend.sources import Access
from ls_backend.store import Engine, Store
from sam2_engine.budget import Budget
from sam2_engine.deciding import FrameDecider
from sam2_engine.errors import FramesError, PromptError, WeightsUnavailableError
from sam2_engine.kept_features import model_key, open_features
from sam2_engine.model import Sam2, eight_bits
from sam2_engine.outputs import FrameMasks, ImageFeatures
from sam2_engine.tracking import Tracker
from sam2_engine.weights import find_weights
from tests.label_studio.answering_parts import FakeFetcher, Mask, answerer_for, disc, png, scene

NOBODY = Access()


@pytest.fixture
def fetcher() -> FakeFetcher:
    return FakeFetcher()


@pytest.fixture
def store(tracker: Tracker, fetcher: FakeFetcher) -> Store:
    return answerer_for(tracker, fetcher).store


class TestEngine:
    def test_the_model_is_loaded_once_and_only_when_needed(self, tracker: Tracker) -> None:
        loads: list[int] = []

        def load() -> Tracker:
            loads.append(1)
            return tracker

        engine = Engine(Settings(), load=load)
        assert engine.version.startswith("sam2-default-") and not engine.is_loaded and not loads
        assert engine.tracker is tracker and engine.tracker is tracker and engine.is_loaded
        assert loads == [1]

    def test_other_weights_are_another_version(self, tmp_path: Path) -> None:
        copy, other = tmp_path / "mine.safetensors", tmp_path / "sub" / "mine.safetensors"
        other.parent.mkdir()
        content = find_weights("default").read_bytes()
        copy.write_bytes(content)
        other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        versions = {Engine(Settings(model=str(path))).version for path in (copy, other)}
        assert len(versions) == 2 and all(version.startswith("sam2-mine-") for version in versions)

    def test_weights_that_are_not_here_are_pending(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nowhere(*_: Any, **__: Any) -> Path:
            raise WeightsUnavailableError("not here")

        monkeypatch.setattr("sam2_engine.weights.find_weights", nowhere)
        assert Engine(Settings(model="sam2.1_hiera_tiny")).version.endswith("-pending")

    def test_a_missing_model_file_is_a_named_error(self) -> None:
        with pytest.raises(WeightsUnavailableError, match="nowhere"):
            _ = Engine(Settings(model="nowhere/none.pt", device="cpu")).tracker

    def test_other_numbers_are_another_version(self) -> None:
        exact, quick = Engine(Settings()).version, Engine(Settings(precision="bf16")).version
        assert quick.replace("-bf16-", "-") == exact != quick

    def test_the_model_computes_in_the_numbers_that_are_set(self) -> None:
        engine = Engine(Settings(precision="bf16", device="cpu"))
        try:
            assert engine.tracker.placement.compute == torch.bfloat16
        finally:
            engine.close()

    @pytest.mark.skipif(
        not eight_bits.is_available(), reason="needs a processor with the instructions, and the kernels"
    )
    def test_the_encoder_is_rounded_to_8_bits_where_that_is_set(self) -> None:
        engine = Engine(Settings(precision="int8", device="cpu"))
        try:
            assert eight_bits.is_rounded(engine.tracker.model)
            assert engine.version != Engine(Settings(precision="bf16")).version
        finally:
            engine.close()

    def test_features_of_another_model_are_stored_elsewhere(self, tracker: Tracker, tmp_path: Path) -> None:
        settings = Settings(cache=CacheSettings(1 << 20, tmp_path))
        folder = Engine(settings, load=lambda: tracker).features.folder
        assert folder is not None and folder.model == model_key(tracker)


class TestOneFolderForAll:
    """What one program encoded is found by the other, with the same numbers to the bit."""

    @pytest.fixture
    def encoded(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        counts: list[int] = []
        original = Sam2.encode_image

        def counted(self: Sam2, pixels: torch.Tensor) -> Any:
            counts.append(len(pixels))
            return original(self, pixels)

        monkeypatch.setattr(Sam2, "encode_image", counted)
        return counts

    @staticmethod
    def in_label_studio(tracker: Tracker, folder: Path, url: str = "/f0.png") -> ImageFeatures:
        cache = CacheSettings(64 << 20, folder)
        store = answerer_for(tracker, cache=cache).store
        work = store.open([url], 0, NOBODY)
        work.walker.encode(0)
        found = store.engine.features.rows(work.pages.name(0), [None], _nobody)
        store.engine.close()
        return found

    @staticmethod
    def in_a_session(tracker: Tracker, folder: Path, frames: Any) -> ImageFeatures:
        shared = open_features(tracker, Budget(64, 64, folder / "features"))
        found = FrameDecider(frames, tracker, features=shared).encoded(0)
        shared.close()
        return found

    @pytest.mark.parametrize("first", ["Label Studio", "session"])
    def test_a_picture_is_encoded_once(self, tracker: Tracker, tmp_path: Path, encoded: list[int], first: str) -> None:
        ways = [
            lambda: self.in_label_studio(tracker, tmp_path),
            lambda: self.in_a_session(tracker, tmp_path, scene(0)[None]),
        ]
        one, other = [way() for way in (ways if first == "Label Studio" else reversed(ways))]
        assert encoded == [1]
        assert torch.equal(one.embedding, other.embedding)
        assert all(torch.equal(a, b) for a, b in zip(one.skips, other.skips, strict=True))

    def test_a_plane_of_a_napari_picture_is_the_same(
        self, tracker: Tracker, tmp_path: Path, encoded: list[int]
    ) -> None:
        from napari_sam2._picture import Picture

        volume = np.stack([scene(0), scene(1)])
        picture = Picture(volume, ("z", "y", "x"), 0, rgb=True)
        frames = picture.frames(picture.positions[0])
        self.in_a_session(tracker, tmp_path, frames)
        self.in_label_studio(tracker, tmp_path)
        assert encoded == [1]

    def test_rounded_files_are_not_taken_for_exact_ones(
        self, tracker: Tracker, tmp_path: Path, encoded: list[int]
    ) -> None:
        store = answerer_for(tracker, cache=CacheSettings(64 << 20, tmp_path, stored="bfloat16")).store
        store.open(["/f0.png"], 0, NOBODY).walker.encode(0)
        store.engine.close()
        self.in_a_session(tracker, tmp_path, scene(0)[None])
        assert encoded == [1, 1]


def _nobody(_: Any) -> ImageFeatures:
    raise AssertionError("it was to be found")


class TestStore:
    def test_equal_pictures_at_two_addresses_are_one(self, store: Store, fetcher: FakeFetcher) -> None:
        fetcher.files["/copy.png"] = png(scene(0))
        assert store.open(["/f0.png"], 0, NOBODY) is store.open(["/copy.png"], 0, NOBODY)
        assert fetcher.fetched == ["/f0.png", "/copy.png"]

    def test_pages_are_fetched_when_they_are_read(self, store: Store, fetcher: FakeFetcher) -> None:
        work = store.open(["/f0.png", "/f1.png", "/f2.png"], 1, NOBODY)
        assert fetcher.fetched == ["/f1.png"]
        np.testing.assert_array_equal(work.pages[2], scene(2))
        assert work.pages.size == (480, 640) and len(work.pages) == 3

    def test_black_and_white_are_the_same_whichever_page_came_first(self, tracker: Tracker) -> None:
        spans = []
        for page in (0, 2):
            work = answerer_for(tracker).store.open(["/f0.png", "/f1.png", "/f2.png"], page, NOBODY)
            spans.append(work.pages.span)
        assert spans[0] == spans[1]

    def test_a_page_that_is_not_there_is_a_named_error(self, store: Store) -> None:
        with pytest.raises(FramesError, match="0 to 1"):
            store.open(["/f0.png", "/f1.png"], 2, NOBODY)

    def test_the_newest_password_is_used_for_pages(self, tracker: Tracker) -> None:
        seen = []

        class Asking(FakeFetcher):
            def fetch(self, url: str, **asked: Any) -> Any:
                seen.append(asked["password"])
                return super().fetch(url)

        store = answerer_for(tracker, Asking()).store
        urls = ["/f0.png", "/f1.png"]
        store.open(urls, 0, Access("a", "old"))
        store.open(urls, 0, Access("a", "new")).pages[1]
        assert seen == ["old", "new"]
        assert "new" not in repr(Access("a", "new"))

    def test_what_failed_once_is_tried_again(self, store: Store, fetcher: FakeFetcher) -> None:
        fetcher.files["/f0.png"] = FramesError("gone")
        with pytest.raises(FramesError):
            store.open(["/f0.png"], 0, NOBODY)
        del fetcher.files["/f0.png"]
        assert store.open(["/f0.png"], 0, NOBODY).pages.size == (480, 640)


@pytest.mark.property
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60)), max_size=30), st.integers(0, 100))
def test_what_is_kept_is_bounded_and_the_newest_stays(puts: list[tuple[str, int]], max_bytes: int) -> None:
    recent: Recent[str, int] = Recent(max_bytes, lambda value: value, max_entries=4)
    for key, value in puts:
        kept = recent.put(key, value)
        assert recent.get(key) == kept
        assert len(recent) == 1 or (recent.nbytes <= max_bytes and len(recent) <= 4)


class TestBitmaps:
    config = parse_label_config(
        '<View><Image name="i" value="$i"/>'
        '<BitmaskLabels name="b" toName="i"><Label value="Cat"/></BitmaskLabels></View>'
    )

    @pytest.mark.property
    @given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=19)))
    def test_a_bitmask_region_reads_back_as_the_mask(self, mask: Mask) -> None:
        objects = {"a": ObjectLabel("i", "Cat")}
        found = results_from_masks(FrameMasks(0, {"a": mask}, {"a": 0.5}), objects, self.config)
        assert len(found) == mask.any()
        for one in read_prompts(found):
            assert one.target == ObjectLabel("i", "Cat") and one.steps[0].mask is not None
            np.testing.assert_array_equal(one.steps[0].mask, mask)

    def test_it_is_black_on_transparent_as_the_editor_draws(self) -> None:
        file = io.BytesIO(base64.b64decode(encode_bitmap(disc(20, 20, 9, 9, (40, 50))).split(",")[1]))
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGBA"))
        assert pixels[20, 20].tolist() == [0, 0, 0, 255] and pixels[0, 0, 3] == 0

    def test_a_picture_without_alpha_is_a_mask_where_it_is_not_black(self) -> None:
        mask = disc(20, 20, 9, 9, (40, 50))
        address = "data:image/png;base64," + base64.b64encode(png(mask.astype(np.uint8) * 255)).decode()
        np.testing.assert_array_equal(decode_bitmap(address, (40, 50)), mask)

    @pytest.mark.parametrize(
        "address",
        [
            None,
            7,
            "",
            "data:image/png;base64,",
            "data:image/png;base64,%%%",
            "data:image/png;base64,aGVsbG8=",
            "data:image/jpeg;base64,aGVsbG8=",
            "http://127.0.0.1/mask.png",
            encode_bitmap(np.ones((3, 4), bool)),
            encode_bitmap(np.ones((40, 50), bool))[:-30],
        ],
    )
    def test_what_is_no_bitmask_is_a_named_error(self, address: Any) -> None:
        with pytest.raises(PromptError):
            decode_bitmap(address, (40, 50))


class TestTagsBesideEachOther:
    config = parse_label_config("""<View><Image name="i" value="$i"/><Brush name="b" toName="i"/>
        <Polygon name="p" toName="i"/><Labels name="l" toName="i"><Label value="Cat"/></Labels>
        <RectangleLabels name="r" toName="i"><Label value="Dog"/></RectangleLabels>
        <Video name="v" value="$film"/></View>""")

    def test_the_tag_that_draws_is_chosen_by_what_is_named_beside_it(self) -> None:
        assert self.config.output("i", "Cat").name == "b"
        assert self.config.output("i", "Dog").name == "r"
        assert self.config.output("i", "Cat", "polygon").name == "p"

    def test_labels_and_videos_are_read(self) -> None:
        assert self.config.labels("i") == ("Cat", "Dog")
        assert [(video.name, video.data_key) for video in self.config.videos] == [("v", "film")]

    def test_a_label_that_nobody_offers_is_left_out(self) -> None:
        found = FrameMasks(0, {"a": disc(5, 5, 3, 3, (10, 10))}, {})
        (drawn,) = results_from_masks(found, {"a": ObjectLabel("i", "Emu")}, self.config)
        assert drawn["type"] == "brush" and set(drawn["value"]) == {"format", "rle"}

    def test_regions_of_two_results_read_back_as_one(self) -> None:
        found = FrameMasks(0, {"a": disc(5, 5, 3, 3, (10, 10))}, {"a": 0.5})
        (one,) = read_prompts(results_from_masks(found, {"a": ObjectLabel("i", "Cat")}, self.config))
        assert one.target == ObjectLabel("i", "Cat")


def test_an_address_is_known_for_a_while_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ls_backend.keeping.time.monotonic", lambda: now)
    addresses = Addresses(life_s=20, max_entries=2)
    assert addresses.digest("a") is None
    for url in "abc":
        addresses.note(url, f"content of {url}")
    assert [addresses.digest(url) for url in "abc"] == [None, "content of b", "content of c"]
    addresses.note("b", "something else")
    assert addresses.digest("b") == "something else"
    now += 20
    assert addresses.digest("b") is None
