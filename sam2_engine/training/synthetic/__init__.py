"""Scenes whose truth is known because the package makes them: pictures, sequences and stacks like microscopy."""

from .moving_stacks import MovingStack, make_moving_stack
from .scenery import STYLES, make_clip, make_image
from .stacks import Stack, make_stack

__all__ = ["STYLES", "MovingStack", "Stack", "make_clip", "make_image", "make_moving_stack", "make_stack"]
