"""Names of weights → files on this machine.

A name is looked for in this order:

1. ``default`` or none at all: the small model that comes with the package.
2. A file, or a folder with one in it (such as a clone or snapshot from Hugging Face).
3. A published name, ``sam2.1_hiera_tiny``: downloaded once from Meta into the cache, going on where a broken download
   stopped.
4. A repository on Hugging Face, ``facebook/sam2.1-hiera-tiny``: through huggingface_hub and its own cache.

Downloads from Meta are compared with the SHA-256 of the published file, in the cache also on every later use, so that a
damaged or replaced file is never loaded. Nothing is fetched where ``SAM2_OFFLINE`` or ``HF_HUB_OFFLINE`` is set to 1.
``SAM2_CACHE`` names another cache folder.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ._download import Report, download
from ._hub import USUAL_FILE, fetch_from_hub
from .config import NANO, find_config
from .errors import CheckpointError, WeightsUnavailableError

logger = logging.getLogger(__name__)

DEFAULT = "default"
_ASSET = "assets/nano.safetensors"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl")
_JULY, _SEPT = "072824", "092824"
_META = "https://dl.fbaipublicfiles.com/segment_anything_2"


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A file of weights that can be fetched by name.

    Attributes
    ----------
    url : where it lies
    sha256 : of the file, hexadecimal
    parameters : of the model
    """

    url: str
    sha256: str
    parameters: int


# The sums are those that computational-cell-analytics/micro-sam checks its downloads against (micro_sam/v2/util.py);
# each is stated alike by other projects that fetched the same address.
PUBLISHED_WEIGHTS: Mapping[str, PublishedWeights] = {
    name: PublishedWeights(f"{_META}/{folder}/{name}.pt", sha256, parameters)
    for name, parameters, folder, sha256 in (
        ("sam2_hiera_tiny", 38_945_986, _JULY, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
        ("sam2_hiera_small", 46_043_842, _JULY, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
        ("sam2_hiera_base_plus", 80_833_666, _JULY, "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
        ("sam2_hiera_large", 224_430_130, _JULY, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
        ("sam2.1_hiera_tiny", 38_962_498, _SEPT, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
        ("sam2.1_hiera_small", 46_060_354, _SEPT, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
        (
            "sam2.1_hiera_base_plus",
            80_850_178,
            _SEPT,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        ("sam2.1_hiera_large", 224_446_642, _SEPT, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    )
}
"""The eight files of facebookresearch/sam2, by the name of their model."""

NANO_PARAMETERS = 5_190_139


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One line of `list_models`.

    Attributes
    ----------
    name : to give to `find_weights`
    parameters : how many the model has
    origin : address it is fetched from, or that it comes with the package
    path : of the file on this machine; None where it is not here
    """

    name: str
    parameters: int
    origin: str
    path: Path | None


def find_weights(
    name: str | os.PathLike[str] | None = None,
    *,
    offline: bool | None = None,
    progress: Report | bool = False,
    cache: str | os.PathLike[str] | None = None,
    registry: Mapping[str, PublishedWeights] = PUBLISHED_WEIGHTS,
) -> Path:
    """The file of weights that a name means, fetched if need be.

    Parameters
    ----------
    name : a file, a folder, ``default``, a published name or a repository on Hugging Face; see the module
    offline : fetch nothing; None asks the environment
    progress : True draws a bar on standard error while something is fetched; a function is called with the bytes there
        are and the bytes there will be (or None)
    cache : folder for downloads; None is ``SAM2_CACHE`` or the user's cache folder, and for Hugging Face its own
    registry : what can be fetched by a published name

    Raises
    ------
    WeightsUnavailableError
        Not on this machine, and unknown, not reachable or not allowed to be fetched; or the download is not what was
        published.
    CheckpointError
        A folder without weights, or with several files that may be meant.
    MissingDependencyError
        Hugging Face is asked for but huggingface_hub is not installed.
    """
    if name is None or name in (DEFAULT, NANO.name):
        return _default_weights()
    path = Path(name).expanduser()
    if path.is_dir():
        return _only_weights_in(path)
    if path.exists():
        return path
    offline = is_offline() if offline is None else offline
    text = os.fspath(name)
    if published := _published_name(text, registry):
        return _from_meta(published, registry[published], _cache_folder(cache), offline, progress)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.endswith(_SUFFIXES):
        return fetch_from_hub(text, partial(_choose, text), cache=cache, offline=offline, progress=progress)
    raise WeightsUnavailableError(_unknown(text, registry))


def list_models(
    *, cache: str | os.PathLike[str] | None = None, registry: Mapping[str, PublishedWeights] = PUBLISHED_WEIGHTS
) -> tuple[ModelEntry, ...]:
    """Every model with a name, the default first, and whether its weights are on this machine.

    A file in the cache is listed by its presence; `find_weights` checks it before it is used.
    """
    default = _asset()
    entries = [ModelEntry(DEFAULT, NANO_PARAMETERS, "comes with the package", default if default.is_file() else None)]
    for name, weights in registry.items():
        path = _cache_folder(cache) / f"{name}.pt"
        entries.append(ModelEntry(name, weights.parameters, weights.url, path if path.is_file() else None))
    return tuple(entries)


def is_offline() -> bool:
    """Whether the environment forbids to fetch anything: ``SAM2_OFFLINE`` or ``HF_HUB_OFFLINE``."""
    return any(
        os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on")
        for variable in ("SAM2_OFFLINE", "HF_HUB_OFFLINE")
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------ on this machine


def _asset() -> Path:
    return Path(str(importlib.resources.files(__package__).joinpath(_ASSET)))


def _default_weights() -> Path:
    path = _asset()
    if not path.is_file():
        raise WeightsUnavailableError(
            f"the default weights are not part of this installation ({path} is missing); install the released package, "
            f"or name other weights: a file, or one of {', '.join(PUBLISHED_WEIGHTS)}"
        )
    return path


def _only_weights_in(folder: Path) -> Path:
    return folder / _choose(str(folder), [entry.name for entry in folder.iterdir() if entry.is_file()])


def _choose(place: str, names: list[str]) -> str:
    """The file with the weights: ``model.safetensors``, else the only one of safetensors, else the only pickle.

    Raises
    ------
    CheckpointError
        None, or several.
    """
    safe = sorted(name for name in names if name.endswith(".safetensors"))
    if USUAL_FILE in safe:
        return USUAL_FILE
    if f"{USUAL_FILE}.index.json" in names:
        raise CheckpointError(f"the weights in {place} are split over several files; merge them into one first")
    for found in (safe, sorted(name for name in names if name.endswith(_SUFFIXES))):
        if len(found) == 1:
            return found[0]
        if found:
            raise CheckpointError(f"{place} holds several files of weights ({', '.join(found[:5])}); name one of them")
    raise CheckpointError(
        f"{place} holds no weights; expected model.safetensors or one {' or '.join(_SUFFIXES[:2])} file"
    )


def _cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    import pooch

    return Path(cache or os.environ.get("SAM2_CACHE") or pooch.os_cache("sam2-tools")).expanduser()


# ----------------------------------------------------------------------------------------------------- from Meta


def _published_name(text: str, registry: Mapping[str, PublishedWeights]) -> str | None:
    """``sam2.1_hiera_tiny`` for itself and for the file's name; paths and repositories are no published names."""
    if "/" in text or "\\" in text or text.endswith(".yaml"):
        return None
    try:
        found = find_config(text).name
    except CheckpointError:
        found = text.removesuffix(".pt")
    return found if found in registry else None


def _from_meta(name: str, published: PublishedWeights, cache: Path, offline: bool, progress: Report | bool) -> Path:
    target = cache / f"{name}.pt"
    if target.is_file():
        if file_sha256(target) == published.sha256:
            return target
        logger.warning("%s is not the published file (wrong SHA-256)", target)
    if offline:
        state = "is damaged in the cache" if target.is_file() else "is not on this machine"
        raise WeightsUnavailableError(
            f"{name} {state} and nothing may be fetched (SAM2_OFFLINE, HF_HUB_OFFLINE or offline=True); go online "
            f"once, or fetch {published.url} elsewhere and put it at {target}"
        )
    with _reporting(progress, name) as report:
        download(published.url, target, published.sha256, report)
    return target


@contextmanager
def _reporting(progress: Report | bool, name: str) -> Iterator[Report]:
    """What the download calls: the caller's function, a bar, or nothing."""
    if callable(progress):
        yield progress
    elif progress:
        from tqdm import tqdm

        with tqdm(desc=name, unit="B", unit_scale=True) as bar:

            def draw(have: int, total: int | None) -> None:
                bar.total = total
                bar.update(have - bar.n)

            yield draw
    else:
        yield lambda have, total: None


def _unknown(text: str, registry: Mapping[str, PublishedWeights]) -> str:
    base = re.split(r"[/\\]", text)[-1]
    near = _published_name(base, registry)
    if near:
        return f"there is no file {text!r}; check the path, or name {near!r} to have it fetched"
    close = difflib.get_close_matches(base.removesuffix(".pt"), [DEFAULT, *registry], n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"{text!r} is no file, no folder and no known name{meant}. Known are {', '.join([DEFAULT, *registry])}"
