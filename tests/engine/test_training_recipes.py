"""The two recipes: what is said, what is learned by which losses, how fast and in which numbers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from sam2_engine.config import MODELS, ModelConfig
from sam2_engine.errors import MissingDependencyError
from sam2_engine.model import Sam2
from sam2_engine.tracking import Tracker
from sam2_engine.training.batches import Steps, choose_objects
from sam2_engine.training.clip import Script, run_clip
from sam2_engine.training.config import RECIPES, Recipe, TrainConfig, default_recipe, from_trained, recipe
from sam2_engine.training.data import Synthetic
from sam2_engine.training.dense import DenseHead
from sam2_engine.training.loop import start, train
from sam2_engine.training.losses import LossWeights
from sam2_engine.training.optimiser import make_optimiser, rate_of
from sam2_engine.training.scenes import Clip
from sam2_engine.training.scripts import clip_script, still_script

TINY = MODELS["sam2.1_hiera_tiny"]


class TwoDiscs:
    """Clips of two discs, one of which drifts."""

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        rows, columns = np.indices((side, side))
        labels = np.zeros((num_frames, side, side), dtype=np.int32)
        for t in range(num_frames):
            labels[t][(rows - side * 0.3) ** 2 + (columns - side * 0.3 - t) ** 2 < (side * 0.15) ** 2] = 1
            labels[t][(rows - side * 0.7) ** 2 + (columns - side * 0.65) ** 2 < (side * 0.2) ** 2] = 2
        return Clip((60 + 120 * (labels > 0)).astype(np.uint8), labels)

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        return self.sample_clip(rng, 96, num_frames), False


def published(model: ModelConfig = TINY) -> TrainConfig:
    return recipe("published", model)


def published_clips(count: int = 4000) -> list[tuple[Script, int]]:
    rng = np.random.default_rng(0)
    return [clip_script(published(), 0.5, rng) for _ in range(count)]


# ------------------------------------------------------------------------------------------------------ published


def test_published_first_prompts_are_half_masks_a_quarter_clicks_a_quarter_boxes() -> None:
    scripts = published_clips()
    shares = Counter(script.prompt for script, _ in scripts)
    assert shares["mask"] / len(scripts) == pytest.approx(0.5, abs=0.03)
    assert shares["click"] / len(scripts) == pytest.approx(0.25, abs=0.03)
    assert shares["box"] / len(scripts) == pytest.approx(0.25, abs=0.03)
    assert {num_frames for _, num_frames in scripts} == {8}


def test_published_clips_have_seven_corrections_on_one_or_two_frames_the_first_among_them() -> None:
    spoken = [script for script, _ in published_clips() if script.prompt != "mask"]
    corrected = [[frame for frame in range(8) if script.clicks_on(frame)] for script in spoken]
    assert all(frames[0] == 0 for frames in corrected)
    assert {len(frames) for frames in corrected} == {1, 2}
    assert {script.clicks_on(frame) for script in spoken for frame in range(8)} == {0, 7}
    assert {frame for frames in corrected for frame in frames} == set(range(8))
    masks = [script for script, _ in published_clips() if script.prompt == "mask"]
    assert not any(script.clicks_on(frame) for script in masks for frame in range(8)), "a true mask needs none"


def test_half_of_the_published_clips_have_a_second_prompted_frame() -> None:
    scripts = [script for script, _ in published_clips()]
    has_second = [script.second_frame is not None for script in scripts]
    assert np.mean(has_second) == pytest.approx(0.5, abs=0.03)
    for script in scripts:
        if script.second_frame is not None and script.prompt != "mask":
            assert script.clicks_on(script.second_frame) == 7


def test_published_stills_have_no_masks_and_always_seven_corrections() -> None:
    rng = np.random.default_rng(1)
    scripts = [still_script(published(), 0.0, rng) for _ in range(100)]
    assert {script.prompt for script in scripts} == {"click", "box"}
    assert {script.corrections for script in scripts} == {7}


def test_published_losses_and_steps() -> None:
    config = published()
    assert config.loss_weights(0) == LossWeights(focal=20, dice=1, balanced=0, iou=1, object_score=1, absent=1)
    assert config.sum_rounds
    assert config.clip_gradient == 0.1
    assert (config.max_frames, config.clip_objects, config.corrections) == (8, 3, 7)
    assert config.image_sides == ((0.0, 1024),)
    assert not config.uses_windows(TINY)


def test_what_published_weights_learn_on_begins_slowly() -> None:
    config = from_trained(published(), 512)
    assert config.learning_rate == 5e-5
    assert config.encoder_rate == pytest.approx(0.6)
    assert config.image_sides == ((0.0, 512),)
    assert (config.max_frames, config.prompting) == (8, "published")


# ---------------------------------------------------------------------------------------------------------- small


def test_small_models_begin_with_balanced_losses_stills_and_coarse_windows(little: ModelConfig) -> None:
    config = recipe("small", replace(little, object_windows=True, image_side=192))
    assert config.image_sides == ((0.0, 128), (0.4, 192))
    assert config.windows
    assert config.loss_weights(0) == LossWeights.warm_up()
    assert config.loss_weights(0).focal == 0
    assert config.loss_weights(int(0.31 * config.steps)).focal == 20
    steps = Steps(Synthetic(), config, little)
    assert (config.images, config.clips, config.corrections, config.max_frames) == (8, 3, 2, 5)
    lengths = {clip_script(config, progress, np.random.default_rng(0))[1] for progress in (0.08, 0.3, 0.5, 0.99)}
    assert lengths == {2, 3, 4, 5}, "clips grow"
    assert steps[0].batch.truth.shape[0] == 1, "stills first"


def test_small_models_on_whole_frames_go_from_coarse_to_fine(little: ModelConfig) -> None:
    assert recipe("small", little.at_side(384)).image_sides == ((0.0, 96), (0.2, 192), (0.75, 384))
    assert recipe("small", little.at_side(64)).image_sides == ((0.0, 64),)


def test_the_recipe_goes_by_the_model(little: ModelConfig) -> None:
    assert default_recipe(TINY) == "published"
    assert default_recipe(little) == "small"
    assert default_recipe(replace(TINY, object_windows=True)) == "small"


def test_windows_go_by_the_model_unless_said_otherwise(little: ModelConfig) -> None:
    looking = replace(little, object_windows=True)
    for name in RECIPES:
        assert recipe(name, looking).uses_windows(looking)
        assert not recipe(name, little).uses_windows(little)
        assert recipe(name, little, windows=True).uses_windows(little)
    short = TrainConfig(steps=2, image_sides=((0.0, 64),), images=1, objects=1)
    assert Steps(TwoDiscs(), short, looking)[0].batch.hidden is not None
    assert Steps(TwoDiscs(), short, little)[0].batch.hidden is None
    assert Steps(TwoDiscs(), replace(short, windows=True), little)[0].batch.hidden is not None


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_every_kind_of_view(name: Recipe, windows: bool, little: ModelConfig) -> None:
    config = recipe(name, little, windows=windows)
    config = replace(config, steps=3, images=1, clips=1, max_frames=4, min_frames=min(config.min_frames, 4))
    config = replace(config, objects=2, corrections=min(config.corrections, 3), clip_start=0.3, clip_share=1.0)
    reports = list(train(start(little, config), TwoDiscs(), config))
    assert [report.frames > 1 for report in reports] == [False, True, True]
    assert all(np.isfinite(report.loss) for report in reports)


# -------------------------------------------------------------------------------------------------------- scripts


def played(little: ModelConfig, script: Script, num_frames: int) -> tuple[list[tuple[int, int]], Sam2]:
    """(frame, rounds) in the order of deciding, and the model with gradients."""
    config = TrainConfig(steps=1, image_sides=((0.0, 64),), clips=1, clip_objects=2, clip_start=0.0, clip_share=1.0)
    step = Steps(TwoDiscs(), replace(config, min_frames=num_frames, max_frames=num_frames), little)[0]
    torch.manual_seed(0)
    model = start(little, config).model.train()
    tracker = Tracker(model)
    features = model.encode_image(step.batch.pixels.flatten(0, 1))
    policy, rng = tracker.default_policy(), np.random.default_rng(0)
    frames = list(run_clip(tracker, step.batch, features, script, policy, rng))
    scores = [one.candidates.logits.sum() for _, rounds in frames for one in rounds if one.candidates is not None]
    torch.stack(scores).sum().backward()
    return [(frame, len(rounds)) for frame, rounds in frames], model


def test_prompted_frames_are_decided_first(little: ModelConfig) -> None:
    script = Script("box", 2, late_corrections=3, late_frame=2, second_frame=2)
    order, model = played(little, script, 4)
    assert order == [(0, 3), (2, 4), (1, 1), (3, 1)]
    assert any(float(p.grad.abs().sum()) > 0 for p in model.memory_attention.parameters() if p.grad is not None)


def test_given_masks_on_two_frames_leave_the_others_to_learn(little: ModelConfig) -> None:
    order, _ = played(little, Script("mask", second_frame=3), 4)
    assert order == [(0, 0), (3, 0), (1, 1), (2, 1)]


def test_frames_without_a_second_prompt_come_in_their_order() -> None:
    assert Script("click", 1, late_corrections=1, late_frame=2).order(4) == [0, 1, 2, 3]
    assert Script("click", second_frame=3).order(4) == [0, 3, 1, 2]


def test_objects_come_once_where_nothing_needs_their_number() -> None:
    labels = np.zeros((50, 50), dtype=np.int32)
    labels[5:15, 5:15], labels[30:45, 30:45] = 1, 2
    rng = np.random.default_rng(0)
    assert sorted(choose_objects(labels, 16, rng, repeat=False)) == [1, 2]
    assert len(choose_objects(labels, 16, rng)) == 16


# ----------------------------------------------------------------------------------------- settings and optimiser


def test_settings_survive_json_and_older_ones_get_defaults() -> None:
    config = published()
    assert TrainConfig.from_json(config.to_json()) == config
    old = {key: value for key, value in asdict(TrainConfig()).items() if key not in ("precision", "layer_decay")}
    assert TrainConfig.from_json(json.dumps(old)) == TrainConfig()
    with pytest.raises(ValueError, match="unknown keys \\['colour'\\]"):
        TrainConfig.from_json('{"colour": 1}')


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be 1"),
        ({"image_sides": ((0.5, 64),)}, "begin at 0.0"),
        ({"image_sides": ((0.0, 60),)}, "multiples of 32"),
        ({"min_frames": 9}, "min_frames"),
        ({"precision": "fp8"}, "fp32, bf16, fp16"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TrainConfig(), **changes)  # type: ignore[arg-type]


def test_the_encoder_learns_the_slower_the_nearer_to_the_pixels() -> None:
    config = TrainConfig(encoder_rate=0.2, layer_decay=0.5)
    trunk = "image_encoder.trunk."
    assert rate_of("sam_mask_decoder.iou_token.weight", 3, config) == 1
    assert rate_of("image_encoder.neck.convs.0.conv.weight", 3, config) == 0.2
    assert rate_of(f"{trunk}pos_embed", 3, config) == 0.2
    assert rate_of(f"{trunk}blocks.2.mlp.layers.0.weight", 3, config) == pytest.approx(0.1)
    assert rate_of(f"{trunk}blocks.0.norm1.bias", 3, config) == pytest.approx(0.025)
    assert rate_of(f"{trunk}patch_embed.proj.weight", 3, config) == pytest.approx(0.0125)


def test_every_parameter_is_in_one_group_of_the_optimiser(little: ModelConfig) -> None:
    model, dense = Sam2(little), DenseHead(little)
    for config in (TrainConfig(), TrainConfig(encoder_rate=0.2, layer_decay=0.9), TrainConfig(optimiser="muon")):
        groups = make_optimiser(model, dense, config).param_groups
        members = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(members) == sorted(id(p) for p in (*model.parameters(), *dense.parameters()))
        assert {group["weight_decay"] for group in groups} == {0.0, config.weight_decay}
    assert len(make_optimiser(model, dense, TrainConfig()).param_groups) == 2


def test_muon_learns_matrices_of_hidden_layers_and_nothing_else(little: ModelConfig) -> None:
    model, dense = Sam2(little), DenseHead(little)
    optimiser = make_optimiser(model, dense, TrainConfig(optimiser="muon", encoder_rate=0.2))
    by_muon = {id(p) for group in optimiser.param_groups if "betas" not in group for p in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in by_muon}
    assert {name for name in names if name.startswith("image_encoder.trunk.blocks.0")} == {
        f"image_encoder.trunk.blocks.0.{layer}.weight"
        for layer in ("attn.qkv", "attn.proj", "mlp.layers.0", "mlp.layers.1")
    }
    assert len(names) == len(by_muon)
    assert all(parameter.ndim == 2 for name, parameter in model.named_parameters() if name in names)
    assert not [name for name in names if "embed" in name or "token" in name]


def test_muon_says_so_where_pytorch_has_none(little: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(MissingDependencyError, match=r"needs PyTorch 2\.9 or newer.*'adamw'"):
        make_optimiser(Sam2(little), DenseHead(little), TrainConfig(optimiser="muon"))


def test_muon_learns(little: ModelConfig) -> None:
    losses = [
        report.loss for report in train(start(little, easy(optimiser="muon")), TwoDiscs(), easy(optimiser="muon"))
    ]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


# ------------------------------------------------------------------------------------------------------ precision


def easy(**changes: object) -> TrainConfig:
    config = TrainConfig(steps=20, image_sides=((0.0, 64),), images=1, objects=1, clip_share=0.0, warmup=5)
    return replace(config, focal_start=1.0, learning_rate=3e-3, **changes)  # type: ignore[arg-type]


def test_bf16_learns_and_keeps_weights_in_fp32(little: ModelConfig) -> None:
    config = easy(precision="bf16")
    run = start(little, config)
    losses = [report.loss for report in train(run, TwoDiscs(), config)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
    plain = [report.loss for report in train(start(little, easy()), TwoDiscs(), easy(steps=2))]
    assert losses[0] == pytest.approx(plain[0], rel=0.02)
    assert losses[0] != plain[0], "something was computed in bf16"


def test_fp16_halves_its_scale_where_numbers_overflow(little: ModelConfig) -> None:
    config = easy(precision="fp16", steps=4)
    run = start(little, config)
    reports = train(run, TwoDiscs(), config)
    next(reports)
    run.scaling["scale"] = 2.0**40
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    assert np.isnan(next(reports).loss)
    assert run.scaling["scale"] == 2.0**39
    assert run.bad_steps == 1
    assert all(torch.equal(before[name], value) for name, value in run.model.state_dict().items())
    reports.close()
