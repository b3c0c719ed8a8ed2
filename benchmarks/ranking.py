"""What signs of a good candidate count: fits `sam2_engine.ranking.WEIGHTS` to clicks on labelled pictures.

    python benchmarks/ranking.py DATA --subset train --compare dev

DATA is a folder with an ``index.json``, as for ``sam2 evaluate``. All candidates of clicks on objects are collected, at
all scales, with their signs and their IoU with the truth. Then a weighted sum of the signs is fitted so that the IoU of
what is chosen, softly, is largest. Printed are the weights, and the mean IoU of what is chosen with those in use, with
the fitted ones, and of the best candidate there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_engine.evaluation.metrics import iou
from sam2_engine.geometry import Resize
from sam2_engine.opening import load_tracker
from sam2_engine.pixels import as_picture
from sam2_engine.prompts import Click, Prompts
from sam2_engine.ranking import UNSEEN, WEIGHTS, overlaps, scores, signs
from sam2_engine.tracking import Tracker
from sam2_engine.training.clicks import centre_click, random_click
from sam2_engine.training.folders import MicroscopyFolder
from sam2_engine.windowed_images import WindowedImage
from sam2_engine.windows import WindowRule

SMALLEST_AREA = 16
CENTRE_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Asked:
    """All candidates of one click: signs [N, 7], IoU with the truth [N], whether there is a mask [N]; and its kind."""

    kind: str
    signs: NDArray[np.float64]
    truth: NDArray[np.float64]
    is_mask: NDArray[np.bool_]


def asked(tracker: Tracker, image: WindowedImage, truth: NDArray[np.bool_], click: Click, kind: str) -> Asked:
    """What is offered for a click, as `sam2_engine.looking` sees it before it chooses."""
    said = Prompts(clicks=(click,))
    windows = WindowRule().around_clicks(said.clicks, image.size)
    with tracker.placement.active():
        features = image.encode(windows)
        tensors = tracker.prompt_tensors([said] * len(windows), [image.resize(window) for window in windows])
        offered = tracker.candidates(tracker.condition(features, None), features, tensors)
        points = scores(offered)
        found = signs(offered, overlaps(offered.logits, windows), points)
        masks = [
            Resize(image.size, tracker.config.image_side, window).logits_to_image(offered.logits[row : row + 1])[0] > 0
            for row, window in enumerate(windows)
        ]
    true = np.array([iou(truth, mask.numpy()) for row in masks for mask in row])
    return Asked(kind, found.reshape(len(true), -1), true, points.ravel() > UNSEEN)


def collected(tracker: Tracker, data: str, subset: str, objects: int) -> Iterator[Asked]:
    """Clicks on up to so many objects of each single picture, most of them in their middle."""
    folder, rng = MicroscopyFolder(data, subset), np.random.default_rng(0)
    for item in folder.items:
        if item.num_frames > 1:
            continue
        scene = folder.read(item).scene(0)
        ids, areas = np.unique(scene.labels, return_counts=True)
        image = WindowedImage(tracker, as_picture(scene.image), WindowRule())
        for label in rng.permutation(ids[(ids > 0) & (areas >= SMALLEST_AREA)])[:objects]:
            truth = scene.labels == label
            click = centre_click(truth) if rng.random() < CENTRE_SHARE else random_click(truth, rng)
            yield asked(tracker, image, truth, click, item.category)


def fitted(clicks: list[Asked], epochs: int = 60, batch: int = 128) -> NDArray[np.float64]:
    """Weights [7] of the signs, the second 1, by which the expected IoU of a soft choice is largest."""
    most = max(len(one.truth) for one in clicks)
    found, truth = torch.zeros(len(clicks), most, len(WEIGHTS)), torch.zeros(len(clicks), most)
    penalty = torch.full((len(clicks), most), -1e4)
    for row, one in enumerate(clicks):
        count = len(one.truth)
        found[row, :count], truth[row, :count] = torch.from_numpy(one.signs).float(), torch.from_numpy(one.truth)
        penalty[row, :count][torch.from_numpy(one.is_mask)] = 0
    spread = found[penalty == 0].std(0)
    torch.manual_seed(0)
    weights = torch.zeros(len(WEIGHTS), requires_grad=True)
    optimiser = torch.optim.AdamW([weights], 1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(clicks)).split(batch):  # type: ignore[no-untyped-call]
            chosen = ((found[rows] / spread) @ weights + penalty[rows]).softmax(dim=1)
            loss = -(chosen * truth[rows]).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    raw = (weights.detach() / spread).double().numpy()
    in_use: NDArray[np.float64] = raw / raw[1]
    return in_use


def chosen_iou(clicks: list[Asked], weights: NDArray[np.float64]) -> dict[str, float]:
    """Mean IoU of what is chosen, by kind of picture."""
    return _by_kind(clicks, [one.truth[np.where(one.is_mask, one.signs @ weights, -np.inf).argmax()] for one in clicks])


def _by_kind(clicks: list[Asked], values: list[float]) -> dict[str, float]:
    kinds = sorted({one.kind for one in clicks})
    return {
        kind: round(float(np.mean([v for one, v in zip(clicks, values, strict=True) if one.kind == kind])), 3)
        for kind in kinds
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--weights", default="default", help="of the model (default: the one that comes along)")
    parser.add_argument("--subset", default="train", help="to fit to")
    parser.add_argument("--compare", default="dev", help="to measure on as well")
    parser.add_argument("--objects", type=int, default=12, help="of each picture, at most")
    args = parser.parse_args()
    tracker = load_tracker(args.weights)
    clicks = {name: list(collected(tracker, args.data, name, args.objects)) for name in (args.subset, args.compare)}
    weights = fitted(clicks[args.subset])
    print("weights", np.round(weights, 2).tolist())
    for name, these in clicks.items():
        print(f"{name}: {len(these)} clicks, IoU of what is chosen")
        print("  in use", chosen_iou(these, np.array(WEIGHTS)))
        print("  fitted", chosen_iou(these, weights))
        print("  best  ", _by_kind(these, [float(one.truth.max()) for one in these]))


if __name__ == "__main__":
    main()
