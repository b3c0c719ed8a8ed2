"""The loop: learns, stops, goes on as if it had not stopped."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_engine.config import MODELS
from sam2_engine.model import PromptTensors, Sam2
from sam2_engine.tracking import Tracker
from sam2_engine.training.batches import Steps, choose_objects
from sam2_engine.training.calibrate import shift_object_score
from sam2_engine.training.clip import Script, run_clip
from sam2_engine.training.config import TrainConfig
from sam2_engine.training.data import Synthetic
from sam2_engine.training.dense import dense_targets
from sam2_engine.training.loop import learning_rate, resume, save_run, start, train
from sam2_engine.training.scenes import Clip

MODEL = MODELS["nano"].at_side(64)
SHORT = TrainConfig(
    steps=6, image_sides=((0.0, 64),), images=1, objects=2, clips=1, clip_objects=2, clip_start=0.5, save_every=2
)


class TwoDiscs:
    """A source of one easy picture: two discs, the same every time."""

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        rows, columns = np.indices((side, side))
        labels = np.zeros((num_frames, side, side), dtype=np.int32)
        for t in range(num_frames):
            labels[t][(rows - side * 0.3) ** 2 + (columns - side * 0.3 - t) ** 2 < (side * 0.15) ** 2] = 1
            labels[t][(rows - side * 0.7) ** 2 + (columns - side * 0.65) ** 2 < (side * 0.2) ** 2] = 2
        return Clip((60 + 120 * (labels > 0)).astype(np.uint8), labels)


def weights_of(run: object) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}  # type: ignore[attr-defined]


def test_training_learns_an_easy_picture() -> None:
    config = replace(SHORT, steps=120, clip_share=0.0, focal_start=1.0, easy_until=1.0, learning_rate=1e-3, warmup=10)
    reports = list(train(start(MODEL, config), TwoDiscs(), config))
    first, last = (np.mean([report.iou for report in part]) for part in (reports[:8], reports[-8:]))
    assert last > max(0.65, first + 0.15)
    assert np.mean([r.loss for r in reports[-8:]]) < 0.3 * np.mean([r.loss for r in reports[:8]])


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = start(MODEL, SHORT)
    list(train(unbroken, Synthetic(), SHORT))
    broken = train(resume(tmp_path, MODEL, SHORT), Synthetic(), SHORT, folder=tmp_path)
    for _ in range(3):
        next(broken)
    broken.close()
    resumed = resume(tmp_path, MODEL, SHORT)
    assert resumed.step == 2
    list(train(resumed, Synthetic(), SHORT, folder=tmp_path))
    for name, value in weights_of(unbroken).items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_saved_runs_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(MODEL, SHORT)
    save_run(run, tmp_path, SHORT)
    before = (tmp_path / "run.pt").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="space"):
        save_run(run, tmp_path, SHORT)
    assert (tmp_path / "run.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_steps_depend_on_their_number_only() -> None:
    first, second = (Steps(Synthetic(), SHORT, MODEL)[4] for _ in range(2))
    assert first.script == second.script
    assert torch.equal(first.batch.pixels, second.batch.pixels)
    np.testing.assert_array_equal(first.batch.truth, second.batch.truth)


@pytest.mark.parametrize("prompt", ["click", "box", "mask"])
def test_every_script_gives_gradients_to_every_part(prompt: str) -> None:
    torch.manual_seed(0)
    run = start(MODEL, SHORT)
    step = Steps(TwoDiscs(), replace(SHORT, clip_start=0.0, clip_share=1.0, max_frames=3), MODEL)[5]
    tracker = Tracker(run.model.train())
    features = run.model.encode_image(step.batch.pixels.flatten(0, 1))
    script = Script(prompt, corrections=1, late_corrections=1, late_frame=1)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    frames = list(run_clip(tracker, step.batch, features, script, tracker.default_policy(), rng))
    assert [len(rounds) for _, rounds in frames][1] == 2
    assert len(frames[0][1]) == (0 if prompt == "mask" else 2)
    decided = [rounds[-1].candidates for _, rounds in frames if rounds]
    sum(c.logits.sum() + c.iou.sum() for c in decided if c is not None).backward()  # type: ignore[union-attr]
    for part in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder", "sam_prompt_encoder"):
        gradients = [p.grad for p in getattr(run.model, part).parameters() if p.grad is not None]
        assert any(float(g.abs().sum()) > 0 for g in gradients), part


def test_objects_too_small_or_too_large_are_not_asked_for() -> None:
    labels = np.zeros((100, 100), dtype=np.int32)
    labels[:1, :1] = 1
    labels[10:30, 10:30] = 2
    assert set(choose_objects(labels, 4, np.random.default_rng(0))) == {2}
    labels[:] = 3
    assert len(choose_objects(labels, 4, np.random.default_rng(0))) == 0


def test_dense_targets_point_to_the_middle() -> None:
    labels = np.zeros((32, 32), dtype=np.int32)
    labels[8:17, 4:13] = 5
    inside, border, x, y = dense_targets(labels)
    assert inside.sum() == 81
    assert border[12, 8] == 0
    assert border[8, 4] == 1
    assert x[12, 8] == y[12, 8] == 0
    assert x[12, 4] > 0 > x[12, 12]
    assert y[8, 8] > 0 > y[16, 8]


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    config = replace(SHORT, steps=1000, warmup=100)
    rates = [learning_rate(config, step) for step in range(1000)]
    assert rates[0] < 0.02 * config.learning_rate
    assert max(rates) <= config.learning_rate
    assert rates[-1] < 0.05 * config.learning_rate
    assert int(np.argmax(rates)) in range(90, 130)


def test_many_steps_without_finite_loss_end_the_run() -> None:
    config = replace(SHORT, steps=40)
    run = start(MODEL, config)
    with torch.no_grad():
        run.model.no_mem_embed.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        list(train(run, TwoDiscs(), config))


def test_shifting_the_object_score_changes_nothing_else(tiny_model: Sam2) -> None:
    shifted = copy.deepcopy(tiny_model)
    shift_object_score(shifted, 0.75)
    prompts = PromptTensors(torch.tensor([[[20.0, 20.0]]]), torch.tensor([[1]]))
    with torch.inference_mode():
        features = tiny_model.encode_image(torch.randn(1, 3, 64, 64))
        before, after = (m.decode(features.embedding, features.skips, prompts) for m in (tiny_model, shifted))
    torch.testing.assert_close(after.object_score, before.object_score - 0.75)
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.iou, before.iou)
