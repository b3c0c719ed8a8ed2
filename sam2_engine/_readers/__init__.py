"""Readers behind `sam2_engine.frames`, one kind of source each."""
