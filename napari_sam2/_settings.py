"""What a person set once and for all: kept in napari's preferences, or in a file of our own before napari 0.9.

The manifest lists the same settings with the same defaults, so that they stand in Preferences; a test compares both.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_engine.atomic import write_json
from sam2_engine.budget import LEAST_MB, Budget, default_folder
from sam2_engine.processor import knows_bf16

from ._key_table import ACTIONS

if TYPE_CHECKING:
    from sam2_engine.placement import Precision

logger = logging.getLogger(__name__)

PLUGIN = "sam2-tools"
"""Name of the plug-in, which napari wants to be that of the distribution."""

EXACT, QUICK = "exact (fp32)", "quick (bf16)"
"""Number formats, as they are chosen."""

DEFAULTS: Mapping[str, bool | int | str] = {
    "model.weights": "default",
    "model.device": "auto",
    "model.numbers": EXACT,
    "prompting.live": True,
    "prompting.encode_ahead": 2,
    "prompting.while_running": "answer in between",
    "propagation.patience": 5,
    "saving.autosave_seconds": 5,
    "memory.memory_mb": 0,
    "memory.keep_on_disk": True,
    "memory.disk_mb": 0,
    **{f"keys.{action.name}": action.key for action in ACTIONS},
}
"""``section.name`` → default of every setting."""


def budget_of(settings: Settings) -> Budget:
    """How much may be kept of a picture; 0 stands for what is found to be right on this machine."""
    folder = default_folder() if settings["memory.keep_on_disk"] else None
    memory_mb, disk_mb = int(settings["memory.memory_mb"]), int(settings["memory.disk_mb"])
    return Budget(max(memory_mb, LEAST_MB) if memory_mb else None, disk_mb or None, folder)


def precision_of(settings: Settings, device: str) -> Precision:
    """The number format to load a model in: the quick one where it was chosen and is not slow on this device."""
    return "bf16" if settings["model.numbers"] == QUICK and knows_bf16(device) is not False else "fp32"


class Settings:
    """All settings by ``section.name``; what is set is kept at once.

    Parameters
    ----------
    path : file for versions of napari that keep no settings of plug-ins; in the user's configuration when not given
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._found: Any = None
        self._is_known = False

    def __getitem__(self, name: str) -> Any:
        """The value of a setting, its default where it was never set.

        Raises
        ------
        KeyError
            No such setting.
        """
        default = DEFAULTS[name]
        section, _, key = name.partition(".")
        kept = self._kept()
        value = kept.get(name, default) if isinstance(kept, dict) else getattr(getattr(kept, section), key)
        return value if isinstance(value, type(default)) else default

    def __setitem__(self, name: str, value: bool | int | str) -> None:
        if name not in DEFAULTS:
            raise KeyError(name)
        section, _, key = name.partition(".")
        kept = self._kept()
        if not isinstance(kept, dict):
            setattr(getattr(kept, section), key, value)
            return
        kept[name] = value
        path = self._file()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept, indent=1)

    def watch(self, changed: Callable[[], object]) -> None:
        """Call this when a person changes something in napari's preferences."""
        kept = self._kept()
        if not isinstance(kept, dict):
            for section in sorted({name.partition(".")[0] for name in DEFAULTS}):
                getattr(kept, section).events.connect(lambda _: changed())

    def _kept(self) -> Any:
        """napari's settings of this plug-in, or a dictionary where it keeps none; looked for once, which takes long."""
        if not self._is_known:
            ours = self._of_napari() if self._path is None else None
            self._found = self._read() if ours is None else ours
            self._is_known = True
        return self._found

    def _of_napari(self) -> Any:
        settings = import_module("napari.settings")
        if not hasattr(settings, "get_plugin_settings"):
            return None
        try:
            return settings.get_plugin_settings(PLUGIN)
        except KeyError:  # not installed as a plug-in but imported
            return None

    def _read(self) -> dict[str, Any]:
        path = self._file()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("settings in %s cannot be read (%s); the defaults are used", path, error)
            return {}
        return found if isinstance(found, dict) else {}

    def _file(self) -> Path:
        if self._path is not None:
            return self._path
        folder: Any = import_module("platformdirs").user_config_path(PLUGIN, appauthor=False)
        return Path(folder) / "napari.json"
