"""What ``sam2 train`` is going to do, without doing it."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sam2_engine.checkpoint import save_model
from sam2_engine.cli import build_parser, main
from sam2_engine.cli.train import _sources
from sam2_engine.cli.train_plan import Plan, new_plan, saved_plan, write_settings
from sam2_engine.config import MODELS, ModelConfig
from sam2_engine.errors import EngineError
from sam2_engine.model import Sam2
from sam2_engine.training.config import TrainConfig, from_trained, recipe
from sam2_engine.training.data import SampleMixture, Stills
from sam2_engine.training.team import Team


def said(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["train", *words])


def test_without_options_the_default_model_is_trained_as_small_models_are(folder: Path) -> None:
    plan = new_plan(said())
    assert (plan.recipe, plan.model) == ("small", MODELS["nano"])
    assert plan.training == recipe("small", MODELS["nano"])
    assert plan.data["synthetic"] == 0.35


def test_published_models_are_trained_as_published(folder: Path) -> None:
    plan = new_plan(said("--model", "sam2.1_hiera_tiny", "--side", "512"))
    assert plan.recipe == "published"
    assert plan.training == recipe("published", MODELS["sam2.1_hiera_tiny"].at_side(512))
    assert new_plan(said("--model", "sam2.1_hiera_tiny", "--recipe", "small")).training.prompting == "curriculum"


def test_options_change_the_recipe(folder: Path) -> None:
    plan = new_plan(said("--steps", "40", "--seed", "9", "--learning-rate", "0.001", "--precision", "bf16"))
    expected = replace(recipe("small", MODELS["nano"]), steps=40, seed=9, learning_rate=1e-3, precision="bf16")
    assert plan.training == replace(expected, warmup=4), "the warm-up is a tenth at most"


@pytest.mark.parametrize(("option", "windows"), [("--windows", True), ("--no-windows", False)])
def test_a_model_remembers_how_it_was_shown_objects(option: str, windows: bool, folder: Path) -> None:
    plan = new_plan(said(option))
    assert plan.training.windows is windows
    assert plan.model.object_windows is windows
    published = new_plan(said("--model", "sam2.1_hiera_tiny", option))
    assert (published.training.windows, published.model.object_windows) == (windows, windows)


def test_trained_weights_bring_their_model_and_need_no_easy_beginning(little: ModelConfig, folder: Path) -> None:
    looking = replace(little, object_windows=True)
    save_model(Sam2(looking), Path("cells.safetensors"))
    plan = new_plan(said("--start-from", "cells.safetensors"))
    assert plan.model == looking
    assert plan.training == from_trained(recipe("small", looking), 64)
    assert plan.training.windows


def test_what_was_planned_is_found_again(little: ModelConfig, folder: Path) -> None:
    plan = Plan(little, recipe("published", little), "default", {"data": ["cells"], "synthetic": 0.1}, "published")
    write_settings(Path("run"), plan)
    assert saved_plan(said("--resume"), Path("run")) == plan
    again = saved_plan(said("moved", "--resume", "--steps", "9", "--precision", "bf16"), Path("run"))
    assert again.training == replace(plan.training, steps=9, precision="bf16")
    assert again.data == {"data": ["moved"], "synthetic": 0.1}


def test_settings_of_earlier_versions_are_understood(little: ModelConfig, folder: Path) -> None:
    write_settings(Path("run"), Plan(little, TrainConfig(windows=False), None, {"data": None}))
    path = Path("run/settings.json")
    settings = json.loads(path.read_text())
    del settings["recipe"]
    for name in ("precision", "prompting", "layer_decay", "min_frames", "absent"):
        del settings["training"][name]
    path.write_text(json.dumps(settings))
    plan = saved_plan(said("--resume"), Path("run"))
    assert plan.training == TrainConfig(windows=False)
    assert plan.recipe == "small"


@pytest.mark.parametrize("words", [("--seed", "2"), ("--no-windows",), ("--recipe", "small"), ("--side", "96")])
def test_what_a_run_was_begun_with_cannot_change(words: tuple[str, ...], little: ModelConfig, folder: Path) -> None:
    write_settings(Path("run"), Plan(little, TrainConfig(), None, {"data": None}))
    with pytest.raises(EngineError, match="cannot change while a run goes on"):
        saved_plan(said("--resume", *words), Path("run"))


def test_settings_of_a_newer_version_are_no_traceback(
    little: ModelConfig, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(Path("run"), Plan(little, TrainConfig(), None, {"data": None}))
    path = Path("run/settings.json")
    path.write_text(path.read_text().replace('"steps"', '"leaps"'))
    assert main(["train", "--resume", "--out", "run"]) == 1
    assert "unknown keys ['leaps']" in capsys.readouterr()[1]


def test_decoded_pictures_share_the_memory_that_was_given(labelled: Path, folder: Path) -> None:
    args = said(str(labelled), "--cache", "64", "--workers", "4", "--no-windows", "--synthetic", "0.5")
    plan = new_plan(args)
    source, easy = _sources(args, plan, Team(size=2))
    assert isinstance(source, SampleMixture) and isinstance(easy, SampleMixture)
    stills = [one for mixture in (source, easy) for one in mixture.sources if isinstance(one, Stills)]
    per_process = sum(one.folder._cache_bytes for one in stills)  # type: ignore[attr-defined]
    assert per_process == (64 << 20) // (4 * 2)
    args.cache, args.windows = 64, True
    _, none = _sources(args, new_plan(args), Team())
    assert none is None, "windows begin with no larger objects, and keep none in memory"
