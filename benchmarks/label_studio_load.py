"""Many annotators at once: ``python benchmarks/label_studio_load.py``.

Starts ``sam2 serve label-studio`` with the default model and lets annotators click on ten pictures, in the words of
Label Studio's editor: a click, then two corrections, each request with all clicks of the object. Measured are

- one annotator alone, who clicks as soon as the answer is there;
- twenty annotators who look at each mask for a while (``--pause``), as people do;
- twenty annotators who do not look: the most that the server can do;
- resident memory over ten thousand further requests, most of which repeat one of the last ten, with small caches, so
  that they are full and things leave them.

Every mask is compared, byte for byte, with the answer to the same clicks in a fresh server that was asked one by one.
There each click is a new one; in the other phases the same clicks come again, whose answers the server remembers.
Needs Linux (/proc). Prints a table and writes ``benchmarks/results/<date>-label-studio-load.json``.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import secrets
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sam2_engine.training.synthetic import make_stack  # noqa: E402

LABEL_CONFIG = (ROOT / "examples" / "label_studio" / "image.xml").read_text()
NUM_PICTURES = 10
HEIGHT, WIDTH = 384, 512
OBJECTS_PER_PICTURE = 8
CLICKS_PER_OBJECT = 3
SMALL_CACHE = "96MB"
SOAK_KEYS, SOAK_BLOCK = 10, 200
"""So many different clicks take turns for so many requests, then come the next ones."""

Key = tuple[int, int, int]
"""Picture, object, number of clicks."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A click, in percent of the picture."""

    x: float
    y: float
    positive: bool


@dataclass(slots=True)
class Outcome:
    """What came of a phase."""

    seconds: list[float] = field(default_factory=list)
    masks: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    errors: list[str] = field(default_factory=list)


class Pictures:
    """Ten pictures of nuclei, and where an annotator clicks on them."""

    def __init__(self, folder: Path) -> None:
        self.marks: dict[tuple[int, int], tuple[Mark, ...]] = {}
        for number in range(NUM_PICTURES):
            made = make_stack(
                np.random.default_rng(100 + number), (12, HEIGHT, WIDTH), radius_px=26.0, z_step=2.5, crowding=0.6
            )
            plane = made.volume[6].astype(np.float64)
            shown = np.clip(plane / np.percentile(plane, 99.9), 0, 1) * 255
            Image.fromarray(shown.astype(np.uint8)).save(folder / f"{number}.png")
            labels = made.labels[6]
            names, areas = np.unique(labels[labels > 0], return_counts=True)
            for index, name in enumerate(names[np.argsort(-areas)][:OBJECTS_PER_PICTURE]):
                self.marks[number, index] = _marks(labels == name, np.random.default_rng(1000 * number + index))

    def request(self, key: Key) -> dict[str, Any]:
        """Body of ``/predict`` as the editor causes it; regions have ids never used before."""
        picture, obj, count = key
        shown = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
        regions = []
        for mark in self.marks[picture, obj][:count]:
            shared = {**shown, "id": secrets.token_urlsafe(8), "is_positive": mark.positive, "origin": "manual"}
            value = {"x": mark.x, "y": mark.y, "width": 0.23, "labels": ["nucleus"]}
            regions.append({**shared, "value": value, "from_name": "click", "type": "keypoint"})
            regions.append({**shared, "value": value, "from_name": "label", "type": "labels"})
        return self.opened(picture) | {"params": {"login": None, "password": None, "context": {"result": regions}}}

    def opened(self, picture: int) -> dict[str, Any]:
        """Body of ``/predict`` when a task is opened."""
        data = {"image": f"/data/upload/1/{picture}.png"}
        task = {"id": picture + 1, "data": data, "annotations": [], "drafts": [], "predictions": [], "project": 1}
        params = {"login": None, "password": None, "context": None}
        return {"tasks": [task], "project": "1.1795000000", "label_config": LABEL_CONFIG, "params": params}


def _marks(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Mark, ...]:
    """A click in the middle, one just outside that does not belong, and one near the edge that does."""
    inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    outside = distance_transform_edt(~mask)
    places = (
        (inside > 0.7 * inside.max(), True),
        ((outside > 5) & (outside < 8), False),
        ((inside > 2) & (inside < 5), True),
    )
    marks = []
    for chosen, positive in places[:CLICKS_PER_OBJECT]:
        row, column = rng.choice(np.argwhere(chosen))
        marks.append(Mark(100 * (column + 0.5) / WIDTH, 100 * (row + 0.5) / HEIGHT, positive))
    return tuple(marks)


class Quiet(SimpleHTTPRequestHandler):
    """Gives the pictures, as Label Studio does."""

    def translate_path(self, path: str) -> str:
        return super().translate_path("/" + path.rsplit("/", 1)[-1])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def pictures_served(folder: Path) -> Iterator[str]:
    """The address of a stand-in for Label Studio."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def backend(label_studio_url: str, **environment: str) -> Iterator[tuple[str, int]]:
    """The server in a process of its own; gives its address and process number."""
    command = [sys.executable, "-m", "sam2_engine.cli", "serve", "label-studio", "--port", "0"]
    variables = {**os.environ, "LABEL_STUDIO_URL": label_studio_url, "LOG_LEVEL": "WARNING", **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        url = next((word for word in words if word.startswith("http://")), None)
        if url is None:
            raise SystemExit("the server did not start; see above")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """Asks like Label Studio, over one connection."""

    def __init__(self, url: str, pictures: Pictures) -> None:
        self.url, self.pictures = url, pictures
        self.http = requests.Session()

    def open_all(self) -> None:
        """Open every task once, and wait until its picture was answered a first time."""
        for picture in range(NUM_PICTURES):
            self.http.post(f"{self.url}/predict", json=self.pictures.opened(picture), timeout=300).raise_for_status()

    def ask(self, key: Key, outcome: Outcome) -> None:
        """One click; what came of it is noted."""
        body = self.pictures.request(key)
        start = time.perf_counter()
        try:
            response = self.http.post(f"{self.url}/predict", json=body, timeout=300)
        except requests.RequestException as error:
            outcome.errors.append(f"{key}: {error}")
            return
        seconds = time.perf_counter() - start
        regions = _masks(response) if response.status_code == 200 else []
        if len(regions) != 1:
            outcome.errors.append(f"{key}: {response.status_code} {response.text[:200]}")
            return
        outcome.seconds.append(seconds)
        outcome.masks[key].add(json.dumps(regions[0]["value"]["rle"]))


def _masks(response: requests.Response) -> list[Any]:
    (prediction,) = response.json()["results"] or [{"result": []}]
    return [region for region in prediction["result"] if "rle" in region["value"] and region["type"] == "brush"]


def clicking(url: str, pictures: Pictures, annotators: int, seconds: float, pause_s: float) -> Outcome:
    """Let annotators click for a while, each on objects of its own choice."""
    until = time.monotonic() + seconds
    outcomes = [Outcome() for _ in range(annotators)]

    def annotate(number: int) -> None:
        rng, client = np.random.default_rng(number), Client(url, pictures)
        objects = list(pictures.marks)
        while True:
            picture, obj = objects[rng.integers(len(objects))]
            for count in range(1, CLICKS_PER_OBJECT + 1):
                time.sleep(rng.exponential(pause_s) if pause_s else 0.0)
                if time.monotonic() > until:
                    return
                client.ask((picture, obj, count), outcomes[number])

    _together([partial(annotate, number) for number in range(annotators)])
    return _summed(outcomes)


def soaking(url: str, pid: int, pictures: Pictures, count: int) -> tuple[Outcome, list[tuple[int, float]]]:
    """Many requests from four annotators; gives also (requests so far, resident MB)."""
    numbers, samples, outcomes = itertools.count(), [(0, resident_mb(pid))], [Outcome() for _ in range(4)]
    keys = [(*known, clicks) for known in pictures.marks for clicks in range(1, CLICKS_PER_OBJECT + 1)]
    np.random.default_rng(7).shuffle(keys)

    def ask(outcome: Outcome) -> None:
        client = Client(url, pictures)
        while (number := next(numbers)) < count:
            place = number // SOAK_BLOCK * SOAK_KEYS + number % SOAK_KEYS
            client.ask(tuple(map(int, keys[place % len(keys)])), outcome)
            if (number + 1) % (count // 40) == 0:
                samples.append((number + 1, resident_mb(pid)))

    _together([partial(ask, outcome) for outcome in outcomes])
    return _summed(outcomes), sorted(samples)


def one_by_one(url: str, pictures: Pictures, keys: list[Key]) -> Outcome:
    """The same clicks, asked one after the other."""
    outcome, client = Outcome(), Client(url, pictures)
    for key in keys:
        client.ask(key, outcome)
    return outcome


def _together(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _summed(outcomes: list[Outcome]) -> Outcome:
    total = Outcome()
    for one in outcomes:
        total.seconds += one.seconds
        total.errors += one.errors
        for key, masks in one.masks.items():
            total.masks[key] |= masks
    return total


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError("this benchmark reads /proc and so needs Linux")


def row_of(what: str, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """A line of the table."""
    taken = np.asarray(outcome.seconds) * 1000
    row = {
        "what": what,
        "clicks": len(taken),
        "errors": len(outcome.errors),
        "clicks_per_s": round(len(taken) / seconds, 1),
        "median_ms": round(float(np.median(taken)), 1),
        "p95_ms": round(float(np.percentile(taken, 95)), 1),
        "longest_ms": round(float(taken.max()), 1),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(
        f"{what:44} {row['clicks']:6d} clicks  {row['errors']:3d} errors  {row['clicks_per_s']:6.1f}/s  "
        f"median {row['median_ms']:7.1f} ms  p95 {row['p95_ms']:7.1f} ms",
        flush=True,
    )
    for error in outcome.errors[:3]:
        print(f"    {error}", flush=True)
    return row


def machine() -> dict[str, Any]:
    """What it was measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each phase")
    parser.add_argument("--pause", type=float, default=3.0, help="mean seconds between an answer and the next click")
    parser.add_argument("--requests", type=int, default=10_000, help="over which memory is watched; 0 leaves it out")
    parser.add_argument("--note", default="", help="a sentence that goes with the results")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    date = datetime.date.today().isoformat()
    out = args.out or ROOT / "benchmarks" / "results" / f"{date}-label-studio-load.json"
    with TemporaryDirectory() as folder:
        pictures = Pictures(Path(folder))
        with pictures_served(Path(folder)) as studio:
            report = {"date": date, "machine": machine(), "note": args.note}
            for news in measured(studio, pictures, args):
                report |= news
                out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if report["errors"] or report["wrong_masks"] else 0


def measured(studio: str, pictures: Pictures, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All phases; gives what is known so far after each."""
    rows: list[dict[str, Any]] = []
    outcomes = []
    several = args.annotators
    yield {"annotators": several, "seconds": args.seconds, "pictures": [NUM_PICTURES, HEIGHT, WIDTH], "rows": rows}
    with backend(studio) as (url, pid):
        Client(url, pictures).open_all()
        for what, count, pause in (
            ("one annotator, no pause", 1, 0.0),
            (f"{several} annotators, {args.pause:g} s between clicks", several, args.pause),
            (f"{several} annotators, no pause", several, 0.0),
        ):
            outcomes.append(clicking(url, pictures, count, args.seconds, pause))
            rows.append(row_of(what, outcomes[-1], args.seconds))
        yield {"resident_mb_after_clicking": resident_mb(pid)}
    yield compared(studio, pictures, _summed(outcomes))
    if not args.requests:
        return
    with backend(studio, SAM2_CACHE_RAM=SMALL_CACHE) as (url, pid):
        Client(url, pictures).open_all()
        start = time.monotonic()
        outcome, samples = soaking(url, pid, pictures, args.requests)
        outcomes.append(outcome)
        rows.append(row_of(f"{args.requests} requests, caches of {SMALL_CACHE}", outcome, time.monotonic() - start))
    print("resident MB:", ", ".join(f"{count}: {megabytes:.0f}" for count, megabytes in samples[::4]), flush=True)
    yield {"resident_mb": samples} | compared(studio, pictures, _summed(outcomes))


def compared(studio: str, pictures: Pictures, together: Outcome) -> dict[str, Any]:
    """Whether a fresh server, asked one by one, gives the same masks."""
    with backend(studio) as (url, _):
        Client(url, pictures).open_all()
        start = time.monotonic()
        alone = one_by_one(url, pictures, sorted(together.masks))
    first = row_of("each click for the first time, one by one", alone, time.monotonic() - start)
    wrong = [key for key, masks in together.masks.items() if masks != alone.masks[key]]
    print(f"{len(together.masks)} different prompts compared with answers given one by one: {len(wrong)} differ")
    return {
        "first_time": first,
        "compared": len(together.masks),
        "wrong_masks": len(wrong),
        "errors": [*together.errors, *alone.errors][:20],
    }


if __name__ == "__main__":
    sys.exit(main())
