"""What is annotated: a picture, the planes of a stack and a film, all made by the package, so their truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.training.synthetic import make_clip, make_stack

Labels = NDArray[np.integer]

NUM_PLANES = 5
FRAMES_PER_SECOND = 10
NUM_FILM_FRAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Pictures [T, H, W] and their labels [T, H, W]."""

    pictures: NDArray[np.uint8]
    labels: Labels

    def objects(self, frame: int = 0) -> list[int]:
        """Labels on a frame, the largest first."""
        names, areas = np.unique(self.labels[frame][self.labels[frame] > 0], return_counts=True)
        return [int(name) for name in names[np.argsort(-areas, kind="stable")]]

    def centre(self, obj: int, frame: int = 0) -> tuple[float, float]:
        """(x, y) in pixels of the point of an object that is farthest from its edge."""
        from scipy.ndimage import distance_transform_edt

        depth = distance_transform_edt(np.pad(self.labels[frame] == obj, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return float(column) + 0.5, float(row) + 0.5

    def box(self, obj: int, frame: int = 0) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) in pixels around an object."""
        rows, columns = np.nonzero(self.labels[frame] == obj)
        return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def picture() -> Scene:
    """Nuclei, some of which touch."""
    made = make_stack(np.random.default_rng(4), (16, 384, 512), radius_px=26.0, z_step=2.5, crowding=0.6)
    return Scene(_as_shown(made.volume[8:9]), made.labels[8:9])


def stack() -> Scene:
    """Planes through nuclei."""
    made = make_stack(np.random.default_rng(11), (40, 208, 256), radius_px=20.0, z_step=2.5, crowding=0.5)
    chosen = slice(17, 17 + NUM_PLANES)
    return Scene(_as_shown(made.volume[chosen]), made.labels[chosen])


def film() -> Scene:
    """Nuclei that move, [8, 416, 512]."""
    made = make_clip(np.random.default_rng(99), 256, NUM_FILM_FRAMES, 1.0, style="fluorescence")
    # Enlarged, because Label Studio shows small films small.
    larger = [Image.fromarray(one).resize((512, 512), Image.Resampling.BICUBIC) for one in _as_shown(made.images)]
    labels = made.labels.repeat(2, axis=1).repeat(2, axis=2)
    return Scene(np.stack([np.asarray(one) for one in larger])[:, :416], labels[:, :416])


def write_pictures(scene: Scene, folder: Path) -> list[Path]:
    """A PNG for each frame, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"frame_{index:02d}.png" for index in range(len(scene.pictures))]
    for path, one in zip(paths, scene.pictures, strict=True):
        Image.fromarray(one).save(path)
    return paths


def write_turned_picture(scene: Scene, path: Path) -> Path:
    """The picture as a camera held upright saves it: stored lying down, with an EXIF orientation that stands it up."""
    stored = Image.fromarray(scene.pictures[0]).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(path, quality=95, exif=exif)
    return path


def write_film(scene: Scene, path: Path) -> Path:
    """The frames as an mp4 that browsers play."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "12"})
        stream.height, stream.width = scene.pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for one in scene.pictures:
            frame = av.VideoFrame.from_ndarray(np.repeat(one[..., None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _as_shown(images: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Any counts as 8 bits, all frames with the same scale."""
    low, high = np.percentile(images, (0.5, 99.95))
    return (np.clip((images.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
