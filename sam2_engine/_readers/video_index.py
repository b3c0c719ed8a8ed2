"""Which frames a video file really holds, and where decoding can start.

Containers announce frame counts that need not be true. So packets are counted; and where the packets' time stamps
do not tell the order of frames (AVI with bidirectional frames, hidden frames), every frame is decoded once.
"""

from __future__ import annotations

import bisect
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

_PROBED_FRAMES = 64
_USUAL_REORDER_DEPTH = 4
_TIMED_CONTAINERS = ("mp4", "matroska")


@dataclass(frozen=True, slots=True, eq=False)
class VideoIndex:
    """Frames of a video file in the order they are shown.

    Attributes
    ----------
    length : number of frames that can be read
    announced : number of frames the file says it has, where it says so
    is_truncated : whether frames are missing or damaged
    times : [length] time stamp of each frame, ascending, or None where time stamps are no guide
    keyframes : numbers of the frames where decoding can start, ascending
    key_stamps : what to seek to for each of them
    """

    length: int
    announced: int | None
    is_truncated: bool
    times: NDArray[np.int64] | None
    keyframes: tuple[int, ...]
    key_stamps: tuple[int, ...]

    def keyframe_before(self, frame: int) -> int:
        """Position in `keyframes` of the last one at or before `frame`; -1 where there is none."""
        return bisect.bisect_right(self.keyframes, frame) - 1

    def number_at(self, time: int | None) -> int | None:
        """The frame with this time stamp."""
        if self.times is None or time is None:
            return None
        place = int(np.searchsorted(self.times, time))
        return place if place < self.length and self.times[place] == time else None


@dataclass(slots=True)
class _Packets:
    """What the packets of a file say: `times` of all frames, `key_times` and `key_stamps` of keyframes.

    `has_own_times`: the container stores when each frame is shown; elsewhere this is guessed. `can_seek`: after a jump,
    packets have the same time stamps as before, which MPEG program streams do not do.
    """

    announced: int | None
    has_own_times: bool = False
    can_seek: bool = False
    is_short: bool = False
    times: list[int | None] = field(default_factory=list)
    key_times: list[int | None] = field(default_factory=list)
    key_stamps: list[int | None] = field(default_factory=list)

    def add(self, packet: Packet[Any]) -> None:
        self.times.append(packet.pts)
        if packet.is_keyframe:
            self.key_times.append(packet.pts)
            self.key_stamps.append(packet.dts if packet.dts is not None else packet.pts)


def packets_of(container: InputContainer, *streams: VideoStream) -> Iterator[Packet[Any]]:
    """All packets that can be read; a broken end is an end. The last ones are empty and drain the decoder."""
    from av.error import FFmpegError

    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError):
            logger.debug("reading packets stopped at an error", exc_info=True)
            packet = None
        if packet is None:
            return
        yield packet


def decode_packet(packet: Packet[Any]) -> list[VideoFrame]:
    """Frames that become ready with this packet; none where it is damaged."""
    from av.error import FFmpegError

    if packet.is_corrupt:
        return []
    try:
        return list(packet.decode())
    except (FFmpegError, OSError):
        logger.debug("a packet could not be decoded", exc_info=True)
        return []


def build_index(open_container: Callable[[], InputContainer]) -> VideoIndex:
    """Count the frames of a file, which is opened afresh for each pass over it."""
    with contextlib.closing(open_container()) as container:
        packets = _scan(container, container.streams.video[0])
    with contextlib.closing(open_container()) as container:
        times = _trusted_times(container, container.streams.video[0], packets)
    with contextlib.closing(open_container()) as container:
        stream = container.streams.video[0]
        if times is None:
            return _decode_all(container, stream, packets)
        is_short = packets.is_short
        if is_short or packets.announced is None:
            whole = len(times)
            times = _without_broken_end(container, stream, times, packets)
            is_short = is_short or len(times) < whole
    key_times = np.sort(np.array(packets.key_times if packets.can_seek else [], np.int64))
    key_times = key_times[np.isin(key_times, times)]
    numbers = np.searchsorted(times, key_times)
    return VideoIndex(
        len(times), packets.announced, is_short, times, tuple(numbers.tolist()), tuple(key_times.tolist())
    )


def _scan(container: InputContainer, stream: VideoStream) -> _Packets:
    seen = _Packets(announced=int(stream.frames) or None)
    seen.has_own_times = any(kind in container.format.name for kind in _TIMED_CONTAINERS)
    seen.can_seek = seen.has_own_times or container.format.name == "avi"
    is_damaged, found, end_s = False, 0, 0.0
    for packet in packets_of(container):
        if packet.size == 0:
            continue
        if packet.pts is not None and packet.time_base:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index:
            continue
        is_damaged |= packet.is_corrupt
        if packet.is_corrupt:
            continue
        found += 1
        if not packet.is_discard:
            seen.add(packet)
    missing_s = 0.0
    # Matroska announces no number of frames, but a duration.
    if seen.announced is None and "matroska" in container.format.name and container.duration and stream.average_rate:
        missing_s = container.duration / 1e6 - end_s - 3 / float(stream.average_rate)
    seen.is_short = is_damaged or found < (seen.announced or 0) or missing_s > 0 or _is_open_gif(container)
    return seen


def _is_open_gif(container: InputContainer) -> bool:
    """Whether a GIF lacks its last byte, a semicolon."""
    if container.format.name != "gif":
        return False
    with open(container.name, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b";"


def _trusted_times(container: InputContainer, stream: VideoStream, packets: _Packets) -> NDArray[np.int64] | None:
    """Time stamps in ascending order if the first frames come out of the decoder exactly so, else None."""
    known = sorted(time for time in packets.times if time is not None)
    if len(known) < len(packets.times) or len(set(known)) < len(known) or None in packets.key_times:
        return None
    shown: list[int | None] = []
    for packet in packets_of(container, stream):
        shown += [frame.pts for frame in decode_packet(packet)]
        if len(shown) >= _PROBED_FRAMES:
            break
    return np.array(known, np.int64) if shown and shown == known[: len(shown)] else None


def _without_broken_end(
    container: InputContainer, stream: VideoStream, times: NDArray[np.int64], packets: _Packets
) -> NDArray[np.int64]:
    """`times` up to the last frame that is surely the next one and decodes.

    Behind the cut, frames may be missing that are shown before others which are there: such a gap ends the sequence.
    """
    from av.error import FFmpegError

    start = int(times[0])
    with contextlib.suppress(FFmpegError, OSError):  # what cannot be jumped over is decoded
        if packets.can_seek:
            last_key = max((time for time in packets.key_times if time is not None), default=start)
            container.seek(last_key, stream=stream)
            start = last_key
    frames = [frame for packet in packets_of(container, stream) for frame in decode_packet(packet)]
    whole = [frame.pts for frame in frames if frame.pts is not None and not frame.is_corrupt]
    is_good = (times < start) | np.isin(times, whole)
    is_uncertain = np.arange(len(times)) >= len(times) - _uncertain_frames(stream, packets)
    if packets.has_own_times and len(times) > 1:
        steps = np.diff(times, prepend=times[0])
        is_uncertain &= steps > 1.5 * np.median(steps[1:])
    elif not packets.is_short:
        is_uncertain[:] = False
    bad = np.flatnonzero(~is_good | is_uncertain)
    return times[: bad[0]] if len(bad) else times


def _uncertain_frames(stream: VideoStream, packets: _Packets) -> int:
    """How many frames before a cut cannot be relied on.

    As many as the decoder holds back may lack one that is shown before them. Where packets have no length of their own,
    the last one may be half there as well.
    """
    context = stream.codec_context
    # Before PyAV 18 the depth is not told; encoders seldom use more than four.
    held_back = getattr(context, "reorder_depth", _USUAL_REORDER_DEPTH if context.has_b_frames else 0)
    return int(held_back) + (not packets.can_seek)


def _decode_all(container: InputContainer, stream: VideoStream, packets: _Packets) -> VideoIndex:
    """Count frames by decoding them; frames are then found by counting from a keyframe."""
    logger.info("the time stamps of %s do not tell the order of frames; counting by decoding", container.name)
    length, keyframes = 0, []
    for packet in packets_of(container, stream):
        for frame in decode_packet(packet):
            if frame.key_frame:
                keyframes.append(length)
            length += 1
    if packets.is_short:
        length = max(0, length - _uncertain_frames(stream, packets))
    stamps = [stamp for stamp in packets.key_stamps if stamp is not None]
    if not packets.can_seek or len(stamps) != len(keyframes) or len(set(stamps)) < len(stamps):
        keyframes, stamps = [], []  # Without a certain match, decoding starts at the beginning.
    return VideoIndex(length, packets.announced, packets.is_short, None, tuple(keyframes), tuple(stamps))
