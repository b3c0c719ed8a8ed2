"""Scenes whose truth is known because the package makes them: pictures, sequences and stacks like microscopy."""

from .scenery import STYLES, make_clip, make_image
from .stacks import Stack, make_stack

__all__ = ["STYLES", "Stack", "make_clip", "make_image", "make_stack"]
