"""Files of weights as they lie on disk: what is in them, and nothing about models yet.

Two formats are read, recognised by their content and not by their name: archives of `torch.save` (through PyTorch's
restricted unpickler only) and safetensors. Only safetensors are written. Everything read here is checked before it is
believed: sizes, finite values, and checksums, which archives and our own files have. Safetensors of others and pickles
of PyTorch before 1.6 have none, so that a changed number among their weights cannot be seen.

Our own safetensors files carry these entries in the header, beside the customary ``format``:

========================= ===========================================================================
``sam2_format``           version of this layout, now ``1``
``sam2_config``           `ModelConfig.to_json`
``sam2_summary``          JSON object: how the weights came about; free, for people and reports
``sam2_sha256``           SHA-256 of the two texts and of all tensors (name, dtype, shape, bytes)
========================= ===========================================================================
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import torch
from torch import Tensor

from .atomic import atomic_path
from .config import ModelConfig
from .errors import CheckpointError, ExportError, UnsafeCheckpointError

FileFormat = Literal["torch", "safetensors"]

FORMAT_VERSION = 1
_FORMAT, _CONFIG, _SUMMARY, _SHA256 = "sam2_format", "sam2_config", "sam2_summary", "sam2_sha256"

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_AGAIN = "copy or download the file again"

# Where the state dict lies in what people save. "average" stands in the checkpoints of our own training.
_STATE_ENTRIES = ("average", "model", "state_dict", "model_state_dict")

# Refusals of PyTorch's restricted unpickler, as opposed to its complaints about damage.
_REFUSAL = re.compile(r"Unsupported global|whose module|unrecognized function|Can only (build|create)")
# What PyTorch lets through, as far as weights go; everything else in a pickle is there to do something.
_HARMLESS = re.compile(r"(torch|collections)\.|(__builtin__|builtins)\.(set|bytearray|complex)$|_codecs\.encode$")


@dataclass(frozen=True, slots=True, eq=False)
class StoredWeights:
    """Content of one file.

    Attributes
    ----------
    tensors : name in the file → tensor on the CPU, of the stored dtype; owned by the caller
    format : of the file
    config : stored with the weights; None in files of others
    summary : how the weights came about; empty in files of others
    """

    tensors: dict[str, Tensor]
    format: FileFormat
    config: ModelConfig | None = None
    summary: Mapping[str, object] = field(default_factory=dict)


def read_weights(path: Path) -> StoredWeights:
    """Everything in a file of weights, without running any code it may carry.

    Raises
    ------
    UnsafeCheckpointError
        The file would run code when loaded.
    CheckpointError
        No such file, not weights, damaged, or values that are no finite floating-point numbers.
    """
    try:
        file_format = _format_of(path)
        stored = _read_safetensors(path) if file_format == "safetensors" else _read_torch(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    if not stored.tensors:
        raise CheckpointError(f"{path} holds no tensors; name a file of SAM 2 weights")
    return stored


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], config: ModelConfig, summary: Mapping[str, object]
) -> None:
    """Write a safetensors file with its configuration, whole or not at all.

    Raises
    ------
    ExportError
        The name does not end in ``.safetensors``, or the system refused; what stood at `path` is untouched.
    TypeError, ValueError
        `summary` holds something that JSON cannot express, NaN and infinity included.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if path.suffix != ".safetensors":
        raise ExportError(f"weights are written as safetensors: {path.name!r} must end in .safetensors")
    texts = {_CONFIG: config.to_json(), _SUMMARY: json.dumps(dict(summary), sort_keys=True, allow_nan=False)}
    metadata = {"format": "pt", _FORMAT: str(FORMAT_VERSION), **texts}
    metadata[_SHA256] = _Digest(texts[_CONFIG], texts[_SUMMARY]).over(tensors)
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=metadata)
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> OSError:
    """The operating system's error behind one of safetensors, which tells its number in the text only."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number[1]) if number else errno.EIO
    return OSError(code, os.strerror(code))


class _Digest:
    """SHA-256 of a configuration, a summary and tensors, independent of their order in the file."""

    def __init__(self, config: str, summary: str) -> None:
        self._sum = hashlib.sha256(json.dumps([config, summary]).encode())

    def over(self, tensors: Mapping[str, Tensor]) -> str:
        for name in sorted(tensors):
            tensor = tensors[name]
            self._sum.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
            self._sum.update(_bytes_of(tensor))
        return self._sum.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, not copied."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def _format_of(path: Path) -> FileFormat:
    """Format by content.

    Raises
    ------
    CheckpointError
        Empty, or nothing that weights are stored in.
    """
    with open(path, "rb") as file:
        start = file.read(16)
    if not start:
        raise CheckpointError(f"{path} is empty; {_AGAIN}")
    # The length of a header can look like the beginning of the other formats, so it is tried first.
    begins_with_header = start[8:9] == b"{"
    if begins_with_header and 8 + int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "torch"
    if begins_with_header or path.suffix == ".safetensors":
        return "safetensors"
    # The oldest pickles begin with anything.
    if unsafe := _named_globals(path, only_whole=True):
        raise _unsafe(path, unsafe)
    raise CheckpointError(
        f"{path} is not a file of weights (it begins with {start[:8]!r}); expected a .safetensors file or a .pt file "
        "of torch.save"
    )


# ---------------------------------------------------------------------------------------------------- safetensors


def _read_safetensors(path: Path) -> StoredWeights:
    """Read tensor by tensor into fresh memory.

    A mapped file would be quicker at first, but the weights of a running program would then change or vanish with it.
    """
    _validate_safetensors(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        tensors = {name: _read_tensor(path, file, 8 + length, name, entry) for name, entry in header.items()}
    _require_finite(path, tensors)
    if not any(key.startswith("sam2_") for key in metadata):
        return StoredWeights(tensors, "safetensors")
    return _read_own(path, tensors, metadata)


def _validate_safetensors(path: Path) -> None:
    """Let the library check the header: its length, its JSON, and that the tensors fill the file exactly."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}); {_AGAIN}") from error


def _read_tensor(path: Path, file: IO[bytes], origin: int, name: str, entry: Mapping[str, Any]) -> Tensor:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise CheckpointError(
            f"{path}: tensor {name!r} has dtype {entry['dtype']}; expected one of {', '.join(_DTYPES)}. "
            "Quantised weights cannot be used: name the original ones"
        )
    tensor = torch.empty(entry["shape"], dtype=dtype)
    file.seek(origin + entry["data_offsets"][0])
    if file.readinto(_bytes_of(tensor)) != tensor.nbytes:  # type: ignore[attr-defined]
        raise CheckpointError(f"{path} became shorter while it was read; {_AGAIN}")
    return tensor


def _read_own(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> StoredWeights:
    if missing := {_FORMAT, _CONFIG, _SUMMARY, _SHA256} - metadata.keys():
        raise CheckpointError(f"{path} is damaged: its header lacks {', '.join(sorted(missing))}; {_AGAIN}")
    version = metadata[_FORMAT]
    if version.isdecimal() and int(version) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, but this version of the package reads up to {FORMAT_VERSION}: "
            "update the package"
        )
    config, summary = metadata[_CONFIG], metadata[_SUMMARY]
    if version != str(FORMAT_VERSION) or _Digest(config, summary).over(tensors) != metadata[_SHA256]:
        raise CheckpointError(f"{path} is damaged: its content does not give the stored SHA-256; {_AGAIN}")
    return StoredWeights(tensors, "safetensors", _config_in(path, config), _summary_in(path, summary))


def _config_in(path: Path, text: str) -> ModelConfig:
    try:
        return ModelConfig.from_json(text)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _summary_in(path: Path, text: str) -> Mapping[str, object]:
    try:
        summary = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the stored training summary is no JSON ({error}); {_AGAIN}") from error
    if not isinstance(summary, dict):
        raise CheckpointError(f"{path}: the stored training summary is a {type(summary).__name__}; expected an object")
    return summary


# ---------------------------------------------------------------------------------------------------------- torch


def _read_torch(path: Path) -> StoredWeights:
    if _starts_as_archive(path):
        _check_archive(path)
    try:
        with open(path, "rb") as file:  # given a path, PyTorch would look at the suffix
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged pickle can fail in any way; each of them means the same to the caller.
        unsafe = re.findall(r"GLOBAL ([\w.]+\.\w+)", str(error)) or _named_globals(path)
        if unsafe or (isinstance(error, pickle.UnpicklingError) and _REFUSAL.search(str(error))):
            raise _unsafe(path, unsafe) from error
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged or no checkpoint ({reason}); {_AGAIN}") from error
    tensors = _with_own_memory(path, _state_in(path, content))
    _require_finite(path, tensors)
    config = content.get("model_config")
    return StoredWeights(tensors, "torch", _config_in(path, config) if isinstance(config, str) else None)


def _starts_as_archive(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


def _check_archive(path: Path) -> None:
    """Find damage that PyTorch would read as numbers: it does not look at the archive's checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            unpacked = sum(member.file_size for member in archive.infolist())
            # torch.save never compresses, so more content than file is a trap for the memory.
            damaged = "its table of contents" if unpacked > path.stat().st_size else archive.testzip()
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or cut off ({error}); {_AGAIN}") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnsafeCheckpointError(f"{path} is a TorchScript program, not plain weights; save its state_dict instead")
    if not any(name.endswith("data.pkl") for name in names):
        raise CheckpointError(f"{path} is a zip archive but no checkpoint; expected a .pt file of torch.save")
    if damaged:
        raise CheckpointError(f"{path} is damaged (checksum of {damaged}); {_AGAIN}")


def _unsafe(path: Path, names: list[str]) -> UnsafeCheckpointError:
    wanted = f" ({', '.join(names[:3])})" if names else ""
    return UnsafeCheckpointError(
        f"{path} would run code when loaded{wanted}; nothing was run. Ask its author for the plain state_dict or a "
        "safetensors file"
    )


def _named_globals(path: Path, *, only_whole: bool = False) -> list[str]:
    """Functions and classes that the pickle in a file names and that have no business in weights; runs nothing.

    With `only_whole` there are none unless the file is one pickle from its first to its last byte.
    """
    names: list[str] = []
    try:
        with _pickle_in(path) as stream:
            # Files of old PyTorch are several pickles, one after the other.
            for _ in range(1 if only_whole else 5):
                names.extend(_names_in_one_pickle(stream))
            if only_whole and stream.read(1):
                return []
    except Exception:
        # Not a pickle, or damaged from here on; what was named before still tells what it is about.
        if only_whole:
            return []
    return [name for name in dict.fromkeys(names) if not _HARMLESS.match(name)]


def _names_in_one_pickle(stream: IO[bytes]) -> Iterator[str]:
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST") and str(argument).count(" ") == 1:
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)


def _pickle_in(path: Path) -> IO[bytes]:
    """The pickle of a `torch.save` archive, or the file itself where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return archive.open(name)
    except (zipfile.BadZipFile, StopIteration):
        return open(path, "rb")


def _state_in(path: Path, content: object) -> Mapping[str, Tensor]:
    """The state dict in what `torch.load` gave."""
    if isinstance(content, Mapping):
        entry = next((key for key in _STATE_ENTRIES if isinstance(content.get(key), Mapping)), None)
        state = content if entry is None else content[entry]
        odd = {str(key): type(value).__name__ for key, value in state.items() if not isinstance(value, Tensor)}
        if not odd:
            return {str(key): value for key, value in state.items()}
        found = ", ".join(f"{key}: {kind}" for key, kind in list(odd.items())[:5])
    else:
        found = type(content).__name__
    raise CheckpointError(f"{path} holds no weights (found {found}); expected a state dict or {{'model': state dict}}")


def _with_own_memory(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied where they share memory.

    A slice would keep the whole alive, and two names for one memory would be trained as one.
    """
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.dtype not in _DTYPES.values() or tensor.device.type != "cpu":
            raise CheckpointError(
                f"{path}: tensor {name!r} is {tensor.dtype}, {tensor.layout} on {tensor.device}; expected plain "
                "floating-point weights. Quantised or sparse weights cannot be used: name the original ones"
            )
    # A small file can describe tensors of any size that all show one number.
    if sum(tensor.nbytes for tensor in state.values()) > 2 * path.stat().st_size:
        raise CheckpointError(f"{path} describes more numbers than it holds; expected plain weights, saved whole")
    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in state.items():
        tensor = value.detach()
        whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
        if not whole or tensor.data_ptr() in taken:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(tensor.data_ptr())
        tensors[name] = tensor
    return tensors


def _require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        # NaN and infinity survive a sum, and a sum is much quicker than looking at each value.
        if not math.isfinite(tensor.sum(dtype=torch.float32 if tensor.itemsize < 4 else None).item()):
            raise CheckpointError(
                f"{path}: tensor {name!r} holds NaN, infinity or absurdly large values; the file is damaged or its "
                f"training diverged: {_AGAIN} or use an earlier checkpoint"
            )
