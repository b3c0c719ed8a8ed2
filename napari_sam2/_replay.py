"""What a person did, done again from the journal, without a window."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sam2_engine.budget import Budget
from sam2_engine.errors import SessionFileError
from sam2_engine.legs import Leg
from sam2_engine.prompts import ObjectId
from sam2_engine.tracking import Tracker

from . import _answering, _carrying, _editing, _propagating, _reshaping
from ._controller import Controller
from ._objects import Place, Progress
from ._picture import Picture
from ._project import Project
from ._propagating import Plan
from ._state import Mark, State

LoadTracker = Callable[[str], Tracker]
Values = Mapping[str, Any]


def replay_steps(
    project: Project, picture: Picture, tracker: Tracker | LoadTracker, *, budget: Budget | None = None
) -> Generator[Progress, None, Controller]:
    """Do again all that a project's journal tells, on the picture it was made on.

    Parameters
    ----------
    tracker : the model to use throughout, or what loads the model of a name, where several were used
    budget : how much may be kept on the way

    Returns
    -------
    A controller with the same labels, as far as the model computes the same.

    Raises
    ------
    SessionFileError
        The journal tells of something unknown.
    """
    chosen = replace(project.settings, undo_steps=1)
    load = tracker if isinstance(tracker, Tracker) else lambda: tracker(project.model_name)
    controller = Controller(picture, load, budget=budget)
    controller.use_settings(chosen)
    for done, action in enumerate(project.journal):
        if action.name not in _DEEDS:
            raise SessionFileError(f"the project tells of {action.name!r}, which is unknown here; update this version")
        for step in _DEEDS[action.name](controller, action.values, tracker):
            yield Progress(done, len(project.journal), step.place, step.what)
    yield Progress(len(project.journal), len(project.journal), None, "replaying")
    return controller


Deed = Callable[[Controller, Values, Any], Iterator[Progress]]


def _quick(change: Callable[[Controller, Values], object]) -> Deed:
    def deed(controller: Controller, values: Values, _: Any) -> Iterator[Progress]:
        change(controller, values)
        yield Progress(0, 1, None, "replaying")

    return deed


def _choose(controller: Controller, values: Values, tracker: Any) -> Iterator[Progress]:
    controller.use_settings(replace(controller.settings, **values["settings"]))
    controller.use_picture(replace(controller.picture, **values["picture"]))
    name, precision = values["model"], values.get("precision")

    def load() -> Tracker:
        loaded = tracker if isinstance(tracker, Tracker) else tracker(name)
        return loaded if precision is None else loaded.computing_in(precision)

    if precision is not None or not isinstance(tracker, Tracker):
        controller.use_tracker(load, name, precision or "fp32")
    yield Progress(0, 1, None, "replaying")


def _mark(controller: Controller, values: Values) -> None:
    place: Place = values["place"]
    controller.desk.edit(lambda state: _editing.mark(state, place, {**_marks_on(state, place), **values["marked"]})[0])


def _marks_on(state: State, place: Place) -> dict[int, tuple[Mark, ...]]:
    return {obj: said.marks for (obj, where), said in state.said.items() if where == place}


def _answer(controller: Controller, values: Values, _: Any) -> Iterator[Progress]:
    place, obj = values["place"], values["obj"]
    said = controller.state.said[obj, place]
    yield Progress(0, 1, place, "answering")
    _answering.fill_in(controller.desk, obj, place, said, _answering.find(controller.desk, obj, place, said))


def _propagate(controller: Controller, values: Values, _: Any) -> Iterator[Progress]:
    position = values["position"]
    legs = tuple(Leg(*leg) for leg in values["legs"])
    anchors: dict[ObjectId, Any] = {}
    between = {}
    for obj in dict.fromkeys(_propagating.number(leg.obj) for leg in legs):
        along = controller.state.masks.along(obj, position)
        anchors[obj] = [frame for frame, mask in along.items() if mask.is_anchor and not mask.patch.is_empty]
        between[obj] = _editing.stamps_around(along, range(controller.picture.num_frames))
    plan = Plan(position, legs, anchors, between)
    with controller.desk.run("Propagating") as run:
        yield from _propagating.walk(controller.desk, run, plan, 0, 0, plan.num_steps)
        given_up = {obj: frames for obj, frames in values["given_up"]}
        _propagating.give_up(controller.desk, run, plan, given_up)


def _seed(controller: Controller, values: Values, _: Any) -> Iterator[Progress]:
    with controller.desk.run("Carrying on") as run:
        yield Progress(0, 1, None, "carrying")
        _carrying.seed(controller.desk, run, values["ids"], values["start"], values["goal"])


def _take_labels(controller: Controller, values: Values) -> None:
    with controller.desk.run("Reading labels") as run:
        _reshaping.give_labels(controller.desk, values["place"], values["given"], run.step)


def _split(controller: Controller, values: Values, _: Any) -> Iterator[Progress]:
    yield from controller.split_steps(values["obj"], values["place"], values["seeds"])


def _paint(controller: Controller, values: Values) -> None:
    overwrite = controller.settings.overlap == "overwrite"
    place, label, patch = values["place"], values["label"], values["patch"]
    controller.desk.edit(
        lambda state: _editing.paint(state, place, label, patch, overwrite=overwrite).did("paint", **values)
    )


def _outline(controller: Controller, values: Values) -> None:
    controller.outline(values["obj"], values["place"], values["outlines"])


def _add_mask(controller: Controller, values: Values) -> None:
    overwrite = controller.settings.overlap == "overwrite"
    obj, place, patch = values["obj"], values["place"], values["patch"]
    controller.desk.edit(
        lambda state: _editing.give(state, obj, place, patch, overwrite=overwrite).did("add_mask", **values)
    )


_DEEDS: Mapping[str, Deed] = {
    "begin": _choose,
    "choose": _choose,
    "new_object": _quick(lambda controller, values: controller.new_object(values["name"])),
    "rename": _quick(lambda controller, values: controller.rename(values["ids"][0], values["name"])),
    "recolour": _quick(lambda controller, values: controller.recolour(values["ids"][0], values["colour"])),
    "delete": _quick(lambda controller, values: controller.delete(values["ids"])),
    "lock": _quick(lambda controller, values: controller.lock(values["ids"])),
    "unlock": _quick(lambda controller, values: controller.unlock(values["ids"])),
    "finish": _quick(lambda controller, values: controller.finish(values["ids"])),
    "reopen": _quick(lambda controller, values: controller.reopen(values["ids"])),
    "merge": _quick(lambda controller, values: controller.merge(values["ids"])),
    "relabel": _quick(lambda controller, values: controller.relabel(values["old"], values["new"])),
    "divide": _quick(lambda controller, values: controller.divide(values["obj"], values["place"])),
    "set_prompts": _quick(_mark),
    "clear_prompts": _quick(lambda controller, values: controller.clear_prompts(values["obj"], values["place"])),
    "add_mask": _quick(_add_mask),
    "outline": _quick(_outline),
    "paint": _quick(_paint),
    "take_labels": _quick(_take_labels),
    "answer": _answer,
    "propagate": _propagate,
    "seed": _seed,
    "split": _split,
}
