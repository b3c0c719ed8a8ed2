"""Memory bank and memory policies: no network in here."""

from .bank import Direction, MemoryBank, MemoryEntry
from .fewer import fewer
from .policy import MemoryPlan, MemoryPolicy, RecentFrames

__all__ = ["Direction", "MemoryBank", "MemoryEntry", "MemoryPlan", "MemoryPolicy", "RecentFrames", "fewer"]
