"""Fine-tuning on a few masks: who teaches and who judges, what learns, when it ends, what is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2_engine.config import MODELS
from sam2_engine.errors import FramesError
from sam2_engine.evaluation.held_back import judged_pictures, measure_quality
from sam2_engine.model import Sam2
from sam2_engine.training.examples import Example, find_examples, frames_of, split_examples, thinned
from sam2_engine.training.finetune import (
    FinetuneConfig,
    Progress,
    Tuning,
    load_tuning,
    save_tuning,
    start_tuning,
    tune,
    tuned_model,
)
from sam2_engine.training.lora import add_lora, merge_lora
from sam2_engine.training.quality import Quality
from sam2_engine.training.readers import Item
from sam2_engine.training.scenes import Clip
from sam2_engine.training.tuning_steps import learning_rate
from sam2_engine.training.views import EncodedViews, Views, batch_of

CONFIG = FinetuneConfig(steps=6, batch=2, checks=2, views=8, seed=3)


class Discs:
    """Pictures, or one sequence, with three bright discs each."""

    categories = ("discs",)

    def __init__(self, pictures: int = 4, *, frames: int = 1) -> None:
        path = Path("discs")
        self.items = tuple(Item(f"d{n}", path, path, frames, frames > 1, "discs") for n in range(pictures))

    def __len__(self) -> int:
        return len(self.items)

    def only(self, *_: str) -> Discs:
        return self

    def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
        number = self.items.index(item)
        chosen = range(item.num_frames) if frames is None else frames
        rows, columns = np.indices((64, 72))
        labels = np.zeros((len(chosen), 64, 72), dtype=np.int32)
        for plane, frame in zip(labels, chosen, strict=True):
            for obj, (y, x, radius) in enumerate(((14, 16, 8), (44, 20, 10), (30, 54, 9)), start=1):
                plane[(rows - y - number) ** 2 + (columns - x - frame) ** 2 < radius**2] = obj
        waves = 12 * np.sin(rows / 3) * np.cos(columns / 4)
        return Clip((60 + waves + 110 * (labels > 0)).astype(np.uint8), labels)


@pytest.fixture(scope="module")
def windowed() -> Sam2:
    """Random weights of a model that looks through windows."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Sam2(replace(MODELS["nano"].at_side(64), object_windows=True)).eval()


def begun(model: Sam2, config: FinetuneConfig = CONFIG, folder: Discs | None = None) -> tuple[Tuning, Views]:
    folder = folder or Discs()
    tuning = start_tuning(copy.deepcopy(model), config)
    return tuning, Views(folder, find_examples(folder, config.seed), tuning.model, config.seed)


def growing(already: int = 0) -> Callable[[Sam2], Quality]:
    """A measure that finds every model better than the one before, and was asked so many times already."""
    calls: list[None] = [None] * already

    def measure(_: Sam2) -> Quality:
        calls.append(None)
        return Quality([[0.5 + 0.01 * len(calls)] * 3])

    return measure


def state(model: Sam2) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


# ------------------------------------------------------------------------------------------- who teaches, who judges


def test_every_object_is_an_example_and_in_sequences_one_for_all_frames() -> None:
    assert len(find_examples(Discs(2), 1)) == 6
    tracked = find_examples(Discs(1, frames=3), 1)
    assert [example.frames for example in tracked] == [(0, 1, 2)] * 3
    assert tracked[0].middle[0] < tracked[2].middle[0]
    clip = frames_of(Discs(1, frames=3), tracked[1], [2])
    assert set(np.unique(clip.labels)) == {0, 2}


def test_specks_and_backgrounds_are_no_examples() -> None:
    class Odd(Discs):
        def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
            labels = np.ones((1, 40, 40), dtype=np.int32)
            labels[0, :3, :3], labels[0, 30:, 30:] = 2, 3
            return Clip(np.zeros((1, 40, 40), np.uint8), labels)

    assert [example.obj for example in find_examples(Odd(1), 1)] == [3]


def test_pictures_are_read_until_there_are_enough_objects() -> None:
    assert len({example.item for example in find_examples(Discs(9), 1, limit=6)}) == 2
    assert len(find_examples(Discs(4), 1, most=2)) == 8


def test_several_pictures_are_never_in_both_parts() -> None:
    split = split_examples(find_examples(Discs(5), 1), 0.25, seed=2)
    assert split.by == "pictures"
    assert not {example.item for example in split.taught} & {example.item for example in split.held_back}
    assert len(split.held_back) == 3


def test_one_picture_is_parted_by_place() -> None:
    examples = [Example(Discs().items[0], n, (0,), (99,), (n / 20, 0.5)) for n in range(1, 20)]
    split = split_examples(examples, 0.25, seed=1)
    assert split.by == "regions"
    held = sorted(example.obj for example in split.held_back)
    assert held == list(range(held[0], held[0] + 5)), "neighbours"
    assert held[0] == 1 or held[-1] == 19, "from one side"


def test_too_few_masks_are_refused() -> None:
    with pytest.raises(FramesError, match=r"at least 4 masks.*hold 3"):
        split_examples(find_examples(Discs(1), 1), 0.25, seed=1)


@pytest.mark.property
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=6).filter(lambda counts: sum(counts) >= 4),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_split_covers_all_and_shares_nothing(counts: list[int], share: float, seed: int) -> None:
    items = Discs(len(counts)).items
    examples = [
        Example(item, obj, (0,), (99,), (obj / 13, 0.5))
        for item, count in zip(items, counts, strict=True)
        for obj in range(1, count + 1)
    ]
    split = split_examples(examples, share, seed)
    assert sorted(split.taught + split.held_back, key=examples.index) == examples
    assert len(split.held_back) >= 1
    assert len(split.taught) >= 2
    assert split == split_examples(examples, share, seed)


def test_thinning_keeps_the_order() -> None:
    examples = find_examples(Discs(4), 1)
    few = thinned(examples, 5, seed=1)
    assert len(few) == 5
    assert list(few) == sorted(few, key=examples.index)
    assert thinned(examples, 99, seed=1) == tuple(examples)


# --------------------------------------------------------------------------------------------------------- quality


def test_better_on_the_whole_must_not_be_much_worse_in_a_part() -> None:
    before = Quality([[0.5, 0.6, 0.7], [0.7, 0.8, 0.9]])
    assert before.means == pytest.approx({"1 click": 0.6, "3 clicks": 0.7, "box": 0.8})
    assert Quality([[0.7, 0.7, 0.79]]).is_better_than(before)
    assert not Quality([[0.8, 0.8, 0.75]]).is_better_than(before)
    assert not before.is_better_than(before)
    assert Quality([[0.5, 0.7, 0.7], [0.7, 0.8, 0.8]]).objects_above(before) == 1


class Knowing:
    """A predictor that knows the truth of the discs: what is bright and connected to the prompt."""

    def set_image(self, image: NDArray[Any]) -> None:
        self._bright = image > 120

    def predict(self, point_coords: Any = None, box: Any = None, **_: Any) -> tuple[Any, Any, Any]:
        from scipy import ndimage

        regions, _ = ndimage.label(self._bright)
        x, y = point_coords[0] if point_coords is not None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        mask = regions == regions[int(y), int(x)]
        return mask[None], np.ones(1), np.zeros((1, 4, 4))


def test_few_held_back_objects_are_asked_for_in_several_turns() -> None:
    folder = Discs(2)
    examples = find_examples(folder, 1)
    pictures = judged_pictures(folder, examples[:3])
    assert len(pictures) == 8
    assert sum(len(picture.truths) for picture in pictures) == 24
    assert measure_quality(Knowing(), pictures).rows == ((1.0, 1.0, 1.0),) * 24
    assert len({picture.image.tobytes() for picture in pictures}) == 8


# ------------------------------------------------------------------------------------------------------------ LoRA


def test_low_rank_changes_are_nothing_at_first_and_plain_weights_in_the_end(windowed: Sam2) -> None:
    model, pixels = copy.deepcopy(windowed), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        plain = model.encode_image(pixels).embedding
        learned = add_lora(model, rank=2, seed=1)
        torch.testing.assert_close(model.encode_image(pixels).embedding, plain)
        for parameter in learned:
            parameter.add_(0.1 * torch.randn_like(parameter))
        changed = model.encode_image(pixels).embedding
        assert not torch.allclose(changed, plain, atol=1e-3)
        merge_lora(model)
        torch.testing.assert_close(model.encode_image(pixels).embedding, changed)
    assert model.state_dict().keys() == windowed.state_dict().keys()


# ----------------------------------------------------------------------------------------------------------- views


def test_views_depend_on_their_number_only(windowed: Sam2) -> None:
    _, views = begun(windowed)
    _, again = begun(windowed)
    for number in (0, 13, 25):
        one, other = views.make(number), again.make(number)
        assert one.kind == views.kind(number)
        assert torch.equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.truth, other.truth)
        assert one.truth[0].any()


def test_each_mask_is_seen_in_every_kind_of_view(windowed: Sam2) -> None:
    _, views = begun(windowed)
    count = len(views.examples)
    assert [views.kind(number) for number in range(0, 3 * count, count)] == ["clicked", "around", "moving"]
    assert views.make(2 * count).pixels.shape == (3, 3, 64, 64)


def test_views_of_whole_pictures_show_only_masks_that_teach(tiny_model: Sam2) -> None:
    folder = Discs(1)
    first = find_examples(folder, 1)[:1]
    view = Views(folder, first, tiny_model, 1).make(0)
    assert view.kind == "whole"
    areas = view.truth[0].sum(axis=(1, 2))
    assert (areas == areas[0]).all(), "the one mask that is known, and never another"


def test_sequences_give_moving_views_of_true_frames(windowed: Sam2) -> None:
    folder = Discs(1, frames=6)
    views = Views(folder, find_examples(folder, 1), windowed, 1)
    view = views.make(1, "moving")
    assert view.truth.shape == (3, 1, 32, 32)
    assert not torch.equal(view.pixels[0], view.pixels[1])


def test_kept_features_are_those_of_the_pixels(windowed: Sam2) -> None:
    _, views = begun(windowed)
    kept = EncodedViews(views, 1 << 30, most=2 * len(views.examples))
    while not kept.is_full:
        kept.grow(windowed)
    rng = np.random.default_rng(1)
    batch, features = kept.draw("moving", 2, rng)
    assert batch.pixels.shape[:2] == (3, 2)
    numbers = [n for n in range(len(kept)) if views.kind(n) == "moving"]
    chosen = np.random.default_rng(1).choice(len(numbers), 2, replace=len(numbers) < 2)
    fresh = batch_of([views.make(numbers[i]) for i in chosen])
    np.testing.assert_array_equal(batch.truth, fresh.truth)
    with torch.no_grad():
        expected = windowed.encode_image(fresh.pixels.flatten(0, 1))
    torch.testing.assert_close(features.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.skips[0], expected.skips[0], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- tuning


@pytest.mark.parametrize("way", ["decoder", "lora"])
def test_only_what_shall_learn_changes(windowed: Sam2, way: Any) -> None:
    tuning, views = begun(windowed, replace(CONFIG, tuned=way))
    list(tune(tuning, views, growing()))
    before, after = state(windowed), state(tuned_model(tuning))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    encoder = {name for name in changed if name.startswith("image_encoder.")}
    assert all(name.endswith(".attn.qkv.weight") for name in encoder)
    assert bool(encoder) == (way == "lora")
    assert any(name.startswith("sam_mask_decoder.transformer") for name in changed)
    assert any(name.startswith("memory_attention") for name in changed), "moving views teach the memory"


def test_a_few_masks_teach_their_kind(windowed: Sam2) -> None:
    config = replace(CONFIG, steps=70, batch=6, checks=1, learning_rate=1e-3)
    tuning, views = begun(windowed, config)
    steps = [event for event in tune(tuning, views, growing()) if event.stage == "step"]
    first, last = (np.mean([event.loss for event in part]) for part in (steps[:10], steps[-10:]))
    assert last < 0.75 * first


def test_the_best_weights_are_kept(windowed: Sam2) -> None:
    found = iter([0.5, 0.7, 0.6])
    kept: list[dict[str, torch.Tensor]] = []

    def measure(model: Sam2) -> Quality:
        kept.append(state(model))
        return Quality([[next(found)] * 3])

    tuning, views = begun(windowed)
    checks = [event for event in tune(tuning, views, measure) if event.stage == "check"]
    assert [check.is_best for check in checks] == [False, True, False]
    assert tuning.after is not None and tuning.after.mean == pytest.approx(0.7)
    best = state(tuned_model(tuning))
    assert all(torch.equal(best[name], kept[1][name]) for name in best)
    assert any(not torch.equal(best[name], kept[2][name]) for name in best)


def test_nothing_better_leaves_the_weights_as_they_were_and_ends_early(windowed: Sam2) -> None:
    tuning, views = begun(windowed, replace(CONFIG, steps=12, checks=6))
    list(tune(tuning, views, lambda _: Quality([[0.5] * 3])))
    assert tuning.best is None
    assert len(tuning.checks) == 4, "no hope after four checks without a better one"


@pytest.mark.parametrize("way", ["decoder", "lora"])
def test_a_saved_tuning_goes_on_as_if_it_had_not_stopped(windowed: Sam2, way: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, tuned=way)
    unbroken, views = begun(windowed, config)
    list(tune(unbroken, views, growing()))
    broken, views = begun(windowed, config)
    events = tune(broken, views, growing())
    for event in events:
        if event.stage == "step" and event.done == 3:
            break
    events.close()
    save_tuning(broken, tmp_path / "run.pt")
    resumed, views = begun(windowed, config)
    load_tuning(resumed, tmp_path / "run.pt")
    assert resumed.step == 3
    list(tune(resumed, views, growing(already=2)))
    expected, found = state(tuned_model(unbroken)), state(tuned_model(resumed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


class Clock:
    """Moves on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_time_is_kept(windowed: Sam2) -> None:
    clock = Clock()
    tuning, views = begun(windowed, replace(CONFIG, steps=None, minutes=0.9, views=2, batch=1), Discs(2))
    events: list[Progress] = list(tune(tuning, views, growing(), clock=clock))
    assert 20 < tuning.step < 50
    assert tuning.spent_s <= 54
    assert events[-1].stage == "check", "the last word has the held-back part"
    left = [event.left_s for event in events if event.stage == "step"]
    assert left[-1] == 0 < left[0]
    repeated, views = begun(windowed, replace(CONFIG, steps=tuning.step, views=2, batch=1), Discs(2))
    list(tune(repeated, views, growing(), clock=clock))
    expected, found = state(tuned_model(tuning)), state(tuned_model(repeated))
    assert all(torch.equal(expected[name], found[name]) for name in expected), "so many steps repeat it"


def test_too_little_time_still_ends_with_a_verdict(windowed: Sam2) -> None:
    tuning, views = begun(windowed, replace(CONFIG, steps=None, minutes=0.1))
    list(tune(tuning, views, growing(), clock=Clock()))
    assert tuning.is_done
    assert len(tuning.checks) == 1


def test_the_learning_rate_does_not_depend_on_the_number_of_steps_before_it_is_known() -> None:
    assert [learning_rate(CONFIG, step, 0) for step in range(20)] == [
        learning_rate(CONFIG, step, 500) for step in range(20)
    ]
    assert learning_rate(CONFIG, 499, 500) < 0.05 * CONFIG.learning_rate


def test_steps_without_finite_loss_end_the_tuning(windowed: Sam2) -> None:
    tuning, views = begun(windowed, replace(CONFIG, steps=60, tuned="lora", batch=1))
    with torch.no_grad():
        tuning.model.no_mem_embed.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        list(tune(tuning, views, growing()))
