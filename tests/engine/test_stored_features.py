"""Features that many sequences share: in memory, on disk, damaged, bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_engine import stored_features
from sam2_engine.features import FeatureCache
from sam2_engine.geometry import Window
from sam2_engine.outputs import ImageFeatures
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.stored_features import FeatureFolder, SharedFeatures
from sam2_engine.tracking import Tracker
from sam2_engine.walking import Walker

WINDOWS = [None, *(Window(x, 0, 8, 8) for x in range(4))]


def features(*values: float) -> ImageFeatures:
    planes = torch.stack([torch.full((2, 4, 4), value) for value in values])
    return ImageFeatures(planes, (planes * 2, planes * 3))


def encoder(name: str, calls: list[int] | None = None) -> Callable[[Sequence[Window | None]], ImageFeatures]:
    """Gives features that tell which window of which picture they are of; not exact in sixteen bits."""

    def encode(windows: Sequence[Window | None]) -> ImageFeatures:
        if calls is not None:
            calls.append(len(windows))
        return features(*(ord(name) + WINDOWS.index(window) / 7 for window in windows))

    return encode


def equal(one: ImageFeatures, other: ImageFeatures) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip((one.embedding, *one.skips), (other.embedding, *other.skips), strict=True)
    )


@pytest.mark.property
@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=4)), max_size=8),
    st.integers(0, 4000),
)
def test_rows_are_those_of_a_cache_of_ones_own(asked: list[tuple[str, list[Window | None]]], max_bytes: int) -> None:
    shared, own = SharedFeatures(max_bytes), FeatureCache(1 << 20)
    for name, windows in asked:
        assert equal(shared.rows(name, windows, encoder(name)), own.rows(name, windows, encoder(name)))
        assert shared.nbytes <= max_bytes


def test_the_least_recently_used_goes_first() -> None:
    shared = SharedFeatures(2 * features(0.0).nbytes)
    for name in "abac":
        shared.rows(name, [None], encoder(name))
    calls: list[int] = []
    shared.rows("a", [None], encoder("a", calls))
    assert calls == [] and (shared.hits, shared.misses, len(shared)) == (2, 3, 2)


def test_several_threads_get_what_is_theirs() -> None:
    shared, wrong = SharedFeatures(3 * features(0.0).nbytes), []

    def work(name: str) -> None:
        for index in range(60):
            windows = [WINDOWS[index % 5], WINDOWS[(index * 3) % 5]]
            if not equal(shared.rows(name, windows, encoder(name)), encoder(name)(windows)):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("window", ["whole", "auto"])
def test_walkers_that_share_features_find_the_same(clip, tracker: Tracker, window) -> None:
    shared = SharedFeatures(1 << 24)
    said = [Prompts((Click(12, 10),), Box(5, 3, 20, 18))]
    for _ in range(2):
        walker = Walker(clip, tracker, window=window, features=shared.of(lambda frame: f"clip {frame}"))
        assert walker.answer(0, said) == Walker(clip, tracker, window=window).answer(0, said)
    assert shared.hits > 0


class TestFolder:
    def shared(self, path: Path, model: str = "m", max_bytes: int = 1 << 20) -> SharedFeatures:
        return SharedFeatures(1 << 20, FeatureFolder(path, max_bytes, model))

    def files(self, path: Path) -> list[Path]:
        return sorted(path.rglob("*.safetensors"))

    def test_what_comes_from_disk_is_what_came_fresh_to_the_bit(self, tmp_path: Path) -> None:
        first = self.shared(tmp_path)
        fresh = first.rows("a", WINDOWS, encoder("a"))
        kept = first.rows("a", WINDOWS, encoder("a"))
        first.close()
        second, calls = self.shared(tmp_path), []
        stored = second.rows("a", WINDOWS, encoder("a", calls))
        assert equal(fresh, kept) and equal(fresh, stored) and calls == []
        assert fresh.embedding.dtype == torch.float32 and second.hits_on_disk == len(WINDOWS)

    def test_files_tell_pictures_windows_and_models_apart(self, tmp_path: Path) -> None:
        for model in "mn":
            shared = self.shared(tmp_path, model)
            for name in "ab":
                shared.rows(name, WINDOWS[:3], encoder(name))
            shared.close()
        assert len(self.files(tmp_path)) == 12

    @pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
    def test_damaged_files_are_made_again(self, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
        first = self.shared(tmp_path)
        fresh = first.rows("a", [None], encoder("a"))
        first.close()
        (file,) = self.files(tmp_path)
        content = bytearray(file.read_bytes())
        if damage == "flipped":
            content[-3] ^= 64
        changed = {"cut": content[:-5], "empty": b"", "flipped": content, "other": b"\x00" * 64}[damage]
        file.write_bytes(bytes(changed))
        second, calls = self.shared(tmp_path), []
        assert equal(second.rows("a", [None], encoder("a", calls)), fresh)
        assert calls == [1] and "made again" in caplog.text
        second.close()
        third = self.shared(tmp_path)
        third.rows("a", [None], encoder("a", calls))
        assert calls == [1]
        third.close()

    def test_where_nothing_can_be_written_it_goes_on_without(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        shared = self.shared(tmp_path / "file" / "below")
        fresh = shared.rows("a", [None], encoder("a"))
        shared.close()
        assert shared.folder is not None and not shared.folder.is_writable
        assert "no longer stored" in caplog.text
        assert equal(shared.rows("a", [None], encoder("a")), fresh)

    def test_what_is_there_is_read_also_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        first = self.shared(tmp_path)
        first.rows("a", [None], encoder("a"))
        first.close()
        second, calls = self.shared(tmp_path), []
        assert second.folder is not None
        second.folder.is_writable = False
        second.rows("a", [None], encoder("a", calls))
        second.rows("b", [None], encoder("b", calls))
        second.close()
        assert calls == [1] and len(self.files(tmp_path)) == 1

    def test_the_folder_keeps_to_its_bytes_and_drops_what_was_used_longest_ago(self, tmp_path: Path) -> None:
        first = self.shared(tmp_path)
        first.rows("a", [None], encoder("a"))
        first.close()
        (oldest,) = self.files(tmp_path)
        size = oldest.stat().st_size
        os.utime(oldest, (1, 1))
        second = self.shared(tmp_path, max_bytes=4 * size)
        for name in "bcdefgh":
            second.rows(name, [None], encoder(name))
        second.close()
        files = self.files(tmp_path)
        assert oldest not in files and 1 <= len(files) <= 4
        assert sum(file.stat().st_size for file in files) <= 4 * size

    def test_foreign_files_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "ab").mkdir()
        foreign = tmp_path / "ab" / "notes.safetensors"
        foreign.write_bytes(b"x" * 5000)
        shared = self.shared(tmp_path, max_bytes=1000)
        shared.rows("a", [None], encoder("a"))
        shared.close()
        assert foreign.exists()

    def test_what_a_killed_process_left_half_written_is_cleared_away(self, tmp_path: Path) -> None:
        (tmp_path / "ab").mkdir()
        old, young = tmp_path / "ab" / ".1.part.safetensors", tmp_path / "ab" / ".2.part.safetensors"
        for half in (old, young):
            half.write_bytes(b"x" * 100)
        os.utime(old, (1, 1))
        shared = self.shared(tmp_path, max_bytes=700)
        shared.rows("a", [None], encoder("a"))
        shared.rows("b", [None], encoder("b"))
        shared.close()
        assert not old.exists() and young.exists()

    def test_two_processes_can_share_it(self, tmp_path: Path) -> None:
        one, other, calls = self.shared(tmp_path), self.shared(tmp_path), []
        one.rows("a", [None], encoder("a"))
        one.close()
        other.rows("a", [None], encoder("a", calls))
        other.rows("b", [None], encoder("b"))
        other.close()
        assert calls == [] and len(self.files(tmp_path)) == 2

    def test_a_model_answers_alike_with_and_without_what_was_stored(
        self, clip: np.ndarray, tracker: Tracker, tmp_path: Path
    ) -> None:
        said, found = [Prompts((Click(12, 10),))], []
        for _ in range(2):
            shared = self.shared(tmp_path)
            walker = Walker(clip, tracker, window="auto", features=shared.of(lambda frame: f"clip {frame}"))
            found.append(walker.answer(0, said))
            shared.close()
        assert found[0] == found[1] and shared.misses == 0

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_exact_files_hold_what_was_computed_to_the_bit(self, tmp_path: Path, dtype: torch.dtype) -> None:
        def encode(windows: Sequence[Window | None]) -> ImageFeatures:
            fine = encoder("a")(windows)
            return ImageFeatures(fine.embedding.to(dtype), (fine.skips[0].to(dtype), fine.skips[1].to(dtype)))

        for _ in range(2):
            shared = SharedFeatures(1 << 20, FeatureFolder(tmp_path, 1 << 20, "m", stored=None))
            found = shared.rows("a", WINDOWS, encode)
            shared.close()
            assert equal(found, encode(WINDOWS)) and found.embedding.dtype == dtype
        assert shared.hits_on_disk == len(WINDOWS)

    def test_exact_files_are_not_taken_for_rounded_ones(self, tmp_path: Path) -> None:
        for stored in (None, torch.bfloat16):
            shared = SharedFeatures(1 << 20, FeatureFolder(tmp_path, 1 << 20, "m", stored=stored))
            shared.rows("a", [None], encoder("a"))
            shared.close()
            assert shared.misses == 1

    def test_a_run_through_more_than_there_is_room_for_finds_its_beginning_again(self, tmp_path: Path) -> None:
        names = "abcdefgh"
        self.shared(tmp_path).rows("x", [None], encoder("x"))

        def run() -> int:
            folder = FeatureFolder(tmp_path, 4 * size, "m", keeps_own=True)
            shared = SharedFeatures(0, folder)
            for name in names:
                shared.rows(name, [None], encoder(name))
            shared.close()
            assert sum(file.stat().st_size for file in self.files(tmp_path)) <= 4 * size
            return shared.hits_on_disk

        first = self.shared(tmp_path)
        first.rows("y", [None], encoder("y"))
        first.close()
        size = self.files(tmp_path)[0].stat().st_size
        for file in self.files(tmp_path):
            os.utime(file, (1, 1))  # of an earlier run, and so the first to go
        assert run() == 0
        assert run() >= 3

    def test_who_writes_faster_than_the_disk_waits_for_it(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(stored_features, "MAX_WAITING_BYTES", 1)
        monkeypatch.setattr(stored_features, "_place", lambda *_: time.sleep(0.05))
        patient, hasty = (FeatureFolder(tmp_path, 1 << 20, "m", patience_s=wait) for wait in (5.0, 0.0))
        for folder, least in ((patient, 0.2), (hasty, 0.0)):
            started = time.perf_counter()
            for name in "abcdef":
                folder.write(name, None, features(1.0))
            assert least <= time.perf_counter() - started < least + 0.3
            folder.close()

    def test_a_thread_that_has_ended_is_followed_by_another(self, tmp_path: Path) -> None:
        shared = self.shared(tmp_path)
        for name in "ab":
            shared.rows(name, [None], encoder(name))
            shared.close()
        assert len(self.files(tmp_path)) == 2

    def test_a_process_that_was_killed_has_left_what_it_had_finished(self, tmp_path: Path) -> None:
        code = """
import os, sys, torch
from sam2_engine.outputs import ImageFeatures
from sam2_engine.stored_features import FeatureFolder, SharedFeatures
shared = SharedFeatures(0, FeatureFolder(sys.argv[1], 1 << 30, "m", stored=None))
for number in range(10**6):
    plane = torch.full((1, 2, 64, 64), float(number))
    shared.rows(str(number), [None], lambda windows: ImageFeatures(plane, (plane + 1, plane + 2)))
"""
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        while len(self.files(tmp_path)) < 10:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        again, found = SharedFeatures(0, FeatureFolder(tmp_path, 1 << 30, "m", stored=None)), 0
        for number in range(1000):
            whole = torch.full((1, 2, 64, 64), float(number))
            plane = again.rows(str(number), [None], lambda _, whole=whole: ImageFeatures(whole, (whole + 1, whole + 2)))
            assert torch.equal(plane.embedding, whole)
            found = again.hits_on_disk
        again.close()
        assert found >= 10

    def test_what_waits_is_written_at_the_end_of_the_process(self, tmp_path: Path) -> None:
        code = """
import sys, torch
from sam2_engine.outputs import ImageFeatures
from sam2_engine.stored_features import FeatureFolder
folder, plane = FeatureFolder(sys.argv[1], 1 << 30, "m"), torch.zeros(1, 2, 64, 64)
for number in range(40):
    folder.write(str(number), None, ImageFeatures(plane, (plane + 1, plane + 2)))
"""
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
        assert len(self.files(tmp_path)) == 40


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_at_rest_are_a_copy_in_one_block(dtype: torch.dtype) -> None:
    given = [torch.randn(1, 3, size, size + 1).to(dtype).transpose(2, 3) for size in (2, 8, 4)]
    kept = stored_features.at_rest(ImageFeatures(given[0], (given[1], given[2])), torch.device("cpu"))
    levels = (kept.embedding, *kept.skips)
    assert all(torch.equal(level, one) and level.is_contiguous() for level, one in zip(levels, given, strict=True))
    assert len({level.untyped_storage().data_ptr() for level in levels}) == 1
    given[0].zero_()
    assert kept.embedding.any()
