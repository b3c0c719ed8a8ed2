from __future__ import annotations

import inspect
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2_engine import build, predictor
from sam2_engine.build import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
    read_overrides,
)
from sam2_engine.checkpoint import save_model
from sam2_engine.config import MODELS
from sam2_engine.errors import CheckpointError, CheckpointMismatchError
from sam2_engine.model import Sam2

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"
UNSTABLE_STAYS = "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=false"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights, saved for pictures of side 128."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_model(Sam2(replace(MODELS["nano"].at_side(128), object_windows=False)), path)
    return path


@pytest.mark.parametrize(
    ("function", "more"), [(build_sam2, []), (build_sam2_video_predictor, [("vos_optimized", False)])]
)
def test_arguments_are_the_published_ones(function: Any, more: list[tuple[str, Any]]) -> None:
    parameters = inspect.signature(function).parameters.values()
    named = [(p.name, p.default) for p in parameters if p.kind is not p.VAR_KEYWORD]
    assert named == [
        ("config_file", inspect.Parameter.empty),
        ("ckpt_path", None),
        ("device", None),
        ("mode", "eval"),
        ("hydra_overrides_extra", ()),
        ("apply_postprocessing", True),
        *more,
    ]


def test_all_published_names_come_from_one_module() -> None:
    assert sorted(predictor.__all__) == [
        "SAM2AutomaticMaskGenerator",
        "SAM2ImagePredictor",
        "SAM2VideoPredictor",
        "build_sam2",
        "build_sam2_hf",
        "build_sam2_video_predictor",
        "build_sam2_video_predictor_hf",
    ]
    assert all(callable(getattr(predictor, name)) for name in predictor.__all__)


class TestModel:
    def test_weights_decide_what_the_name_leaves_open(self, weights: Path) -> None:
        for name in ("nano", "default"):
            model = build_sam2(name, weights, device="cpu")
            assert (model.config.name, model.image_size) == ("nano", 128)

    def test_a_published_path_without_weights_gives_random_ones_and_says_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            model = build_sam2(TINY, device="cpu")
        assert model.config == MODELS["sam2.1_hiera_tiny"]
        assert f"{TINY} without ckpt_path has random weights" in caplog.text

    def test_weights_of_another_architecture_are_refused(self, weights: Path) -> None:
        with pytest.raises(CheckpointMismatchError):
            build_sam2(TINY, weights, device="cpu")

    def test_an_unknown_name_lists_the_known_ones(self, weights: Path) -> None:
        with pytest.raises(CheckpointError, match=r"no model is called 'sam9\.yaml'; known are sam2_hiera_tiny"):
            build_sam2("sam9.yaml", weights)

    def test_a_name_alone_means_its_trained_weights(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def load_model(source: Any, **_: Any) -> Sam2:
            asked.append(source)
            return Sam2(MODELS["nano"])

        monkeypatch.setattr("sam2_engine.checkpoint.load_model", load_model)
        for name in ("default", "sam2.1_hiera_tiny", "facebook/sam2.1-hiera-tiny"):
            build_sam2(name, device="cpu")
        assert asked == ["default", "sam2.1_hiera_tiny", "facebook/sam2.1-hiera-tiny"]

    def test_mode_and_device(self, weights: Path) -> None:
        model = build_sam2("nano", weights, device=torch.device("cpu"), mode="train")
        assert model.training
        assert not build_sam2("nano", weights, device="cpu").training
        assert model.device == torch.device("cpu")

    def test_without_a_device_the_best_one_is_taken(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "best_device", lambda: torch.device("meta"))
        assert build_sam2("nano", weights).device == torch.device("meta")

    def test_the_parts_are_those_of_a_plain_model(self, weights: Path) -> None:
        model = build_sam2_hf(weights, device="cpu")
        plain = Sam2(MODELS["nano"])
        assert isinstance(model, Sam2)
        assert list(model.state_dict()) == list(plain.state_dict())
        assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters())
        model.double()
        assert {p.dtype for p in model.parameters()} == {torch.float64}

    def test_unstable_masks_stay_only_where_asked(self, weights: Path) -> None:
        assert build_sam2("nano", weights, device="cpu").dynamic_multimask
        assert not build_sam2("nano", weights, device="cpu", apply_postprocessing=False).dynamic_multimask
        overridden = build_sam2("nano", weights, device="cpu", hydra_overrides_extra=[UNSTABLE_STAYS])
        assert not overridden.dynamic_multimask

    def test_image_size_override(self, weights: Path) -> None:
        model = build_sam2("nano", weights, device="cpu", hydra_overrides_extra=["++model.image_size=64"])
        assert (model.image_size, model.config.image_side) == (64, 64)

    def test_contrast_stored_with_the_weights_stays(self, tmp_path: Path) -> None:
        config = replace(MODELS["nano"].at_side(64), contrast="dtype", object_windows=False, name="mine")
        save_model(Sam2(config), tmp_path / "mine.safetensors")
        assert build_sam2("nano", tmp_path / "mine.safetensors", device="cpu").config == config


class TestVideoPredictor:
    def test_holes_are_filled_unless_postprocessing_is_off(self, weights: Path) -> None:
        assert build_sam2_video_predictor("nano", weights, device="cpu").fill_hole_area == 8
        plain = build_sam2_video_predictor("nano", weights, device="cpu", apply_postprocessing=False)
        assert plain.fill_hole_area == 0

    def test_overrides_reach_the_predictor(self, weights: Path) -> None:
        made = build_sam2_video_predictor(
            "nano",
            weights,
            device="cpu",
            hydra_overrides_extra=[
                "++model.image_size=64",
                "++model.fill_hole_area=3",
                "++model.non_overlap_masks=True",
                "model.max_cond_frames_in_attn=4",
                "++model.binarize_mask_from_pts_for_mem_enc=true",
            ],
            vos_optimized=True,
        )
        assert (made.image_size, made.fill_hole_area) == (64, 3)
        assert (made.non_overlap_masks, made.max_cond_frames_in_attn) == (True, 4)

    def test_keyword_arguments_reach_the_predictor(self, weights: Path) -> None:
        made = build_sam2_video_predictor_hf(weights, device="cpu", non_overlap_masks=True)
        assert made.non_overlap_masks
        with pytest.raises(TypeError, match="no_such_setting"):
            build_sam2_video_predictor_hf(weights, device="cpu", no_such_setting=1)


class TestOverrides:
    def test_every_way_to_write_a_value(self) -> None:
        assert read_overrides(["++model.image_size=512"]) == {"model.image_size": 512}
        assert read_overrides(["+model.image_size=512"]) == {"model.image_size": 512}
        assert read_overrides(["model.image_size=512"]) == {"model.image_size": 512}
        assert read_overrides([UNSTABLE_STAYS.replace("false", "False")]) == {build.DYNAMIC_MULTIMASK: False}

    def test_values_that_are_built_in_may_be_said(self) -> None:
        assert read_overrides(["++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05"]) == {}

    @pytest.mark.parametrize(
        "override",
        [
            "++model.image_size=100",
            "++model.image_size=0",
            "++model.image_size=large",
            "++model.image_size",
            "++model.num_maskmem=3",
            "++model.non_overlap_masks=true",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.1",
            f"{UNSTABLE_STAYS[:-5]}maybe",
            "",
        ],
    )
    def test_anything_else_is_an_error_that_lists_what_is_understood(self, override: str) -> None:
        with pytest.raises(CheckpointError, match=r"is not understood; understood are \+\+model.image_size=<int>"):
            read_overrides([override])

    def test_videos_understand_what_the_predictor_takes(self) -> None:
        assert read_overrides(["++model.non_overlap_masks=true"], for_video=True) == {"model.non_overlap_masks": True}
        with pytest.raises(CheckpointError, match=r"\+\+model.non_overlap_masks=<bool>"):
            read_overrides(["++model.compile_image_encoder=true"], for_video=True)
