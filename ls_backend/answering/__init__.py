"""Answers to Label Studio's ``/predict``: pictures, pages, videos, batches, opened tasks."""

from __future__ import annotations

from .answerer import Answerer

__all__ = ["Answerer"]
