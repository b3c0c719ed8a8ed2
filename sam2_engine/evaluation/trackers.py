"""Trackers to measure: the model with its memory, and simpler ways that it should beat.

`remembering`, `reprompting` and `copying` each give an `OpenTracker` for :func:`.following.score_sequence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError, PromptError, SessionError
from ..outputs import FrameMasks
from ..prompts import Box, ObjectId, Prompts
from ..training.clicks import tight_box
from .choosing import PROMPT_KINDS, PromptKind
from .protocols import ImagePredictor, OpenTracker, Way, prompt_kinds

if TYPE_CHECKING:
    from ..tracking import Tracker

Mask = NDArray[np.bool_]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a step-by-step tracker knows of an object on one frame.

    Attributes
    ----------
    mask : [H, W] bool
    score : how sure it is, 0 to 1
    logits : to feed back, [1, h, w], as the predictor gave them
    """

    mask: Mask
    score: float = 1.0
    logits: Array | None = None


class Stepper(Protocol):
    """Finds an object on a frame from prompts, or from the frame beside it."""

    def look(self, image: Array) -> None:
        """Take an image [H, W] or [H, W, 3]; what follows is about it."""
        ...

    def begin(self, prompts: Prompts) -> Answer:
        """What the prompts mean."""
        ...

    def follow(self, before: Answer) -> Answer:
        """The object of the frame beside this one, here."""
        ...


class StepByStep:
    """A sequence predictor that goes from each frame to the next and remembers nothing else.

    Parameters
    ----------
    images : [T, H, W] or [T, H, W, 3]
    stepper : how to go
    """

    def __init__(self, images: Array, stepper: Stepper) -> None:
        self._images = images
        self._stepper = stepper
        self._prompts: dict[ObjectId, dict[int, Prompts]] = {}

    @property
    def takes(self) -> Sequence[PromptKind]:
        """Kinds of prompts that the stepper can begin with."""
        return prompt_kinds(self._stepper)

    def prompt(self, obj: ObjectId, frame: int, prompts: Prompts) -> Mask:
        """Say everything about an object on a frame; gives its mask there.

        Raises
        ------
        FramesError
            There is no such frame.
        """
        if not 0 <= frame < len(self._images):
            raise FramesError(f"frame {frame} does not exist; frames are 0 to {len(self._images) - 1}")
        self._stepper.look(self._images[frame])
        answer = self._stepper.begin(prompts)
        self._prompts.setdefault(obj, {})[frame] = prompts
        return answer.mask

    def propagate(self, way: Way = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        """Masks frame by frame, each object from its prompted frames on; prompted frames start anew.

        Raises
        ------
        SessionError
            Nothing was prompted.
        """
        if not self._prompts:
            raise SessionError("nothing to propagate: prompt an object on some frame first")
        frames = sorted({frame for said in self._prompts.values() for frame in said})
        if way != "backward":
            yield from self._walk(range(frames[0] if start is None else start, len(self._images)))
        if way != "forward":
            yield from self._walk(range(frames[-1] if start is None else start, -1, -1), fill=way == "both")

    def _walk(self, order: range, fill: bool = False) -> Iterator[FrameMasks]:
        """With `fill` objects are told of only on frames that a walk the other way did not reach."""
        known: dict[ObjectId, Answer] = {}
        for frame in order:
            self._stepper.look(self._images[frame])
            for obj, said in self._prompts.items():
                if frame in said:
                    known[obj] = self._stepper.begin(said[frame])
                elif obj in known:
                    known[obj] = self._stepper.follow(known[obj])
            told = {obj: one for obj, one in known.items() if not fill or frame < min(self._prompts[obj])}
            if told:
                masks = {obj: answer.mask for obj, answer in told.items()}
                yield FrameMasks(frame, masks, {obj: answer.score for obj, answer in told.items()})


def remembering(tracker: Tracker, **settings: Any) -> OpenTracker:
    """The model as a session follows objects, with its memory by default: a session for each sequence.

    Parameters
    ----------
    settings : of :class:`sam2_engine.session.Session`
    """

    def start(images: Array) -> Any:
        from ..session import Session

        return Session(images, tracker, **settings)

    return start


def reprompting(predictor: ImagePredictor, *, feed_logits: bool = True) -> OpenTracker:
    """Without memory: on every frame the box of the mask before, and its logits, are the prompt.

    A tracker with memory should beat this. Once the object is lost it stays lost.
    """
    return _step_by_step(lambda: Reprompt(predictor, feed_logits=feed_logits))


def copying(predictor: ImagePredictor | None = None) -> OpenTracker:
    """The mask of the prompted frame left where it is.

    Parameters
    ----------
    predictor : makes the mask where a click or a box is given; without it only masks can be given
    """
    return _step_by_step(lambda: Copy(predictor))


class Reprompt:
    """The step of :func:`reprompting`."""

    def __init__(self, predictor: ImagePredictor, *, feed_logits: bool = True) -> None:
        self._predictor = predictor
        self._feed_logits = feed_logits
        self._image: Array | None = None
        self._is_set = False

    def look(self, image: Array) -> None:
        """Take an image; it is encoded only where something is asked about it."""
        self._image, self._is_set = image, False

    def begin(self, prompts: Prompts) -> Answer:
        """The mask itself where one is given, else what the predictor answers."""
        if prompts.mask is not None:
            return Answer(prompts.mask)
        clicks = np.array([(click.x, click.y) for click in prompts.clicks], dtype=np.float32)
        labels = np.array([int(click.positive) for click in prompts.clicks], dtype=np.int32)
        points = {"point_coords": clicks, "point_labels": labels} if prompts.clicks else {}
        is_open = len(prompts.clicks) == 1 and prompts.box is None
        return self._ask(prompts.box, None, multimask=is_open, **points)

    def follow(self, before: Answer) -> Answer:
        """By the box around the mask before; nothing where there was nothing."""
        if not before.mask.any():
            return Answer(before.mask, 0.0)
        return self._ask(tight_box(before.mask), before.logits if self._feed_logits else None, multimask=False)

    def _ask(self, box: Box | None, logits: Array | None, *, multimask: bool, **points: Array) -> Answer:
        if not self._is_set:
            self._predictor.set_image(self._image)  # type: ignore[arg-type]
            self._is_set = True
        corners = None if box is None else np.array([box.x0, box.y0, box.x1, box.y1], dtype=np.float32)
        masks, quality, low_res = self._predictor.predict(
            box=corners, mask_input=logits, multimask_output=multimask, **points
        )
        best = int(np.argmax(quality))
        return Answer(np.asarray(masks[best]) > 0, float(quality[best]), low_res[best : best + 1])


class Copy:
    """The step of :func:`copying`."""

    def __init__(self, predictor: ImagePredictor | None = None) -> None:
        self._first = None if predictor is None else Reprompt(predictor)
        self.takes: Sequence[PromptKind] = PROMPT_KINDS if predictor is not None else ("mask",)

    def look(self, image: Array) -> None:
        """Take an image."""
        if self._first is not None:
            self._first.look(image)

    def begin(self, prompts: Prompts) -> Answer:
        """The mask given, or the predictor's.

        Raises
        ------
        PromptError
            A click or a box without a predictor.
        """
        if prompts.mask is not None:
            return Answer(prompts.mask)
        if self._first is None:
            raise PromptError("only a mask can be copied; give a mask prompt, or a predictor that makes one")
        return self._first.begin(prompts)

    def follow(self, before: Answer) -> Answer:
        """The same."""
        return before


def _step_by_step(make: Callable[[], Stepper]) -> OpenTracker:
    return lambda images: StepByStep(images, make())
