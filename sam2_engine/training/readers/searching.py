"""Finding the pictures that a file of annotations names."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import FramesError
from .files import PICTURE_SUFFIXES


class PictureFinder:
    """Pictures by the name that a document gives.

    Looked for, in this order: under the name as it is, beside the document, above it and in some folders of both;
    then anywhere under the root by the last part of the name, which has to be unique there.

    Parameters
    ----------
    document : the file that names them
    root : folder that was opened
    folders : where pictures often are, beside the document and in the root
    """

    def __init__(self, document: Path, root: Path, folders: tuple[str, ...] = ()) -> None:
        self._document = document
        self._root = root
        parents = [document.parent, root, document.parent.parent] if document.parent != root else [root]
        self._places = [place for parent in parents for place in (parent, *(parent / name for name in folders))]
        self._known: dict[str, list[Path]] | None = None

    def find(self, *names: str) -> Path:
        """The picture; of several names the first that is there.

        Raises
        ------
        FramesError
            There is none, or there are several.
        """
        found = self.search(*names)
        if found is None:
            raise FramesError(
                f"{self._document} names the picture {names[0]!r}, which is not below {self._root}; "
                "put the pictures beside the file or into a folder 'images'"
            )
        return found

    def search(self, *names: str) -> Path | None:
        """The same, or None where there is none.

        Raises
        ------
        FramesError
            There are several.
        """
        for name in names:
            for place in self._places:
                # A name from elsewhere must not lead out of the data; what lies above them is found by no part "..".
                if name and ".." not in Path(name).parts and (place / name.lstrip("/")).is_file():
                    return place / name.lstrip("/")
        for name in names:
            known = self._by_last_part().get(Path(name).name, [])
            if len(known) > 1:
                raise FramesError(
                    f"{self._document} names {name!r}, and {known[0]} and {known[1]} are called so; "
                    "give names with folders, or keep one of them"
                )
            if known:
                return known[0]
        return None

    def _by_last_part(self) -> dict[str, list[Path]]:
        if self._known is None:
            self._known = {}
            for folder, _, names in os.walk(self._root):
                for name in sorted(names):
                    if name.lower().endswith(PICTURE_SUFFIXES):
                        self._known.setdefault(name, []).append(Path(folder) / name)
        return self._known
