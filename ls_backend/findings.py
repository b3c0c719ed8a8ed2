"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check : what was looked at
    state : ``problem`` is what keeps people from working, ``warning`` what will surprise them
    found : what is there
    fix : what to do; empty where nothing has to be done, or where `found` says it
    """

    check: str
    state: State
    found: str
    fix: str = ""
