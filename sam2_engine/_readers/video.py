"""Frames of a video file by their exact number."""

from __future__ import annotations

import functools
import logging
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError, MissingDependencyError
from .base import Reader, check_pixels
from .video_index import VideoIndex, build_index, decode_packet, packets_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif"})

# Frames decoded on the way to the one asked for; walking backwards finds its next ones here.
_RECENT_BYTES = 64 * 2**20


class VideoFrames(Reader):
    """Frames of a video file, ``[H, W, 3]`` uint8 RGB, or ``[H, W]`` of a grey video.

    They are turned by the quarter turns that the file asks for. Opening reads the whole file once without decoding it
    (some AVI files: with decoding), so that frame numbers are exact. Reading in ascending order decodes each frame
    once; a jump decodes from the keyframe before.

    Parameters
    ----------
    path : an existing file
    max_pixels : larger frames are refused before they are decoded

    Attributes
    ----------
    is_truncated : the file ends early or is damaged; the frames are those that can be decoded, and a warning is logged

    Raises
    ------
    FramesError
        Not a video, or no frame can be decoded. On reading: a frame is damaged or of another size.
    ImageTooLargeError
        Frames have more than `max_pixels` pixels.
    MissingDependencyError
        PyAV is not installed.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path = path
        self._index: VideoIndex = build_index(functools.partial(_open, path, max_pixels))
        self.is_truncated = self._index.is_truncated
        if self._index.length == 0:
            raise FramesError(f"no frame of {path} can be decoded; copy or export it again")
        self._recent: deque[tuple[int, VideoFrame]] = deque()
        self._last: int | None = None
        self._frames: Iterator[tuple[int, VideoFrame]] = iter(())
        self._coded_size: tuple[int, int] | None = None
        self._open_again()
        try:
            super().__init__(str(path), self._read(0).shape[:2], self._index.length)
        except BaseException:
            self._finalizer()
            raise
        if self.is_truncated:
            self._warn_truncated()

    def _open_again(self) -> None:
        """A decoder at the start of the file."""
        self._container = _open(self._path)
        self._finalizer = weakref.finalize(self, self._container.close)
        self._stream = self._container.streams.video[0]
        context = self._stream.codec_context
        self._recent = deque(maxlen=_recent_length((context.height, context.width)))
        if self._index.times is not None and not self.is_truncated:
            # Faster; but what a decoder makes of damage then depends on chance.
            self._stream.thread_type = "AUTO"

    def _warn_truncated(self) -> None:
        announced = self._index.announced
        logger.warning(
            "%s is truncated or damaged: %s and %d can be read; the sequence has those. "
            "Copy or export the file again to get the rest",
            self._path,
            f"it announces {announced} frames" if announced else "it announces a longer duration",
            self._index.length,
        )

    def _read(self, frame: int) -> NDArray[Any]:
        for number, decoded in self._recent:
            if number == frame:
                return self._picture(decoded)
        if self._last is None or frame <= self._last or self._has_keyframe_between(self._last + 1, frame):
            self._jump(frame)
        for number, decoded in self._frames:
            self._keep(number, decoded)
            if number == frame:
                return self._picture(decoded)
            if number > frame:
                break
        self._last = None
        raise FramesError(f"frame {frame} of {self._path} is damaged and cannot be decoded; re-encode the file")

    def _keep(self, number: int, decoded: VideoFrame) -> None:
        self._last = number
        self._recent.append((number, decoded))

    def _has_keyframe_between(self, first: int, last: int) -> bool:
        """Whether jumping saves decoding; to read on is as good when the keyframe is the very next frame."""
        place = self._index.keyframe_before(last)
        return place >= 0 and self._index.keyframes[place] > first

    def _jump(self, frame: int) -> None:
        """Let `_frames` begin at or before `frame`: at its keyframe, or an earlier one where seeking misses."""
        from av.error import FFmpegError

        place = self._index.keyframe_before(frame)
        for attempt in (place, place - 1):
            if attempt < 0:
                break
            try:
                self._container.seek(self._index.key_stamps[attempt], stream=self._stream)
            except (FFmpegError, OSError):
                continue
            if self._starts_by(frame, self._numbered(from_start=False)):
                return
        self._finalizer()
        self._open_again()
        self._starts_by(frame, self._numbered(from_start=True))

    def _starts_by(self, frame: int, frames: Iterator[tuple[int, VideoFrame]]) -> bool:
        self._recent.clear()
        first = next(frames, None)
        if first is None or first[0] > frame:
            return False
        self._frames = _chain(first, frames)
        return True

    def _numbered(self, *, from_start: bool) -> Iterator[tuple[int, VideoFrame]]:
        """Decoded frames from here on with their numbers."""
        if self._index.times is None:
            yield from self._counted(0 if from_start else None)
            return
        for packet in packets_of(self._container, self._stream):
            for decoded in decode_packet(packet):
                number = self._index.number_at(decoded.pts)
                if number is not None:
                    yield number, decoded

    def _counted(self, number: int | None) -> Iterator[tuple[int, VideoFrame]]:
        """Frames counted from `number`, or from the keyframe that the first key packet belongs to."""
        is_counting = number is not None
        for packet in packets_of(self._container, self._stream):
            if number is None:
                stamp = packet.dts if packet.dts is not None else packet.pts
                if not packet.is_keyframe or stamp not in self._index.key_stamps:
                    continue
                number = self._index.keyframes[self._index.key_stamps.index(stamp)]
            for decoded in decode_packet(packet):
                is_counting = is_counting or bool(decoded.key_frame)
                if is_counting:
                    yield number, decoded
                    number += 1

    def _picture(self, decoded: VideoFrame) -> NDArray[Any]:
        from av.error import FFmpegError

        size = (decoded.height, decoded.width)
        self._coded_size = self._coded_size or size
        if size != self._coded_size:
            raise FramesError(
                f"{self._path} changes from {self._coded_size} to {size} pixels; re-encode it to one size"
            )
        kind = decoded.format.name
        layout = ("gray" if kind == "gray" else "gray16le") if kind.startswith("gray") else "rgb24"
        turns = round(decoded.rotation / 90) % 4
        try:
            picture = decoded.to_ndarray(format=layout)
        except (FFmpegError, OSError) as error:
            raise FramesError(f"a frame of {self._path} is damaged ({error}); re-encode the file") from error
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _release(self) -> None:
        self._recent.clear()
        self._frames = iter(())
        self._finalizer()


def _chain(first: tuple[int, Any], rest: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    yield first
    yield from rest


def _recent_length(size: tuple[int, int]) -> int:
    frame_bytes = max(1, size[0] * size[1] * 3 // 2)
    return min(32, max(2, _RECENT_BYTES // frame_bytes))


def _open(path: Path, max_pixels: int | None = None) -> InputContainer:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("reading video needs PyAV: pip install 'sam2-tools[video]'") from error
    try:
        container = av.open(str(path), "r", metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise FramesError(
            f"{path} cannot be read as video ({error}); it is damaged or cut before its index: copy or export it again"
        ) from error
    context = container.streams.video[0].codec_context if container.streams.video else None
    if context is None:
        container.close()
        raise FramesError(f"{path} holds no video stream that can be decoded; choose or export another file")
    if max_pixels is not None and context.height * context.width > max_pixels:
        size = (context.height, context.width)
        container.close()
        check_pixels(size, str(path), max_pixels)
    return container
