"""Numbers that are known by hand: quartiles, ratios of pairs, turns, operations, agreement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sam2_engine.benchmarking import operations, peaks
from sam2_engine.benchmarking.agreement import compare
from sam2_engine.benchmarking.cases import Steps, cases, correct
from sam2_engine.benchmarking.engine import Engine, find_model, random_model
from sam2_engine.benchmarking.operations import count_operations
from sam2_engine.benchmarking.plan import Plan
from sam2_engine.benchmarking.report import markdown_table, ratio_text, seconds_text
from sam2_engine.benchmarking.running import Row
from sam2_engine.benchmarking.scenes import Film, discs
from sam2_engine.benchmarking.timing import Budget, Spread, Timings, Work, in_turns, pair_ratios, warm_up
from sam2_engine.benchmarking.variants import VARIANTS
from sam2_engine.model import Sam2


def test_median_and_quartiles() -> None:
    assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4, 5)
    assert Spread.of([2, 1]) == Spread(1.5, 1.25, 1.75, 2)
    assert Spread.of([7]) == Spread(7, 7, 7, 1)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_quartiles_lie_within_the_values(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) <= spread.low <= spread.median <= spread.high <= max(values)


def test_ratios_are_of_pairs_and_not_of_medians() -> None:
    # The second turn was three times slower for both.
    timings = Timings({"a": [1.0, 6.0, 3.0], "b": [2.0, 6.0, 2.0]})
    assert pair_ratios(timings.seconds["a"], timings.seconds["b"]) == [0.5, 1.0, 1.5]
    assert timings.ratio("a", "b") == Spread(1.0, 0.75, 1.25, 3)
    assert timings.spread("a").median / timings.spread("b").median == 1.5
    with pytest.raises(ValueError, match="at least one pair"):
        pair_ratios([1.0], [])
    with pytest.raises(ValueError, match="above 0"):
        pair_ratios([1.0], [0.0])


def test_works_take_turns_after_they_were_prepared() -> None:
    done: list[str] = []
    now = iter(range(1000))

    def work(name: str) -> Work:
        return Work(lambda: done.append(name), lambda: done.append(f"({name})"))

    timings = in_turns({"a": work("a"), "b": work("b")}, Budget(rounds=2), clock=lambda: float(next(now)))
    assert done == ["(a)", "a", "(b)", "b"] * 2
    assert timings.seconds == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_budget_ends_between_turns_and_never_before_the_first() -> None:
    now = iter(range(0, 1000, 10))
    timings = in_turns({"a": Work(lambda: None)}, Budget(rounds=9, seconds=25), clock=lambda: float(next(now)))
    assert len(timings.seconds["a"]) == 1
    late = iter(range(0, 10**6, 1000))
    assert in_turns({"a": Work(lambda: None)}, Budget(9, 1), clock=lambda: float(next(late))).seconds == {"a": [1000.0]}


def test_the_last_warm_run_is_left_to_the_one_who_counts() -> None:
    done: list[str] = []
    warm_up(Work(lambda: done.append("run"), lambda: done.append("prepare"), warm_runs=3))
    assert done == ["prepare", "run", "prepare", "run", "prepare"]


@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_operations_of_layers_are_those_computed_by_hand(grad: Any, numbers: torch.dtype) -> None:
    linear, convolution = nn.Linear(32, 64), nn.Conv2d(3, 8, 3, padding=1)
    query, key, value = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 20, 8), torch.randn(2, 3, 20, 8)

    def counted(run: Any) -> int:
        with grad(), torch.autocast("cpu", torch.bfloat16, enabled=numbers == torch.bfloat16):
            return count_operations(run).total

    assert counted(lambda: linear(torch.randn(5, 32))) == 2 * 5 * 32 * 64
    assert counted(lambda: convolution(torch.randn(1, 3, 10, 12))) == 2 * (10 * 12) * (3 * 3 * 3) * 8
    attention = 2 * 3 * (2 * 10 * 8 * 20 + 2 * 10 * 20 * 8)
    assert counted(lambda: F.scaled_dot_product_attention(query, key, value)) == attention
    assert counted(lambda: torch.relu(query)) == 0


def test_fused_attention_on_the_cpu_counts_as_written_out() -> None:
    query, key, value = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 9, 4), torch.randn(1, 2, 9, 4)
    written = count_operations(lambda: (query @ key.transpose(-1, -2)).softmax(-1) @ value)
    fused = count_operations(lambda: F.scaled_dot_product_attention(query, key, value))
    assert fused.total == written.total == 2 * (2 * 6 * 4 * 9 + 2 * 6 * 9 * 4)


@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_our_attention_kernel_and_packed_layers_count_as_plain_ones(numbers: torch.dtype) -> None:
    from sam2_engine.model.layers import Attention, Mlp

    layer, mlp = Attention(64, 2), Mlp(64, 256, 64, activation="gelu")
    tokens = torch.randn(1, 300, 64)

    def counted(grad: Any) -> int:
        with grad(), torch.autocast("cpu", torch.bfloat16, enabled=numbers == torch.bfloat16):
            return count_operations(lambda: mlp(layer(tokens, tokens, tokens))).total

    products = 4 * (2 * 300 * 64 * 64) + 2 * (2 * 300 * 64 * 256)
    attention = 2 * (2 * 300 * 32 * 300 + 2 * 300 * 300 * 32)
    # With gradients neither the kernel nor oneDNN's packed layers are used.
    assert counted(torch.inference_mode) == counted(torch.enable_grad) == products + attention


def test_a_kernel_of_ours_whose_operations_are_unknown_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sam2_engine.ops  # noqa: F401  (registers it)

    components, mask = torch.ops.sam2_engine.components, torch.zeros(1, 4, 4, dtype=torch.bool)
    assert count_operations(lambda: (components(mask), torch.ones(2, 2) @ torch.ones(2, 2))).is_whole
    monkeypatch.setattr(operations, "FREE", ())
    counted = count_operations(lambda: components(mask))
    assert counted.uncounted == ("components",)
    assert not counted.is_whole


def test_shares_are_of_the_peak_in_the_same_numbers() -> None:
    row = Row("click", "click", "ours", "float32", (0.5, 1.0, 2.0), 50_000_000_000, 200.0)
    assert row.gflops == 50.0
    assert row.share_of_peak == 0.25
    record = row.record()
    assert (record["gflop"], record["gflop_per_s"], record["share_of_peak"]) == (50.0, 50.0, 0.25)
    unknown = Row("click", "click", "ours", "float32", (1.0,), None, 200.0)
    assert (unknown.gflops, unknown.share_of_peak, unknown.record()["gflop"]) == (None, None, None)


def test_only_trained_weights_are_judged_by_their_agreement() -> None:
    full = np.ones((2, 2), bool)
    apart = replace(compare("b", [~full], "a", [full]), is_judged=False)
    assert apart.mean == 0
    assert apart.holds
    assert not apart.record()["judged"]


def test_agreement_counts_empty_masks_as_equal_and_fails_below_the_limit() -> None:
    full, none = np.ones((4, 5), bool), np.zeros((4, 5), bool)
    half = full.copy()
    half[:2] = False
    agreement = compare("b", [full, none, half], "a", [full, none, full])
    assert (agreement.mean, agreement.lowest, agreement.masks) == (pytest.approx(2.5 / 3), 0.5, 3)
    assert not agreement.holds
    assert compare("b", [full], "a", [full]).holds
    with pytest.raises(ValueError, match="no masks"):
        compare("b", [], "a", [])


def test_peaks_are_measured_for_each_precision() -> None:
    found = peaks.measure_peaks(("float32", "bfloat16"), torch.device("cpu"), seconds=0.001, stream_bytes=2**16)
    assert set(found.gflops) == {"float32", "bfloat16"}
    for name, best in found.gflops.items():
        assert best == max(found.products[name].values()) > 0
    assert found.read_gb_s > 0
    assert found.triad_gb_s > 0


@pytest.mark.parametrize("count", [1, 4, 8, 32])
def test_the_objects_of_a_film_lie_apart_and_inside(count: int) -> None:
    for frame in (0, 13):
        found = discs(count, frame, 480, 640)
        assert len(found) == count
        for index, one in enumerate(found):
            assert one.radius < one.x < 640 - one.radius
            assert one.radius < one.y < 480 - one.radius
            for other in found[:index]:
                assert (one.x - other.x) ** 2 + (one.y - other.y) ** 2 > (one.radius + other.radius) ** 2


def test_a_propagation_is_timed_with_a_full_memory(tiny_model: Sam2) -> None:
    engine = Engine(tiny_model, VARIANTS["fp32"])
    (case,) = cases(Plan(("propagate",), objects=(2,), frames=3))
    work = case.make(engine)
    # One prompted frame, then one tracked frame for each slot, the last of them to be counted.
    assert (case.key, case.rounds, work.warm_runs) == ("propagate-2", 3, tiny_model.config.num_slots + 1)
    (short,) = cases(Plan(("propagate",), objects=(1,), frames=3, warm_frames=0))
    work = short.make(engine)
    assert work.warm_runs == 2
    for _ in range(work.warm_runs + 3):
        work.prepare()
        assert work.run().shape == (1, 480, 640)
    work.release()


def test_a_propagation_begins_anew_at_the_end_of_its_film(tiny_model: Sam2) -> None:
    steps = Steps(Engine(tiny_model, VARIANTS["fp32"]), objects=1, frames=2)
    seen = []
    for _ in range(4):
        steps.ready()
        seen.append(steps.advance())
    assert np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[1], seen[3])
    steps.close()


def test_random_weights_are_the_same_every_time_and_show_something() -> None:
    first, second = random_model("sam2.1_hiera_tiny", 64), random_model("sam2.1_hiera_tiny", 64)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    masks = next(Engine(first, VARIANTS["fp32"]).follow(Film(2, 1)))
    assert 0.02 < masks.mean() < 0.98


def test_models_are_found_by_name_without_fetching(tmp_path: Any, tiny_model: Sam2) -> None:
    from sam2_engine.checkpoint import save_model

    model, weights = find_model("nano", 64, torch.device("cpu"))
    assert (model.config.name, model.config.image_side, weights) == ("nano", 64, "embedded")
    assert find_model("sam2.1_hiera_tiny", 64, torch.device("cpu"))[1] == "random"
    save_model(tiny_model, tmp_path / "mine.safetensors")
    assert find_model(str(tmp_path / "mine.safetensors"), None, torch.device("cpu"))[1] == "mine.safetensors"


def test_corrections_are_given_the_best_mask_so_far() -> None:
    given: list[Any] = []

    class Told:
        def predict(self, points: Any, labels: Any, previous: Any = None) -> Any:
            given.append((len(points), previous))
            logits = np.arange(3.0)[:, None, None]
            return np.zeros((3, 4, 4)), np.array([0.1, 0.9, 0.5]), logits

    told: Any = Told()
    correct(told, np.zeros((3, 2)), np.ones(3))
    assert [count for count, _ in given] == [1, 2, 3]
    assert given[0][1] is None
    assert given[1][1].tolist() == [[[1.0]]]


def test_texts_of_figures() -> None:
    assert seconds_text(Spread(0.01234, 0.011, 0.0135, 7)) == "12.3 ms (11.0–13.5), n 7"
    assert seconds_text(Spread(3.5, 3.25, 4.0, 3)) == "3.50 s (3.25–4.00), n 3"
    assert ratio_text(Spread(1.517, 1.48, 1.55, 3)) == "1.52 (1.48–1.55)"
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n"


def test_every_precision_of_the_package_can_be_measured() -> None:
    from sam2_engine.placement import PRECISIONS

    assert {name: variant.dtype for name, variant in VARIANTS.items()} == PRECISIONS
