"""The loop: learns, stops, goes on as if it had not stopped."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_engine.config import MODELS, ModelConfig
from sam2_engine.errors import ExportError
from sam2_engine.model import PromptTensors, Sam2
from sam2_engine.tracking import Tracker
from sam2_engine.training import loop
from sam2_engine.training.batches import Steps, choose_objects
from sam2_engine.training.calibrate import shift_object_score
from sam2_engine.training.clip import Script, run_clip
from sam2_engine.training.config import TrainConfig
from sam2_engine.training.data import ClipSource, Synthetic
from sam2_engine.training.dense import dense_targets
from sam2_engine.training.loop import Run, learning_rate, resume, save_run, start, train
from sam2_engine.training.scenes import Clip

MODEL = replace(MODELS["nano"].at_side(64), object_windows=False)
SHORT = TrainConfig(
    steps=6, image_sides=((0.0, 64),), images=1, objects=2, clips=1, clip_objects=2, clip_start=0.5, save_every=2
)


class RandomDisc:
    """A source of another disc every time."""

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        return self.sample_clip(rng, 64, num_frames), False

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        rows, columns = np.indices((side, side))
        row, column, radius = rng.uniform(0.3, 0.7, 3) * (side, side, side / 3)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        labels = np.repeat(disc[None].astype(np.int32), num_frames, axis=0)
        return Clip((60 + 120 * labels + rng.normal(0, 5, labels.shape)).astype(np.uint8), labels)


class TwoDiscs:
    """A source of one easy picture: two discs, the same every time."""

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        rows, columns = np.indices((side, side))
        labels = np.zeros((num_frames, side, side), dtype=np.int32)
        for t in range(num_frames):
            labels[t][(rows - side * 0.3) ** 2 + (columns - side * 0.3 - t) ** 2 < (side * 0.15) ** 2] = 1
            labels[t][(rows - side * 0.7) ** 2 + (columns - side * 0.65) ** 2 < (side * 0.2) ** 2] = 2
        return Clip((60 + 120 * (labels > 0)).astype(np.uint8), labels)


def test_training_learns_an_easy_picture(little: ModelConfig) -> None:
    config = replace(SHORT, steps=60, clip_share=0.0, focal_start=1.0, easy_until=1.0, learning_rate=3e-3, warmup=5)
    reports = list(train(start(little, config), TwoDiscs(), config))
    first, last = (np.mean([report.iou for report in part]) for part in (reports[:8], reports[-8:]))
    assert last > first + 0.05
    assert np.mean([r.loss for r in reports[-8:]]) < 0.4 * np.mean([r.loss for r in reports[:8]])


def assert_same(run: Run, other: Run) -> None:
    """Everything that steps hand on is equal to the bit."""
    for part in ("model", "average", "dense"):
        ours, theirs = (getattr(one, part).state_dict() for one in (run, other))
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == [], part
    ours, theirs = (one.optimiser.state_dict()["state"] for one in (run, other))
    assert ours.keys() == theirs.keys()
    for index, moments in ours.items():
        assert all(torch.equal(moments[name], theirs[index][name]) for name in moments), index
    assert (run.step, run.bad_steps, run.history) == (other.step, other.bad_steps, other.history)


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        (RandomDisc(), {}),
        (RandomDisc(), {"windows": True, "drop_path": 0.3, "layer_decay": 0.8, "encoder_rate": 0.5}),
        (RandomDisc(), {"optimiser": "muon"}),
        (Synthetic(), {"steps": 4, "clip_start": 0.7}),
    ],
)
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    little: ModelConfig, tmp_path: Path, source: ClipSource, changes: dict[str, object]
) -> None:
    config = replace(SHORT, evaluate_every=2, **changes)  # type: ignore[arg-type]

    def evaluate(model: Sam2) -> dict[str, float]:
        torch.rand(5)
        return {"weight": float(model.no_mem_embed.detach().sum())}

    unbroken = start(little, config)
    list(train(unbroken, source, config, evaluate=evaluate))
    broken = train(resume(tmp_path, little, config), source, config, folder=tmp_path, evaluate=evaluate)
    for _ in range(3):
        next(broken)
    broken.close()
    torch.rand(7)  # what others draw in between does not matter
    resumed = resume(tmp_path, little, config)
    assert resumed.step == 2
    list(train(resumed, source, config, folder=tmp_path, evaluate=evaluate))
    assert_same(resumed, unbroken)
    assert [row["step"] for row in resumed.history] == list(range(2, config.steps + 1, 2))


def test_the_log_has_each_step_once_however_often_a_run_was_cut_off(little: ModelConfig, tmp_path: Path) -> None:
    for stop in (1, 3, 5):
        steps = train(resume(tmp_path, little, SHORT), TwoDiscs(), SHORT, folder=tmp_path)
        for report in steps:
            if report.step == stop:
                break
        steps.close()
        with (tmp_path / "log.jsonl").open("a") as log:
            log.write('{"step": 5, "lo')
    list(train(resume(tmp_path, little, SHORT), TwoDiscs(), SHORT, folder=tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert set(rows[0]) == {"step", "loss", "iou", "side", "prompt", "frames", "seconds", "learning_rate"}


def test_a_state_without_the_newest_parts_goes_on(little: ModelConfig, tmp_path: Path) -> None:
    steps = train(resume(tmp_path, little, SHORT), TwoDiscs(), SHORT, folder=tmp_path)
    for _ in range(2):
        next(steps)
    steps.close()
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    known = ("model_config", "train_config", "model", "average", "dense", "optimiser", "step", "history")
    old = {name: state[name] for name in known}
    for group in old["optimiser"]["param_groups"]:
        del group["times"]
    torch.save(old, tmp_path / "run.pt")
    resumed, expected = resume(tmp_path, little, SHORT), start(little, SHORT)
    list(train(resumed, TwoDiscs(), SHORT))
    list(train(expected, TwoDiscs(), SHORT))
    assert_same(resumed, expected)


def test_bad_steps_are_counted_over_a_stop(little: ModelConfig, tmp_path: Path) -> None:
    config = replace(SHORT, steps=40, clip_start=1.0, save_every=1)
    run = start(little, config)
    with torch.no_grad():
        run.model.no_mem_embed.fill_(float("nan"))
    steps = train(run, TwoDiscs(), config, folder=tmp_path)
    for _ in range(12):
        next(steps)
    steps.close()
    resumed = resume(tmp_path, little, config)
    assert resumed.bad_steps == 12
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        list(train(resumed, TwoDiscs(), config))
    assert resumed.step == 21


def test_a_state_is_saved_in_time_however_slow_steps_are(
    little: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    steps = train(start(little, SHORT), TwoDiscs(), replace(SHORT, save_every=1000), folder=tmp_path)
    next(steps)
    assert resume(tmp_path, little, SHORT).step == 1
    steps.close()


def test_saved_runs_are_whole_or_not_there(
    little: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(little, SHORT)
    save_run(run, tmp_path, SHORT)
    before = (tmp_path / "run.pt").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(ExportError, match="disk is full"):
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
