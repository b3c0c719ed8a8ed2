"""The pictures of the Label Studio guide: ``python docs/make_label_studio_pictures.py [NAME …]``.

Starts a real Label Studio, the backend and Chromium, as the end-to-end tests do, does what the guide says, and saves
what is seen to ``docs/images/label_studio_*.jpg``. Needs what those tests need: Chromium, Playwright, and Label Studio,
which is installed into ``.venv-label-studio`` on first use.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e.label_studio import editor, processes, scenes  # noqa: E402
from tests.e2e.label_studio.editor import Editor  # noqa: E402
from tests.e2e.label_studio.rest import LabelStudio  # noqa: E402

IMAGES = ROOT / "docs" / "images"
CONFIGS = ROOT / "examples" / "label_studio"
WIDTH = 1100
EDITOR = (240, 48, 1500, 950)
"""Without the list of tasks on the left."""


@dataclass(frozen=True)
class Stage:
    """What all scenes are played on."""

    studio: LabelStudio
    backend_url: str
    page: Any
    folder: Path

    def save(self, name: str, clip: tuple[int, int, int, int] | None = EDITOR) -> None:
        """Save what is seen, or a part of it: left, top, right, bottom."""
        self.page.wait_for_timeout(500)
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if clip is not None:
            picture = picture.crop(clip)
        if picture.width > WIDTH:
            size = (WIDTH, round(picture.height * WIDTH / picture.width))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        path = IMAGES / f"label_studio_{name}.jpg"
        picture.save(path, quality=88, optimize=True)
        print(f"{path.relative_to(ROOT)} {picture.size}", flush=True)

    def open(self, config: str, title: str, scene: scenes.Scene, *files: Path) -> Editor:
        """A task of a new project, ready to be annotated."""
        project = self.studio.new_project(title, (CONFIGS / f"{config}.xml").read_text())
        addresses = self.studio.upload(project, *files)
        key, value = {"frames": ("images", addresses), "video": ("video", addresses[0])}.get(
            config, ("image", addresses[0])
        )
        (task,) = self.studio.new_tasks(project, [{key: value}])
        self.studio.connect(project, self.backend_url)
        opened = Editor(self.page, project, task, scene.pictures.shape[1:])
        if config == "video":
            opened.ready_for_film()
        else:
            opened.ready()
        return opened


def connecting(stage: Stage) -> None:
    """The form, filled in."""
    project = stage.studio.new_project("Nuclei", (CONFIGS / "image.xml").read_text())
    editor.open_connect_form(stage.page, project, "http://localhost:9090")
    stage.save("connect", clip=(340, 100, 1160, 830))


def clicking(stage: Stage) -> None:
    """A click, a correction, boxes, and all of it accepted."""
    scene = scenes.picture()
    one = stage.open("image", "Nuclei", scene, *scenes.write_pictures(scene, stage.folder))
    one.take_tool("key-point-tool")
    one.take_label("nucleus")
    one.click(*scene.centre(scene.objects()[0]))
    stage.save("click")
    one.click(225.5, 307.5, negative=True)
    stage.save("correction")
    one.accept()
    one.take_tool("rectangle-tool")
    for obj in [scene.objects()[index] for index in (1, 3, 6)]:
        one.draw_box(scene.box(obj))
    stage.save("boxes")
    one.accept()
    stage.save("accepted")
    one.submit()


def outlining(stage: Stage) -> None:
    """Polygons."""
    scene = scenes.picture()
    one = stage.open("polygons", "Outlines", scene, *scenes.write_pictures(scene, stage.folder))
    one.take_tool("rectangle-tool")
    one.take_label("nucleus")
    for obj in [scene.objects()[index] for index in (1, 3, 6)]:
        one.draw_box(scene.box(obj))
    one.accept()
    stage.save("polygons")


def following(stage: Stage) -> None:
    """One click, a mask on every frame."""
    scene = scenes.stack()
    one = stage.open("frames", "A stack", scene, *scenes.write_pictures(scene, stage.folder))
    one.take_tool("key-point-tool")
    one.take_label("nucleus")
    one.click(*scene.centre(scene.objects()[0]))
    one.accept()
    one.go_to_page(len(scene.pictures) - 1)
    stage.save("frames")


def filming(stage: Stage) -> None:
    """A box that follows."""
    scene = scenes.film()
    one = stage.open("video", "A film", scene, scenes.write_film(scene, stage.folder / "film.mp4"))
    one.draw_box_on_film(scene.box(scene.objects()[0]))
    one.ask_by_label("nucleus")
    stage.save("video")


def looking(stage: Stage) -> None:
    """The status page."""
    stage.page.goto(stage.backend_url)
    stage.save("status", clip=None)


SCENES: dict[str, Callable[[Stage], None]] = {
    "connecting": connecting,
    "clicking": clicking,
    "outlining": outlining,
    "following": following,
    "filming": filming,
    "looking": looking,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="scenes to play; all when not given")
    chosen = parser.parse_args().names or list(SCENES)
    chromium = editor.find_chromium()
    if chromium is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    processes.install()
    account = processes.Account()
    with TemporaryDirectory() as name, processes.label_studio(folder := Path(name), account) as running:
        studio = LabelStudio(running.url, account)
        token = studio.personal_access_token()
        with (
            processes.backend(folder, running.url, token) as backend,
            editor.logged_in(running.url, account, chromium) as page,
        ):
            stage = Stage(studio, backend.url, page, folder)
            for name in chosen:
                SCENES[name](stage)
                page.goto("about:blank")
        studio.close()


if __name__ == "__main__":
    main()
