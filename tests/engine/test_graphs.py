"""Recordings of functions: when they are made and played, what they hold, and that plain computing stands behind."""

from __future__ import annotations

import gc
import logging
import re
import threading
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sam2_engine.graphs import Function, Graphs, Outputs, Rehearsal

from .tape import TapeRecorder


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def recorder() -> TapeRecorder:
    return TapeRecorder()


@pytest.fixture
def graphs(recorder: TapeRecorder) -> Graphs:
    return Graphs(recorder=recorder, plain_calls=2)


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def doubled(x: Tensor) -> Outputs:
    return (x * 2 + 1,)


def test_shapes_are_recorded_when_they_come_for_the_third_time(graphs: Graphs, recorder: TapeRecorder) -> None:
    for call in range(5):
        x = torch.full((3,), float(call))
        assert torch.equal(graphs.run("f", doubled, (x,))[0], 2 * x + 1)
        assert recorder.records == (call >= 2)
    assert (graphs.told.played, graphs.told.recorded, len(graphs)) == (3, 1, 1)
    graphs.run("f", doubled, (torch.zeros(4),))
    assert recorder.records == 1


def test_playing_reads_new_inputs_and_leaves_earlier_results_alone(graphs: Graphs) -> None:
    inputs = [torch.randn(2, 3) for _ in range(6)]
    found = [graphs.run("f", doubled, (x,))[0] for x in inputs]
    for x, result in zip(inputs, found, strict=True):
        assert torch.equal(result, x * 2 + 1)
    assert graphs.told.played == 4


def test_what_a_recorded_function_writes_on_is_its_own(recorder: TapeRecorder) -> None:
    graphs = Graphs(recorder=recorder, plain_calls=0)
    recording = graphs._recorded("f", lambda x: (x.mul_(2),), (torch.ones(3),))
    assert recording is not None
    x = torch.full((3,), 5.0)
    assert torch.equal(recording.of((x,))[0], torch.full((3,), 10.0))
    assert torch.equal(x, torch.full((3,), 5.0))


def test_inputs_that_lie_otherwise_are_the_same_shape(graphs: Graphs, recorder: TapeRecorder) -> None:
    x = torch.randn(3, 4)
    for given in (x, x, x, x.T.contiguous().T, x[:1].expand(3, 4)):
        assert torch.equal(graphs.run("f", doubled, (given,))[0], given * 2 + 1)
    assert recorder.records == 1


@pytest.mark.parametrize("other", [{"constants": (2,)}, {"name": "g"}, {"dtype": torch.float64}])
def test_names_constants_and_formats_have_recordings_of_their_own(
    graphs: Graphs, recorder: TapeRecorder, other: dict[str, object]
) -> None:
    for _ in range(3):
        graphs.run("f", doubled, (torch.zeros(3),), (1,))
    x = torch.zeros(3, dtype=other.get("dtype"))
    for _ in range(2):
        graphs.run(str(other.get("name", "f")), doubled, (x,), other.get("constants", (1,)))
    assert recorder.records == 1
    graphs.run(str(other.get("name", "f")), doubled, (x,), other.get("constants", (1,)))
    assert recorder.records == 2


def test_an_autocast_block_has_recordings_of_its_own(graphs: Graphs, recorder: TapeRecorder) -> None:
    weight = torch.randn(4, 4)

    def product(x: Tensor) -> Outputs:
        return (x @ weight,)

    x = torch.randn(2, 4)
    for _ in range(4):
        assert graphs.run("f", product, (x,))[0].dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            assert graphs.run("f", product, (x,))[0].dtype == torch.bfloat16
    assert recorder.records == 2


def test_only_the_recordings_used_last_are_kept(recorder: TapeRecorder) -> None:
    graphs = Graphs(recorder=recorder, max_graphs=2, plain_calls=0)
    for count in (1, 2, 1, 3, 1):
        graphs.run("f", doubled, (torch.zeros(count),))
    assert (recorder.records, len(graphs)) == (3, 2)
    graphs.run("f", doubled, (torch.zeros(2),))  # was let go, after all that was told had been done
    assert recorder.records == 4
    assert "settle" in recorder.waited


def test_nothing_is_recorded_without_room(graphs: Graphs, recorder: TapeRecorder) -> None:
    recorder.has = False
    for _ in range(4):
        assert graphs.run("f", doubled, (torch.ones(1),))[0].item() == 3
    assert recorder.records == 0
    recorder.has = True
    graphs.run("f", doubled, (torch.ones(1),))
    assert recorder.records == 1


def test_gradients_training_and_other_devices_are_computed_plainly(graphs: Graphs, recorder: TapeRecorder) -> None:
    with torch.inference_mode(False):
        x = torch.ones(2, requires_grad=True)
        for _ in range(4):
            (found,) = graphs.run("f", doubled, (x,))
        assert found.requires_grad
    for _ in range(4):
        assert graphs.run("f", doubled, (torch.ones(2, device="meta"),))[0].device.type == "meta"
    assert recorder.records == 0


def test_what_watches_operations_sees_them_all(graphs: Graphs) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.randn(4, 4)
    for _ in range(4):
        graphs.run("f", lambda x: (x @ x,), (x,))
    with FlopCounterMode(display=False) as counter:
        graphs.run("f", lambda x: (x @ x,), (x,))
    assert counter.get_total_flops() == 2 * 4**3


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: (x * float(x.sum()),), "waits for the device"),
        (lambda x: (x[x > 0].sum()[None],), "index gives a shape|waits for the device"),
        (lambda x: (x.nonzero(),), "nonzero waits"),
        (lambda x: (torch.empty_like(x, device="meta"),), "another device"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_once_and_computed(
    graphs: Graphs, recorder: TapeRecorder, caplog: pytest.LogCaptureFixture, function: Function, reason: str
) -> None:
    x = torch.tensor([1.0, -2.0, 4.0])
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            (found,) = graphs.run("f", function, (x,))
    assert found.device.type == "meta" or torch.equal(found, function(x)[0])
    assert recorder.records == 0
    (warning,) = caplog.messages
    assert re.search(reason, warning)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: not permitted\nmore"), TypeError("no such argument")])
def test_recording_that_fails_is_told_once_and_computed(
    graphs: Graphs, recorder: TapeRecorder, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    recorder.error = error
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert graphs.run("f", doubled, (torch.ones(1),))[0].item() == 3
        recorder.error = None
        for _ in range(3):
            graphs.run("g", doubled, (torch.ones(1),))
    assert len(caplog.messages) == 1
    assert str(error).partition("\n")[0] in caplog.text
    assert list(graphs.told.refused) == ["f"]
    assert recorder.records == 1


def test_a_playback_that_differs_is_noticed_and_never_given(graphs: Graphs, caplog: pytest.LogCaptureFixture) -> None:
    factor = iter(range(1, 100))

    def decided_by_python(x: Tensor) -> Outputs:
        return (x * next(factor),)

    with caplog.at_level(logging.WARNING):
        found = [graphs.run("f", decided_by_python, (torch.ones(1),))[0].item() for _ in range(5)]
    assert "plays back something else" in caplog.text
    assert found == sorted(found)
    assert len(set(found)) == 5
    assert (len(graphs), graphs.told.played) == (0, 0)


def test_it_is_noticed_too_where_only_the_second_playback_differs(graphs: Graphs) -> None:
    def by_sign(x: Tensor) -> Outputs:
        return (x + 1 if is_positive else x - 1,)

    is_positive = True
    for _ in range(3):
        graphs.run("f", by_sign, (torch.ones(1),))
    is_positive = False
    assert graphs.run("f", by_sign, (torch.ones(1),))[0].item() == 0
    assert "f" in graphs.told.refused


def test_other_weights_cost_all_recordings(recorder: TapeRecorder) -> None:
    with torch.inference_mode(False):
        weight = torch.nn.Parameter(torch.ones(3))
    graphs = Graphs([weight], recorder, plain_calls=0)
    table = {"derived": weight * 2}  # what is made of weights does not change with them

    def scaled(x: Tensor) -> Outputs:
        return (x * table["derived"],)

    for _ in range(4):
        assert graphs.run("f", scaled, (torch.ones(3),))[0].sum() == 6
    with torch.inference_mode(False), torch.no_grad():
        weight.fill_(5.0)
    table["derived"] = weight * 2
    for _ in range(3):
        assert graphs.run("f", scaled, (torch.ones(3),))[0].sum() == 30
    assert recorder.records == 2
    weight.data = torch.full((3,), 7.0)
    table["derived"] = weight * 2
    assert graphs.run("f", scaled, (torch.ones(3),))[0].sum() == 42


def test_tables_are_held_as_long_as_a_recording_reads_them(recorder: TapeRecorder) -> None:
    graphs = Graphs(recorder=recorder, plain_calls=0)
    table = torch.full((3,), 2.0)
    lies_at, gone = address(table), weakref.ref(table)

    def by_table(x: Tensor) -> Outputs:
        return (x * table[:2].sum(),)

    graphs.run("f", by_table, (torch.ones(1),))
    (recording,) = graphs._recordings.values()
    assert lies_at in map(address, recording.reads)
    assert len({address(tensor) for tensor in recording.reads} - {lies_at, address(recording.inputs[0])}) == 0
    assert gone() is not None


def test_tables_made_while_watching_count_when_they_are_read_again() -> None:
    kept: dict[str, Tensor] = {}

    def with_table(x: Tensor) -> Tensor:
        if "table" not in kept:
            kept["table"] = torch.ones(3)
        return x * kept["table"]

    watched = Rehearsal(torch.device("cpu"))
    for _ in range(2):
        with watched:
            with_table(torch.zeros(3))
    assert address(kept["table"]) in map(address, watched.reads)


def test_what_is_forgotten_lets_go_of_its_memory(recorder: TapeRecorder) -> None:
    graphs = Graphs(recorder=recorder, plain_calls=0)
    graphs.run("f", doubled, (torch.ones(1),))
    (recording,) = graphs._recordings.values()
    gone = weakref.ref(recording.inputs[0])
    del recording
    graphs.forget()
    gc.collect()
    assert gone() is None
    assert recorder.waited[-2:] == ["settle", "emptied"]


def test_threads_never_get_each_others_results(graphs: Graphs) -> None:
    wrong: list[float] = []

    def work(value: float) -> None:
        with torch.inference_mode():
            for _ in range(50):
                (found,) = graphs.run("f", doubled, (torch.full((64,), value),))
                if not bool((found == 2 * value + 1).all()):
                    wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(value),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert graphs.told.played > 150


def test_playbacks_wait_for_each_other_on_the_device(graphs: Graphs, recorder: TapeRecorder) -> None:
    for _ in range(4):
        graphs.run("f", doubled, (torch.ones(1),))
    assert recorder.waited == ["after", "done"] * 2
