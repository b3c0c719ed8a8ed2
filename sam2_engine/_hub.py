"""Weights from a repository on Hugging Face, through huggingface_hub and its cache."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._download import Report
from .errors import MissingDependencyError, WeightsUnavailableError

USUAL_FILE = "model.safetensors"


def fetch_from_hub(
    repository: str,
    choose: Callable[[list[str]], str],
    *,
    cache: str | os.PathLike[str] | None,
    offline: bool,
    progress: Report | bool,
) -> Path:
    """The file of weights of a repository, fetched only if it is not in the cache or has changed.

    Parameters
    ----------
    repository : ``owner/name``
    choose : picks the weights among file names, where `USUAL_FILE` is not there
    cache : folder of the cache; None is that of huggingface_hub
    offline : look into the cache only; without a network the cache serves, too
    progress : as in `find_weights`

    Raises
    ------
    WeightsUnavailableError
        Neither there nor here, or not to be read.
    MissingDependencyError
        huggingface_hub is not installed.
    """
    hub = _import_hub(repository)
    if offline:
        return _from_cache(hub, repository, choose, cache, "nothing may be fetched (SAM2_OFFLINE, HF_HUB_OFFLINE)")
    with _bars(hub, progress) as options:

        def get(file: str) -> Path:
            return Path(hub.hf_hub_download(repository, file, cache_dir=cache, **options))

        try:
            return get(USUAL_FILE)
        except hub.utils.LocalEntryNotFoundError:
            return _from_cache(hub, repository, choose, cache, "Hugging Face cannot be reached")
        except hub.utils.EntryNotFoundError:
            return get(choose(_files_of(hub, repository)))
        except hub.utils.RepositoryNotFoundError as error:
            raise WeightsUnavailableError(
                f"Hugging Face has no repository {repository!r} that you may read; check the name, accept its terms "
                "on its page, or log in with `hf auth login`"
            ) from error
        except OSError as error:
            raise WeightsUnavailableError(
                f"cannot fetch {repository} from Hugging Face ({error}); check the network and the disk and try again"
            ) from error


def _import_hub(repository: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.utils
    except ImportError as error:
        raise MissingDependencyError(
            f"{repository!r} is a repository on Hugging Face: pip install 'sam2-tools[hub]'. The published models can "
            "be had without it by their own names, such as 'sam2.1_hiera_tiny'"
        ) from error
    return huggingface_hub


def _files_of(hub: Any, repository: str) -> list[str]:
    try:
        return list(hub.HfApi().list_repo_files(repository))
    except Exception as error:
        # Depending on the version these are errors of one of three HTTP libraries.
        raise WeightsUnavailableError(
            f"cannot list the files of {repository} on Hugging Face ({error}); check the network and try again"
        ) from error


def _from_cache(
    hub: Any,
    repository: str,
    choose: Callable[[list[str]], str],
    cache: str | os.PathLike[str] | None,
    reason: str,
) -> Path:
    """What an earlier download left.

    Looked up on the disk by the documented layout of the cache: some versions of huggingface_hub ask their server for
    other things even when told to use local files only.
    """
    folder = Path(cache or hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    reference = folder / "refs" / "main"
    if reference.is_file():
        snapshot = folder / "snapshots" / reference.read_text().strip()
        if snapshot.is_dir():
            return snapshot / choose([entry.name for entry in snapshot.iterdir()])
    raise WeightsUnavailableError(
        f"{repository} is not on this machine and {reason}; go online once, or name a file on this machine"
    )


@contextmanager
def _bars(hub: Any, progress: Report | bool) -> Iterator[dict[str, Any]]:
    """Arguments of a download that make it show or report its progress; huggingface_hub draws bars by itself."""
    if progress is True:
        yield {}
    elif callable(progress) and "tqdm_class" in inspect.signature(hub.hf_hub_download).parameters:
        yield {"tqdm_class": _reporting_bar(progress)}
    else:
        before = hub.utils.are_progress_bars_disabled()
        hub.utils.disable_progress_bars()
        try:
            yield {}
        finally:
            if not before:
                hub.utils.enable_progress_bars()


def _reporting_bar(report: Report) -> type:
    from tqdm import tqdm

    class ReportingBar(tqdm):  # type: ignore[misc]
        """Draws nothing and calls a function."""

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **options | {"file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            report(int(self.n), None if self.total is None else int(self.total))
            return drawn

    return ReportingBar
