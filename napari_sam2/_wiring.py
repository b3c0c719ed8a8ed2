"""Which signal of the dock widget goes where, and which key does what."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._widget import Sam2Widget
    from ._work import Work


def connect(widget: Sam2Widget) -> None:
    """Connect all groups."""
    opener, reporting = widget.opener, widget.reporting
    for speaker in (widget.hand, opener):
        speaker.failed.connect(reporting.complain)
        speaker.told.connect(reporting.tell)
    opener.opened.connect(widget.take_up)
    opener.copies.failed.connect(reporting.complain)
    opener.forgot.connect(widget.let_go)
    opener.copies.found.connect(widget.recovery.offer)
    widget.worker.changed.connect(widget.follow_worker)
    _connect_input(widget)
    _connect_objects(widget)
    _connect_prompt(widget)
    _connect_propagate(widget)
    _connect_finish(widget)
    _connect_rest(widget)


def connect_work(widget: Sam2Widget, work: Work) -> None:
    """Connect a work with what shows it."""
    work.news.connect(widget.showing.news)
    work.news.connect(widget.solid.news)
    work.failed.connect(widget.reporting.complain)
    work.told.connect(widget.reporting.tell)
    work.status.connect(widget.showing.status)
    work.label_changed.connect(widget.prompt.show_label)
    work.splitting_changed.connect(widget.finish.show_splitting)
    work.layers.tool_changed.connect(widget.prompt.show_tool)


def _connect_input(widget: Sam2Widget) -> None:
    widget.input.start_wanted.connect(widget.wanting.begin)
    widget.input.changed.connect(widget.showing.choice)
    widget.model.chosen.connect(widget.wanting.use_model)


def _connect_objects(widget: Sam2Widget) -> None:
    doing, objects = widget.doing, widget.objects
    objects.new_wanted.connect(doing.new_object)
    objects.delete_wanted.connect(doing.delete)
    objects.picked.connect(doing.select)
    objects.renamed.connect(doing.rename)
    objects.labels_wanted.connect(widget.running.take_labels)
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
    propagate.wanted.connect(widget.wanting.propagate)
    propagate.carry_wanted.connect(widget.wanting.carry)
    propagate.range_chosen.connect(widget.wanting.use_range)
    propagate.patience_chosen.connect(widget.wanting.use_patience)
    propagate.exclusive_chosen.connect(lambda exclusive: doing.use_setting(exclusive=exclusive))
    propagate.place_chosen.connect(doing.go_to)
    propagate.step_wanted.connect(doing.visit)
    widget.strip.frame_chosen.connect(widget.wanting.show_frame)
    widget.strip.range_chosen.connect(widget.wanting.use_range)
    widget.state.pause_wanted.connect(widget.running.pause)
    widget.state.cancel_wanted.connect(widget.running.cancel)


def _connect_finish(widget: Sam2Widget) -> None:
    doing, running, finish = widget.doing, widget.running, widget.finish
    finish.finish_wanted.connect(doing.finish)
    finish.reopen_wanted.connect(doing.reopen)
    finish.merge_wanted.connect(doing.merge)
    finish.split_wanted.connect(doing.split)
    finish.relabel_wanted.connect(doing.relabel)
    finish.divide_wanted.connect(doing.divide)
    finish.undo_wanted.connect(running.undo)
    finish.redo_wanted.connect(running.redo)
    finish.overwrite_chosen.connect(lambda overwrite: doing.use_setting(overlap="overwrite" if overwrite else "keep"))


def _connect_rest(widget: Sam2Widget) -> None:
    writing, session = widget.writing, widget.session
    session.save_wanted.connect(writing.save)
    session.open_wanted.connect(widget.wanting.open_project)
    session.export_wanted.connect(writing.export)
    session.measure_wanted.connect(writing.measure)
    session.tracks_wanted.connect(widget.doing.show_tracks)
    widget.recovery.recover_wanted.connect(widget.wanting.recover)
    widget.recovery.discard_wanted.connect(widget.opener.copies.discard)
    widget.keys.refused.connect(widget.reporting.complain)
    widget.shortcuts.changed.connect(widget.showing.keys)


def bind_keys(widget: Sam2Widget) -> None:
    """Give every action its key."""
    doing, running = widget.doing, widget.running
    widget.shortcuts.bind(
        {
            "answer": doing.answer,
            "propagate": partial(widget.wanting.propagate, "both"),
            "toggle_label": doing.toggle_label,
            "next_object": partial(doing.next_object, 1),
            "previous_object": partial(doing.next_object, -1),
            "next_doubtful": partial(doing.visit, 1),
            "previous_doubtful": partial(doing.visit, -1),
            "undo": running.undo,
            "redo": running.redo,
            "finish": doing.finish,
            "clear_slice": partial(doing.clear, False),
            "clear_object": partial(doing.clear, True),
            "divide": doing.divide,
            "cancel": running.cancel,
        }
    )
    widget.shortcuts.bind_extra("Ctrl+Z", running.undo, widget.is_on_our_layer)
    widget.shortcuts.bind_extra("Ctrl+Shift+Z", running.redo, widget.is_on_our_layer)
    widget.viewer.layers.selection.events.active.connect(widget.follow_active)
