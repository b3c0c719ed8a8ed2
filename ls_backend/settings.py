"""What the Label Studio backend is told from outside. THE home of its environment variables.

Names that people know from other backends are read, and names of our own begin with ``SAM2_``. The first that is set
and not empty counts; a value that cannot be used is an error that names the variable, never a silent default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from sam2_engine.budget import Stored
from sam2_engine.errors import EngineError
from sam2_engine.pixels import MAX_PIXELS

from .outlines import Outline

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30
MAX_PREWARMED = 20


Precision = Literal["fp32", "bf16", "int8"]
"""As `sam2_engine.opening.load_tracker` takes them, which cannot be had without PyTorch."""


class SettingsError(EngineError, ValueError):
    """A setting that cannot be used."""


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """Where pictures and videos may come from, and how large they may be.

    Attributes
    ----------
    label_studio_url : ``http(s)://host[:port][/path]`` without a slash at its end; the origin that the token is for
    api_key : personal access token or legacy token of Label Studio
    allowed_hosts : further hosts to fetch from: ``host`` (ports 80 and 443), ``host:port``, ``.host`` (all below it),
        ``*``; addresses and networks (``10.0.0.0/8``). What is not public is reached only if its network is listed too
    local_root : folder of ``/data/local-files/?d=…``; None reads no files
    max_bytes : of one picture or video
    ram_bytes : larger media are kept in a temporary file while they are used
    max_pixels : of one picture, checked before it is decoded
    timeout_s : for fetching one picture or video as a whole
    max_redirects : each is checked like the first address
    verify_tls : check certificates
    """

    label_studio_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    local_root: Path | None = None
    max_bytes: int = GIBIBYTE
    ram_bytes: int = 64 * MEBIBYTE
    max_pixels: int = MAX_PIXELS
    timeout_s: float = 60.0
    max_redirects: int = 3
    verify_tls: bool = True


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What is kept of pictures seen before.

    Attributes
    ----------
    ram_bytes : for encoded pictures; 0 keeps none
    disk_dir : folder for encoded pictures that outlives the process; None keeps them in memory only
    disk_bytes : for that folder
    stored : number format of its files: ``exact`` as computed and as other programs of this package keep them, or
        ``bfloat16``, which takes half the room and the memory
    """

    ram_bytes: int = GIBIBYTE
    disk_dir: Path | None = None
    disk_bytes: int = 10 * GIBIBYTE
    stored: Stored = "exact"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set.

    Attributes
    ----------
    host, port : where to listen; only this machine by default
    model : whatever `sam2_engine.find_weights` takes: ``default``, a published name, a folder, a file
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``
    precision : numbers that the model computes in: ``fp32``, or ``bf16``, which is quicker where the device knows it,
        or ``int8``, quicker still on processors with the instructions, for models of a published size
        and changes single pixels at edges
    compute_threads : of PyTorch on the CPU; None leaves the choice to it
    token : a secret for ``Authorization: Bearer``, ``X-Auth-Token`` and, on webhooks, ``?token=``
    user, password : for basic authentication, as in Label Studio's form for connecting a model
    queue_size : predictions that may be at work or wait at the same time; one more is refused with 503
    max_body_bytes : of one request
    webhook_queue_size : events that may wait; further ones are counted and dropped
    webhook_log : file to which changes of annotations are added, one JSON object a line: action, project, task,
        annotation, time; None notes nothing
    max_tasks : of one request
    log_level : of Python's logging
    log_json : one JSON object a line instead of text
    media, cache : see there
    non_overlapping : masks leave out pixels that other regions have already
    outline : how masks become polygons
    frames_range : over how many frames, in each direction, masks are carried from a prompt
    prewarm_tasks : when a task is opened, the pictures of so many tasks behind it are made ready too; needs a token
    predict_opened : a request for one task is answered with a prediction, too; Label Studio sends the same when a task
        is opened and when predictions for it alone are retrieved, and whoever opens it waits for the answer
    automatic : find everything in tasks that carry no prompts, when predictions for many tasks are asked for
    """

    host: str = "127.0.0.1"
    port: int = 9090
    model: str = "default"
    device: str = "auto"
    precision: Precision = "fp32"
    compute_threads: int | None = None
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    queue_size: int = 32
    max_body_bytes: int = 64 * MEBIBYTE
    webhook_queue_size: int = 256
    webhook_log: Path | None = None
    max_tasks: int = 1000
    log_level: str = "INFO"
    log_json: bool = False
    media: MediaSettings = field(default_factory=MediaSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    non_overlapping: bool = False
    outline: Outline = field(default_factory=Outline)
    frames_range: int = 50
    prewarm_tasks: int = 2
    predict_opened: bool = False
    automatic: bool = True

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            missing = "BASIC_AUTH_PASS" if self.password is None else "BASIC_AUTH_USER"
            raise SettingsError(f"basic authentication needs a user and a password; set {missing} too, or neither")
        if self.user is not None and ":" in self.user:
            raise SettingsError("a user name of basic authentication has no colon; choose another BASIC_AUTH_USER")

    @property
    def needs_auth(self) -> bool:
        """Whether requests must prove that they may ask."""
        return self.token is not None or self.user is not None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """The settings that the environment tells.

        Parameters
        ----------
        environ : variables; those of the process when not given
        **overrides : attributes of this class, of `MediaSettings` and of `CacheSettings` that count more than the
            environment, such as those of a command line; text is read as in the environment, None leaves an attribute
            alone. Attributes of the nested classes are named ``media_max_bytes``, ``cache_ram_bytes``

        Raises
        ------
        SettingsError
            A value cannot be used; the message names the variable, and no secret.
        TypeError
            There is no such attribute.
        """
        found = _read(os.environ if environ is None else environ)
        for name, value in overrides.items():
            if value is not None:
                found[name] = _parsed(name, name, value) if isinstance(value, str) and name in VARIABLES else value
        return _built(cls, found)


def _built(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings from flat names."""
    media, cache, outline = (_part(values, prefix) for prefix in ("media_", "cache_", "outline_"))
    own = {name: value for name, value in values.items() if not name.startswith(("media_", "cache_", "outline_"))}
    unknown = sorted(set(own) - {one.name for one in fields(cls)})
    if unknown:
        raise TypeError(f"there are no settings {', '.join(unknown)}")
    parts: dict[str, Any] = {}
    if media:
        parts["media"] = replace(own.get("media", MediaSettings()), **media)
    if cache:
        parts["cache"] = replace(own.get("cache", CacheSettings()), **cache)
    if outline:
        parts["outline"] = replace(own.get("outline", Outline()), **outline)
    return cls(**(own | parts))


def _part(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _read(environ: Mapping[str, str]) -> dict[str, Any]:
    """The variables that are set, by flat name."""
    found: dict[str, Any] = {}
    for name, (variables, _) in VARIABLES.items():
        for variable in variables:
            text = environ.get(variable, "").strip()
            if text:
                found[name] = _parsed(name, variable, text)
                break
    return found


def _parsed(name: str, shown: str, text: str) -> Any:
    """The value of an attribute from text; `shown` is what a person calls it."""
    try:
        return VARIABLES[name][1](text)
    except ValueError as error:
        got = "a value" if name in _SECRET else repr(text)
        raise SettingsError(f"{shown} must be {error}, got {got}") from None


# ------------------------------------------------------------------------------------------------ kinds of values
# Each raises ValueError with what was expected.


def _text(text: str) -> str:
    return text


def _integer(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    upto = f" to {highest}" if highest is not None else " on"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest or (highest is not None and number > highest):
            raise ValueError(f"an integer from {lowest}{upto}")
        return number

    return parse


def _seconds(text: str) -> float:
    return _number("a number of seconds above 0", text, lambda number: number > 0)


def _pixels(text: str) -> float:
    return _number("a number of pixels from 0 on", text, lambda number: number >= 0)


def _number(expected: str, text: str, is_valid: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(expected) from None
    if not is_valid(number) or number == float("inf"):
        raise ValueError(expected)
    return number


def _bytes(text: str) -> int:
    """``1048576``, ``512 MB``, ``2GiB``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.lower())
    if match is None:
        raise ValueError("a number of bytes, such as 1048576, 512MB or 2GiB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def _switch(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError("true or false")
    return known[text.lower()]


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError("DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return text.upper()


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text.lower()):
        raise ValueError("auto, cpu, cuda, cuda:0, cuda:1 … or mps")
    return text.lower()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{', '.join(choices[:-1])} or {choices[-1]}")
        return text.lower()

    return parse


def _url(text: str) -> str:
    expected = "an address such as http://localhost:8080, without user and password"
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        is_valid = is_valid and (parts.port is None or parts.port > 0) and not parts.query and not parts.fragment
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(expected)
    return text.rstrip("/")


Parse = Callable[[str], Any]

VARIABLES: Mapping[str, tuple[tuple[str, ...], Parse]] = {
    "host": (("SAM2_HOST",), _text),
    "port": (("PORT", "SAM2_PORT"), _integer(0, 65535)),
    "model": (("MODEL", "SAM2_MODEL", "MODEL_CHECKPOINT"), _text),
    "device": (("DEVICE", "SAM2_DEVICE"), _device),
    "precision": (("SAM2_PRECISION",), _choice("fp32", "bf16", "int8")),
    "compute_threads": (("SAM2_COMPUTE_THREADS",), _integer(1)),
    "token": (("SAM2_TOKEN",), _text),
    "user": (("BASIC_AUTH_USER",), _text),
    "password": (("BASIC_AUTH_PASS", "BASIC_AUTH_PASSWORD"), _text),
    "queue_size": (("SAM2_QUEUE_SIZE",), _integer(1, 1000)),
    "max_body_bytes": (("SAM2_MAX_BODY_BYTES",), _bytes),
    "webhook_queue_size": (("SAM2_WEBHOOK_QUEUE_SIZE",), _integer(1)),
    "webhook_log": (("SAM2_WEBHOOK_LOG",), _path),
    "max_tasks": (("SAM2_MAX_TASKS",), _integer(1)),
    "log_level": (("LOG_LEVEL",), _level),
    "log_json": (("SAM2_LOG_JSON",), _switch),
    "non_overlapping": (("SAM2_NON_OVERLAPPING",), _switch),
    "frames_range": (("MAX_FRAMES_TO_TRACK", "SAM2_FRAMES_RANGE"), _integer(0)),
    "prewarm_tasks": (("SAM2_PREWARM_TASKS",), _integer(0, MAX_PREWARMED)),
    "predict_opened": (("SAM2_PREDICT_OPENED",), _switch),
    "automatic": (("SAM2_AUTOMATIC",), _switch),
    "outline_tolerance_px": (("SAM2_POLYGON_TOLERANCE",), _pixels),
    "outline_min_area_px": (("SAM2_POLYGON_MIN_AREA",), _integer(0)),
    "outline_holes": (("SAM2_POLYGON_HOLES",), _choice("cut", "fill")),
    "media_label_studio_url": (("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"), _url),
    "media_api_key": (("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"), _text),
    "media_allowed_hosts": (("SAM2_ALLOWED_HOSTS",), _names),
    "media_local_root": (("LOCAL_FILES_DOCUMENT_ROOT", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"), _path),
    "media_max_bytes": (("SAM2_MAX_MEDIA_BYTES",), _bytes),
    "media_max_pixels": (("SAM2_MAX_PIXELS",), _integer(1)),
    "media_timeout_s": (("SAM2_MEDIA_TIMEOUT",), _seconds),
    "media_max_redirects": (("SAM2_MAX_REDIRECTS",), _integer(0, 20)),
    "media_verify_tls": (("VERIFY_SSL",), _switch),
    "cache_ram_bytes": (("SAM2_CACHE_RAM",), _bytes),
    "cache_disk_dir": (("SAM2_CACHE_DIR",), _path),
    "cache_disk_bytes": (("SAM2_CACHE_DISK",), _bytes),
    "cache_stored": (("SAM2_FEATURE_FORMAT",), _choice("exact", "bfloat16")),
}
"""Attribute → the variables that set it, the most important first, and how their text is read."""

_SECRET = frozenset({"token", "password", "media_api_key"})
