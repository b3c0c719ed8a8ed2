"""A person's work on one picture: objects, prompts, masks, and all that can be done with them. No Qt, no napari.

Methods are quick and for the thread of the window. What computes is a generator ``*_steps`` that a worker goes through;
closing it keeps what was done. Edits may come while a generator rests between two steps; `undo` and `redo` may not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from sam2_engine.budget import Budget
from sam2_engine.errors import SessionFileError

from ._autosave import hold_file, recoverable
from ._choosing import Choosing
from ._computing import Computing
from ._desk import Desk
from ._editor import Editor
from ._keeping import Keeper
from ._looking import Looking
from ._objects import ControllerSettings, ObjectRow, Place, Status
from ._picture import Picture
from ._project import check_picture, read_project
from ._prompting import Prompting
from ._state import Action, State
from ._store_labels import StoreLabels

if TYPE_CHECKING:
    from sam2_engine.placement import Precision
    from sam2_engine.tracking import Tracker

    from ._walkers import MakeTracker

__all__ = ["Controller", "recoverable"]


class Controller:
    """Everything a person does with one picture: its parts under one roof. What changes something is a step for undo.

    The parts share a `Desk`: `Editor` changes objects, `Prompting` takes prompts and masks, `Computing` runs the model,
    `Choosing` changes model, channels and settings, `Keeper` writes files, `Looking` tells what there is.

    Parameters
    ----------
    picture : what is segmented
    tracker : the model, or a function that loads it when it is first needed, in the thread that computes
    settings : see `ControllerSettings`
    model_name : kept in project files
    budget : how much may be kept beside the masks; a part of what is free on this machine when not given
    precision : numbers that the model computes in, told in the journal

    Notes
    -----
    Signals are emitted in the thread that changed something: in the worker's while a generator runs.
    """

    def __init__(
        self,
        picture: Picture,
        tracker: Tracker | MakeTracker,
        *,
        settings: ControllerSettings | None = None,
        model_name: str = "default",
        budget: Budget | None = None,
        precision: Precision = "fp32",
    ) -> None:
        chosen = settings or ControllerSettings()
        self.desk = Desk(picture, tracker, chosen, model_name, budget or Budget(), precision)
        self._take_signals()
        self.undo, self.redo = self.desk.undo, self.desk.redo
        self._take_objects(Editor(self.desk))
        self._take_prompts(Prompting(self.desk))
        self._take_runs(Computing(self.desk))
        self._take_choices(Choosing(self.desk))
        self._keeper = Keeper(self.desk)
        self.save, self.autosave, self.close = self._keeper.save, self._keeper.autosave, self._keeper.close
        self._take_views(Looking(self.desk, self.paint))

    @classmethod
    def open(
        cls,
        path: str | Path,
        picture: Picture,
        tracker: Tracker | MakeTracker,
        *,
        settings: ControllerSettings | None = None,
        model_name: str | None = None,
        budget: Budget | None = None,
        precision: Precision = "fp32",
    ) -> Self:
        """Open a project file, or what `autosave` left, on the picture it was made on.

        Parameters
        ----------
        settings, model_name : those of the project when not given

        Raises
        ------
        SessionFileError
            Damaged, newer, of another picture, or open in another window.
        """
        path = Path(path)
        if not path.exists():
            raise SessionFileError(f"there is no project {path}; check the path")
        held = hold_file(path)
        try:
            project = read_project(path)
            check_picture(project, picture, path)
            chosen = settings or project.settings
            name = model_name or project.model_name
            opened = cls(picture, tracker, settings=chosen, model_name=name, budget=budget, precision=precision)
        except BaseException:
            held.release()
            raise
        opened._keeper.take_up(project, path, held)
        return opened

    # What the parts do

    def _take_signals(self) -> None:
        news = self.desk.news
        self.objects_changed, self.scores_changed = news.objects_changed, news.scores_changed
        self.masks_changed, self.prompts_changed = news.masks_changed, news.prompts_changed
        self.status_changed = news.status_changed

    def _take_objects(self, editor: Editor) -> None:
        self.new_object, self.select = editor.new_object, editor.select
        self.rename, self.recolour, self.relabel = editor.rename, editor.recolour, editor.relabel
        self.delete, self.merge, self.divide = editor.delete, editor.merge, editor.divide
        self.lock, self.unlock = editor.lock, editor.unlock
        self.finish, self.reopen = editor.finish, editor.reopen

    def _take_prompts(self, prompting: Prompting) -> None:
        self.set_prompts, self.clear_prompts = prompting.set_prompts, prompting.clear_prompts
        self.add_mask, self.draw, self.outline = prompting.add_mask, prompting.draw, prompting.outline
        self.paint, self.end_stroke = prompting.paint, prompting.end_stroke

    def _take_runs(self, computing: Computing) -> None:
        self.load_steps, self.prefetch_steps = computing.load_steps, computing.prefetch_steps
        self.answer_steps, self.propagate_steps = computing.answer_steps, computing.propagate_steps
        self.carry_steps, self.split_steps = computing.carry_steps, computing.split_steps
        self.objects_from_labels_steps = computing.objects_from_labels_steps

    def _take_choices(self, choosing: Choosing) -> None:
        self.use_tracker, self.use_picture = choosing.use_tracker, choosing.use_picture
        self.use_settings = choosing.use_settings

    def _take_views(self, looking: Looking) -> None:
        self._looking = looking
        self.work_labels, self.finished_labels = looking.work_labels, looking.finished_labels
        self.prompts, self.outlines, self.mask = looking.prompts, looking.outlines, looking.mask
        self.scores, self.doubtful, self.lineage = looking.scores, looking.doubtful, looking.lineage

    # What there is

    @property
    def picture(self) -> Picture:
        """What is segmented."""
        return self.desk.picture

    @property
    def settings(self) -> ControllerSettings:
        """What was chosen."""
        return self.desk.settings

    @property
    def state(self) -> State:
        """Everything, as one value that never changes."""
        return self.desk.state

    @property
    def position(self) -> tuple[int, ...]:
        """Where something was said last, on the fixed axes."""
        return self.desk.position

    @property
    def journal(self) -> tuple[Action, ...]:
        """Everything that was done to come here, without what was undone."""
        return self.desk.journal

    @property
    def status(self) -> Status:
        """Where the work stands and what to do next."""
        return self.desk.status

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that `save` has not written; which object is chosen does not count."""
        return self.desk.is_dirty

    @property
    def is_running(self) -> bool:
        """Whether a generator is open."""
        return self.desk.is_running

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self.desk.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to do again."""
        return self.desk.can_redo

    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """All objects, by id."""
        return self._looking.objects

    @property
    def active(self) -> int | None:
        """The object that prompts go to."""
        return self._looking.active

    @property
    def prompted_places(self) -> frozenset[Place]:
        """Places with marks or outlines."""
        return self._looking.prompted_places

    @property
    def all_labels(self) -> StoreLabels:
        """All objects as they are now, locked ones above the others, read only; for files."""
        return self._looking.all_labels
