"""A session in one file: a zip with ``session.json`` (readable) and ``tensors.safetensors`` (memories).

No pickle, no absolute paths; a format number that newer files raise. Masks are stored as their packed bits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from .atomic import atomic_path
from .errors import SessionFileError
from .geometry import Window
from .kept_masks import PackedMask
from .memory import MemoryBank, MemoryEntry, MemoryPolicy
from .prompts import Box, Click, ObjectId, Prompts
from .saved_masks import DOCUMENT, FORMAT, MAX_BYTES, check_format, read_packed_mask
from .track import Track

if TYPE_CHECKING:
    from .session import Session

_ENTRY_TENSORS = ("logits", "pointer", "object_score", "tokens")


def write_session(session: Session, path: Path) -> None:
    """Write a session, whole or not at all.

    Raises
    ------
    SessionFileError
        An object id is neither a string nor an integer.
    ExportError
        The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    objects = [_object(index, obj, track, tensors) for index, (obj, track) in enumerate(session._tracks.items())]
    height, width = session.size
    document = {
        "format": FORMAT,
        "model": {"name": session.tracker.config.name, "weights": fingerprint(session.tracker.model.state_dict())},
        "image_side": session.tracker.config.image_side,
        "frames": {"count": session.num_frames, "height": height, "width": width},
        "objects": objects,
    }
    with atomic_path(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        archive.writestr(DOCUMENT, json.dumps(document, indent=1), compress_type=zipfile.ZIP_DEFLATED)
        archive.writestr("tensors.safetensors", write_tensors(tensors))


def read_tracks(path: Path, session: Session, make_policy: Callable[[], MemoryPolicy]) -> dict[ObjectId, Track]:
    """The objects of a saved session, for a session over the same frames with the same model.

    Raises
    ------
    SessionFileError
        Damaged, newer, or of other frames or another model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise SessionFileError(
                    f"{path} unpacks to more than {MAX_BYTES >> 30} GiB; it is not a session of ours"
                )
            document = json.loads(archive.read(DOCUMENT))
            _check(document, session, path)
            tensors = read_tensors(archive.read("tensors.safetensors"))
        return {_id(item["id"]): _track(item, tensors, make_policy(), session) for item in document["objects"]}
    except SessionFileError:
        raise
    except FileNotFoundError as error:
        raise SessionFileError(f"there is no file {path}; check the path") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        raise SessionFileError(
            f"{path} is damaged or is no session file ({type(error).__name__}: {error}); "
            "open an earlier copy, or start a new session"
        ) from error
    except Exception as error:
        if type(error).__module__.startswith(("safetensors", "zlib")):
            raise SessionFileError(f"the tensors in {path} are damaged ({error}); open an earlier copy") from error
        raise


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """A short name for exact weights: memories of one model mean nothing to another."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().reshape(-1)
        picked = values[:: max(1, values.numel() // 64)].float().cpu().numpy()
        digest.update(name.encode())
        digest.update(picked.tobytes())
    return digest.hexdigest()[:16]


def _check(document: dict[str, Any], session: Session, path: Path) -> None:
    check_format(document, path)
    frames = document["frames"]
    here = (session.num_frames, *session.size)
    there = (frames["count"], frames["height"], frames["width"])
    if here != there:
        raise SessionFileError(
            f"{path} belongs to {there[0]} frames of {there[1]} × {there[2]} pixels, "
            f"these are {here[0]} of {here[1]} × {here[2]}; open the frames it was made on"
        )
    weights = fingerprint(session.tracker.model.state_dict())
    side = session.tracker.config.image_side
    if (document["model"]["weights"], document["image_side"]) != (weights, side):
        raise SessionFileError(
            f"{path} was made with the model {document['model']['name']} at side {document['image_side']} "
            f"(weights {document['model']['weights']}), this is {session.tracker.config.name} at side {side} "
            f"(weights {weights}); open it with that model"
        )


def _object(index: int, obj: ObjectId, track: Track, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if isinstance(obj, bool) or not isinstance(obj, (int, str)):
        raise SessionFileError(f"object ids must be integers or strings to be saved, got {obj!r}")

    def entries(name: str, known: Mapping[int, MemoryEntry]) -> list[dict[str, Any]]:
        return [_entry(f"{index}.{name}.{frame}", entry, tensors) for frame, entry in known.items()]

    return {
        "id": obj,
        "prompts": {str(frame): _prompts(said) for frame, said in track.prompts.items()},
        "passed": {str(frame): direction for frame, direction in track.passed.items()},
        "masks": {str(frame): _mask(mask) for frame, mask in track.masks.items()},
        "drafts": entries("draft", track.drafts),
        "prompted": entries("prompted", track.bank.prompted),
        "recent": entries("recent", track.bank.recent),
    }


def _track(item: dict[str, Any], tensors: Mapping[str, Tensor], policy: MemoryPolicy, session: Session) -> Track:
    def entries(name: str) -> dict[int, MemoryEntry]:
        found = [_read_entry(entry, tensors) for entry in item[name]]
        return {entry.frame: entry for entry in found}

    track = session.new_track(policy)
    track.prompts.update({int(frame): _read_prompts(said) for frame, said in item["prompts"].items()})
    track.drafts.update(entries("drafts"))
    track.bank = MemoryBank(entries("prompted"), entries("recent"))
    track.passed.update({int(frame): direction for frame, direction in item["passed"].items()})
    track.masks.update({int(frame): read_packed_mask(mask) for frame, mask in item["masks"].items()})
    return track


def _id(value: object) -> ObjectId:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise SessionFileError(f"object ids must be integers or strings, got {value!r}")
    return value


def _entry(key: str, entry: MemoryEntry, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for name in _ENTRY_TENSORS:
        value = getattr(entry, name)
        if value is not None:
            tensors[f"{key}.{name}"] = value.contiguous().clone()
    return {
        "key": key,
        "frame": entry.frame,
        "prompted": entry.prompted,
        "direction": entry.direction,
        "iou": entry.iou,
        "window": None if entry.window is None else list(astuple(entry.window)),
    }


def _read_entry(item: dict[str, Any], tensors: Mapping[str, Tensor]) -> MemoryEntry:
    key = item["key"]
    return MemoryEntry(
        int(item["frame"]),
        bool(item["prompted"]),
        item["direction"],
        tensors[f"{key}.logits"],
        tensors[f"{key}.pointer"],
        tensors[f"{key}.object_score"],
        float(item["iou"]),
        tensors.get(f"{key}.tokens"),
        None if item.get("window") is None else Window(*(int(value) for value in item["window"])),
    )


def _prompts(said: Prompts) -> dict[str, Any]:
    box = said.box
    return {
        "clicks": [[click.x, click.y, int(click.positive)] for click in said.clicks],
        "box": None if box is None else [box.x0, box.y0, box.x1, box.y1],
        "mask": None if said.mask is None else _mask(PackedMask.pack(said.mask, 1.0)),
    }


def _read_prompts(item: dict[str, Any]) -> Prompts:
    clicks = tuple(Click(float(x), float(y), bool(positive)) for x, y, positive in item["clicks"])
    box = None if item["box"] is None else Box(*(float(value) for value in item["box"]))
    mask: NDArray[np.bool_] | None = None if item["mask"] is None else read_packed_mask(item["mask"]).unpack()
    return Prompts(clicks, box, mask)


def _mask(mask: PackedMask) -> dict[str, Any]:
    return {"size": list(mask.size), "bits": base64.b64encode(mask.bits).decode(), "score": mask.score}
