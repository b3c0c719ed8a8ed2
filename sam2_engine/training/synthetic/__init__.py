"""Scenes whose truth is known because the package makes them: pictures, sequences and stacks like microscopy."""

from .scenery import STYLES, make_clip, make_image

__all__ = ["STYLES", "make_clip", "make_image"]
