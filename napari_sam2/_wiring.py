"""Which signal of the dock widget goes where, and which key does what."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._widget import Sam2Widget


def connect(widget: Sam2Widget) -> None:
    """Connect all groups."""
    doing, opener = widget.doing, widget.opener
    doing.failed.connect(widget.complain)
    doing.told.connect(widget.tell)
    opener.failed.connect(widget.complain)
    opener.told.connect(widget.tell)
    opener.opened.connect(widget.take_up)
    opener.found.connect(widget.session.offer_recovery)
    worker = widget.worker
    worker.started.connect(widget.on_started)
    worker.finished.connect(widget.on_finished)
    worker.failed.connect(widget.on_failed)
    worker.changed.connect(widget.on_worker_changed)
    _connect_input(widget)
    _connect_objects(widget)
    _connect_prompt(widget)
    _connect_propagate(widget)
    _connect_rest(widget)


def _connect_input(widget: Sam2Widget) -> None:
    widget.input.start_wanted.connect(widget.begin)
    widget.input.changed.connect(widget.showing.choice)
    widget.model.chosen.connect(widget.use_model)


def _connect_objects(widget: Sam2Widget) -> None:
    doing, objects = widget.doing, widget.objects
    objects.new_wanted.connect(doing.new_object)
    objects.delete_wanted.connect(doing.delete)
    objects.picked.connect(doing.select)
    objects.renamed.connect(doing.rename)
    objects.labels_wanted.connect(doing.take_labels)
    objects.table.selectionModel().selectionChanged.connect(widget.showing.possibilities)


def _connect_prompt(widget: Sam2Widget) -> None:
    doing, prompt = widget.doing, widget.prompt
    prompt.tool_chosen.connect(doing.use_tool)
    prompt.label_chosen.connect(doing.use_label)
    prompt.live_chosen.connect(partial(widget.settings.__setitem__, "prompting.live"))
    prompt.answer_wanted.connect(doing.answer)
    prompt.clear_wanted.connect(doing.clear)
    prompt.show_live(bool(widget.settings["prompting.live"]))


def _connect_propagate(widget: Sam2Widget) -> None:
    doing, propagate = widget.doing, widget.propagate
    propagate.wanted.connect(widget.run_propagation)
    propagate.carry_wanted.connect(widget.run_carrying)
    propagate.range_chosen.connect(widget.use_range)
    propagate.patience_chosen.connect(widget.use_patience)
    propagate.exclusive_chosen.connect(lambda exclusive: doing.use_setting(exclusive=exclusive))
    propagate.place_chosen.connect(doing.go_to)
    propagate.step_wanted.connect(doing.visit)
    widget.strip.frame_chosen.connect(widget.show_frame)
    widget.strip.range_chosen.connect(widget.use_range)
    widget.state.pause_wanted.connect(doing.pause)
    widget.state.cancel_wanted.connect(doing.cancel)


def _connect_rest(widget: Sam2Widget) -> None:
    doing, finish, session = widget.doing, widget.finish, widget.session
    finish.finish_wanted.connect(doing.finish)
    finish.reopen_wanted.connect(doing.reopen)
    finish.merge_wanted.connect(doing.merge)
    finish.split_wanted.connect(doing.split)
    finish.relabel_wanted.connect(doing.relabel)
    finish.divide_wanted.connect(doing.divide)
    finish.undo_wanted.connect(doing.undo)
    finish.redo_wanted.connect(doing.redo)
    finish.overwrite_chosen.connect(lambda overwrite: doing.use_setting(overlap="overwrite" if overwrite else "keep"))
    session.save_wanted.connect(doing.save)
    session.open_wanted.connect(widget.open_project)
    session.export_wanted.connect(doing.export)
    session.measure_wanted.connect(doing.measure)
    session.tracks_wanted.connect(doing.show_tracks)
    session.recover_wanted.connect(widget.recover)
    session.discard_wanted.connect(widget.opener.discard)
    widget.keys.refused.connect(widget.complain)
    widget.shortcuts.changed.connect(widget.showing.keys)


def bind_keys(widget: Sam2Widget) -> None:
    """Give every action its key."""
    doing = widget.doing
    widget.shortcuts.bind(
        {
            "answer": doing.answer,
            "propagate": partial(widget.run_propagation, "both"),
            "toggle_label": doing.toggle_label,
            "next_object": partial(doing.next_object, 1),
            "previous_object": partial(doing.next_object, -1),
            "next_doubtful": partial(doing.visit, 1),
            "previous_doubtful": partial(doing.visit, -1),
            "undo": doing.undo,
            "redo": doing.redo,
            "finish": doing.finish,
            "clear_slice": partial(doing.clear, False),
            "clear_object": partial(doing.clear, True),
            "divide": doing.divide,
            "cancel": doing.cancel,
        }
    )
    widget.shortcuts.bind_extra("Ctrl+Z", doing.undo, widget.is_on_our_layer)
    widget.shortcuts.bind_extra("Ctrl+Shift+Z", doing.redo, widget.is_on_our_layer)
    widget.viewer.layers.selection.events.active.connect(widget.follow_active)
