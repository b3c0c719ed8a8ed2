"""Functions of tensors recorded once for each shape and then played back: CUDA graphs, bounded, checked, never needed.

What a GPU does for a small model is quick, and telling it takes longer: thousands of small kernels a frame. A graph is
told once. It reads its inputs where they lay when it was recorded, so that they are copied there, and writes its
results where the next playing writes them, so that they are copied away.

Nothing here decides what comes out: where a function cannot be recorded, or plays back anything but what it computes,
it is computed as ever, with one warning.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

from .cuda_graphs import CudaGraphs

logger = logging.getLogger(__name__)

Outputs = tuple[Tensor, ...]
Function = Callable[..., Outputs]
_Key = tuple[Hashable, ...]

MAX_GRAPHS = 24
"""Recordings kept, those that were not played for long go first."""

PLAIN_CALLS = 2
"""Calls with the same shapes that are computed plainly before they are recorded: shapes at the beginning of a film
come once, and recording takes longer than computing."""

SHAPES_SEEN = 4
"""Shapes whose calls are counted, for each recording that may be kept."""

CHECKED_CALLS = 2
"""Playbacks of each recording that are compared with what is computed, with inputs of their own each."""

TOLERANCE, REDUCED_TOLERANCE = 1e-3, 2e-2
"""How far a playback may lie off what is computed, as a share of the largest value, in float32 and in 16 bits: a
library may take another algorithm, which rounds otherwise."""

_SYNCHRONISING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique", "unique_dim")
"""Operations whose result the processor waits for, or whose shape depends on values."""


class Recorder(Protocol):
    """A device that can record."""

    def can(self, device: torch.device) -> bool:
        """Whether functions of tensors on this device can be recorded, now and by this thread."""

    def has_room(self, device: torch.device) -> bool:
        """Whether there is memory for another recording."""

    def record(self, compute: Callable[[], Outputs], device: torch.device) -> tuple[Callable[[], None], Outputs]:
        """A function without arguments that does all again, and where its results will be."""

    def after_others(self, device: torch.device) -> None:
        """Let what comes now wait for what was done in other streams."""

    def done(self, device: torch.device) -> None:
        """What was told in this stream until now is what `after_others` and `settle` wait for."""

    def settle(self) -> None:
        """Wait until all playbacks are through, before something they use is let go."""

    def emptied(self) -> None:
        """No recording is left."""


class Rehearsal(TorchDispatchMode):
    """Watches a function while it is computed: what it reads besides its inputs, and what a graph could not hold.

    Attributes
    ----------
    reads : tensors that were there before; a recording reads them again wherever they lay, so it must keep them
    obstacle : what cannot be recorded; None where everything can
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.obstacle: str | None = None
        self._device = device
        self._depth = 0
        self._made: set[int] = set()
        self._reads: dict[int, Tensor] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported for that, which takes seconds

    def __enter__(self) -> Self:
        if self._depth == 0:
            # What was made the last time and is still there, as kept tables are, was there before.
            self._made.clear()
        self._depth += 1
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._depth -= 1
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    @property
    def reads(self) -> list[Tensor]:
        return list(self._reads.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.prim.device.default:
            # In inference mode operations come as they were called, and what they are made of would not be seen.
            with self:
                found = func.decompose(*args, **(kwargs or {}))
            if found is not NotImplemented:
                return found
        given = _tensors_in((args, kwargs))
        for tensor in given:
            # What was there before is still there, so that nothing new can have its address.
            if _address(tensor) not in self._made:
                self._reads.setdefault(_address(tensor), tensor)
        found = func(*args, **(kwargs or {}))
        made = _tensors_in(found)
        self._made.update(_address(tensor) for tensor in made)
        self.obstacle = self.obstacle or self._found_in(func.overloadpacket.__name__, [*given, *made], args)
        return found

    def _found_in(self, name: str, tensors: Sequence[Tensor], args: Any) -> str | None:
        if name in _SYNCHRONISING:
            return f"{name} waits for the device"
        if name == "index" and any(index.dtype == torch.bool for index in _tensors_in(args[1])):
            return "a mask used as an index gives a shape that depends on values"
        if any(tensor.device != self._device and not _is_number(tensor) for tensor in tensors):
            return f"{name} takes or gives tensors of another device"
        return None


def _tensors_in(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _is_number(tensor: Tensor) -> bool:
    """A scalar of the processor goes into a graph by its value."""
    return tensor.ndim == 0 and tensor.device.type == "cpu"


def _address(tensor: Tensor) -> int:
    """Of the storage; views have that of what they are views of, and packed weights have none."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)


@dataclass(slots=True, eq=False)
class _Recording:
    """One function with inputs of one shape.

    Attributes
    ----------
    play : computes `outputs` from `inputs`
    inputs, outputs : where they are read and written
    reads : other tensors that are read: weights, and tables made of them
    unchecked : playbacks that still are to be compared with what is computed
    """

    play: Callable[[], None]
    inputs: Outputs
    outputs: Outputs
    reads: list[Tensor]
    unchecked: int = CHECKED_CALLS

    def of(self, tensors: Sequence[Tensor]) -> Outputs:
        for place, tensor in zip(self.inputs, tensors, strict=True):
            place.copy_(tensor)
        self.play()
        return tuple(output.clone() for output in self.outputs)


@dataclass(slots=True)
class Told:
    """What became of calls, for people and tests."""

    played: int = 0
    recorded: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class Graphs:
    """Computes functions of tensors, from recordings where that is possible.

    Parameters
    ----------
    weights : what all functions read and what may be changed between calls: recordings are forgotten then
    recorder : of a device; CUDA's when not given
    max_graphs, plain_calls : see `MAX_GRAPHS` and `PLAIN_CALLS`

    Notes
    -----
    May be used from several threads, whose playbacks wait for each other. Plain computing is what happens on other
    devices, with gradients or outside of inference mode, while something is compiled, captured or watched by a
    dispatch mode, and for functions that were refused once.
    """

    def __init__(
        self,
        weights: Sequence[Tensor] = (),
        recorder: Recorder | None = None,
        *,
        max_graphs: int = MAX_GRAPHS,
        plain_calls: int = PLAIN_CALLS,
    ) -> None:
        self.told = Told()
        self._weights = tuple(weights)
        self._telling = [weight for weight in self._weights if not weight.is_inference()]
        self._recorder = recorder or CudaGraphs()
        self._max_graphs, self._plain_calls = max_graphs, plain_calls
        self._recordings: OrderedDict[_Key, _Recording] = OrderedDict()
        self._seen: OrderedDict[_Key, int] = OrderedDict()
        self._state = self._weights_now()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._recordings)

    def forget(self) -> None:
        """Let go of all recordings and what they hold."""
        with self._lock:
            self._let_go(list(self._recordings))
            self._seen.clear()

    def run(self, name: str, function: Function, tensors: Sequence[Tensor], constants: Hashable = ()) -> Outputs:
        """``function(*tensors)``.

        Parameters
        ----------
        name : of the function; refused by name
        function : gives a tuple of tensors and depends on nothing but `tensors`, `constants` and the weights
        tensors : all on one device
        constants : whatever else the function depends on
        """
        device = tensors[0].device
        if not self._is_possible(name, tensors, device):
            return function(*tensors)
        key = (name, constants, _compute_format(device), *((t.shape, t.dtype) for t in tensors))
        with self._lock:
            self._notice_new_weights()
            recording = self._recordings.get(key) or self._new(key, name, function, tensors)
            if recording is not None:
                self._recordings.move_to_end(key)
                return self._played(name, recording, function, tensors)
        return function(*tensors)

    def _is_possible(self, name: str, tensors: Sequence[Tensor], device: torch.device) -> bool:
        return (
            name not in self.told.refused
            and torch.is_inference_mode_enabled()
            and not torch.compiler.is_compiling()
            and _get_current_dispatch_mode() is None
            and all(tensor.device == device for tensor in tensors)
            and self._recorder.can(device)
        )

    def _weights_now(self) -> tuple[int, int]:
        """Something that changes when weights do; those made in inference mode do not tell when they are written on."""
        return sum([weight._version for weight in self._telling]), sum([weight.data_ptr() for weight in self._weights])

    def _notice_new_weights(self) -> None:
        now = self._weights_now()
        if now != self._state:
            self._state = now
            self.forget()

    def _new(self, key: _Key, name: str, function: Function, tensors: Sequence[Tensor]) -> _Recording | None:
        """A recording, once the shapes came often enough and where there is room."""
        times = self._seen[key] = self._seen.pop(key, 0) + 1
        while len(self._seen) > SHAPES_SEEN * self._max_graphs:
            self._seen.popitem(last=False)
        if times <= self._plain_calls or not self._recorder.has_room(tensors[0].device):
            return None
        try:
            recording = self._recorded(name, function, tensors)
        except Exception as error:  # of any kind: plain computing, which follows, does not need what failed
            self._refuse(name, f"{type(error).__name__}: {error}".partition("\n")[0])
            return None
        if recording is not None:
            self._recordings[key] = recording
            self.told.recorded += 1
            self._let_go([] if len(self._recordings) <= self._max_graphs else [next(iter(self._recordings))])
        return recording

    def _recorded(self, name: str, function: Function, tensors: Sequence[Tensor]) -> _Recording | None:
        device = tensors[0].device
        places = tuple(torch.empty_like(t, memory_format=torch.contiguous_format).copy_(t) for t in tensors)
        number_format = _compute_format(device)
        # Weights in another format must belong to the recording, not to the block that is around it now.
        with torch.autocast(device.type, number_format, enabled=number_format is not None, cache_enabled=False):
            with Rehearsal(device) as rehearsed:
                function(*places)
            if rehearsed.obstacle is not None:
                self._refuse(name, rehearsed.obstacle)
                return None
            watched = Rehearsal(device)

            def compute() -> Outputs:
                with watched:
                    return function(*places)

            play, outputs = self._recorder.record(compute, device)
        return _Recording(play, places, outputs, watched.reads)

    def _played(self, name: str, recording: _Recording, function: Function, tensors: Sequence[Tensor]) -> Outputs:
        device = tensors[0].device
        self._recorder.after_others(device)
        found = recording.of(tensors)
        self._recorder.done(device)
        if recording.unchecked > 0:
            computed = function(*tensors)
            if not _agree(found, computed, TOLERANCE if _compute_format(device) is None else REDUCED_TOLERANCE):
                self._refuse(name, "it plays back something else than what is computed")
                return computed
            recording.unchecked -= 1
        self.told.played += 1
        return found

    def _refuse(self, name: str, reason: str) -> None:
        """Compute a function plainly from now on."""
        self.told.refused[name] = reason
        self._let_go([key for key in self._recordings if key[0] == name])
        logger.warning("no graph for %s: %s; it is computed plainly", name, reason)

    def _let_go(self, keys: Sequence[_Key]) -> None:
        if keys:
            self._recorder.settle()
        for key in keys:
            del self._recordings[key]
        if not self._recordings:
            self._recorder.emptied()


def _compute_format(device: torch.device) -> torch.dtype | None:
    """What autocast computes in now; None without it."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _agree(found: Outputs, computed: Outputs, tolerance: float) -> bool:
    """Whether two results are the same but for rounding."""
    return len(found) == len(computed) and all(_is_close(a, b, tolerance) for a, b in zip(found, computed, strict=True))


def _is_close(found: Tensor, computed: Tensor, tolerance: float) -> bool:
    if found.shape != computed.shape or found.dtype != computed.dtype or found.numel() == 0:
        return found.shape == computed.shape and found.dtype == computed.dtype
    largest = float(computed.abs().max())
    return torch.allclose(found, computed, rtol=0.0, atol=tolerance * largest, equal_nan=True)
