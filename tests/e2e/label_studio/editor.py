"""A person in Chromium who annotates: finds the tools, points at places of the picture, accepts and submits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .processes import Account

if TYPE_CHECKING:
    from playwright.sync_api import Page

VIEW = {"width": 1500, "height": 950}
ASKED = "interactive-annotating"

# Otherwise the label is let go after every region, and the next click makes none.
KEEP_LABEL = """() => {
    const key = "labelStudio:settings";
    const known = JSON.parse(localStorage.getItem(key) || "{}");
    localStorage.setItem(key, JSON.stringify({...known, continuousLabeling: true}));
}"""


def find_chromium() -> str | None:
    """Where Chromium is, if it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@contextmanager
def logged_in(url: str, account: Account, chromium: str) -> Iterator[Page]:
    """A page of a browser in which somebody has logged in."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=options)
        try:
            page = browser.new_context(viewport=VIEW, base_url=url).new_page()
            page.set_default_timeout(60_000)
            page.goto("/user/login/")
            page.fill("input[name=email]", account.email)
            page.fill("input[name=password]", account.password)
            page.click("button[type=submit]")
            page.wait_for_url("**/")
            page.evaluate(KEEP_LABEL)
            # Work that was not submitted is given up when another task is opened.
            page.on("dialog", lambda dialog: dialog.accept())
            yield page
        finally:
            browser.close()


def connect_backend(page: Page, project: int, url: str) -> None:
    """Fill in the form under *Settings → Model* and wait until the card of the model is there."""
    open_connect_form(page, project, url)
    page.locator('button[aria-label="Save machine learning form"]').click()
    page.locator("text=Connected").first.wait_for()


def open_connect_form(page: Page, project: int, url: str) -> None:
    """The form under *Settings → Model*, filled in and not yet saved."""
    page.goto(f"/projects/{project}/settings/ml")
    page.locator('button:has-text("Connect Model")').first.click()
    page.locator("input[name=title]").last.fill("SAM 2")
    page.locator("input[name=url]").last.fill(url)
    interactive = page.locator("input[name=is_interactive]")
    interactive.evaluate("element => element.checked || element.click()")
    page.wait_for_timeout(500)


class Editor:
    """A task, opened to be annotated.

    Parameters
    ----------
    page : of somebody who has logged in
    size : (height, width) of the picture in pixels
    """

    def __init__(self, page: Page, project: int, task: int, size: tuple[int, int]) -> None:
        self.page = page
        self.size = size
        self.asked: list[dict[str, Any]] = []
        self.answered: list[dict[str, Any]] = []
        page.on("response", self._note)
        page.goto(f"/projects/{project}/data?task={task}")
        page.locator(".lsf-label").first.wait_for()

    def close(self) -> None:
        """Listen no longer."""
        self.page.remove_listener("response", self._note)

    # Ready to click

    def ready(self) -> None:
        """An annotation of one's own, with auto-annotation on."""
        self.page.locator(".konvajs-content canvas").first.wait_for()
        fresh = self.page.locator('button[aria-label="Create an annotation"]')
        if fresh.count():
            fresh.first.click()
        toggle = self.page.locator("[data-testid=bottombar-auto-annotation-toggle]")
        toggle.wait_for(state="attached")
        if not toggle.is_checked():
            toggle.evaluate("element => element.click()")
        self.page.wait_for_timeout(1500)

    def take_tool(self, name: str) -> None:
        """A smart tool: ``key-point-tool`` or ``rectangle-tool``."""
        self.page.locator("button.lsf-tool_smart").first.hover()
        tool = self.page.locator(f'.lsf-toolbar__smart button[aria-label="{name}"]')
        tool.wait_for()
        tool.click(force=True)
        self.page.mouse.move(VIEW["width"] / 2, 40)
        self.page.wait_for_timeout(300)

    def take_label(self, name: str) -> None:
        """A label, if it is not taken already."""
        label = self.page.locator(".lsf-label", has_text=name).first
        if "selected" not in str(label.get_attribute("class")):
            label.click()
        self.page.wait_for_timeout(300)

    # On the picture

    def click(self, x: float, y: float, *, negative: bool = False) -> dict[str, Any]:
        """Click at a pixel and wait for the answer; gives the request's context."""
        if negative:
            self.page.keyboard.down("Alt")
        try:
            with self._answer():
                self.page.mouse.click(*self._on_screen(x, y))
        finally:
            if negative:
                self.page.keyboard.up("Alt")
        return self.asked[-1]["context"]

    def draw_box(self, box: tuple[float, float, float, float]) -> dict[str, Any]:
        """Draw from corner to corner in pixels and wait for the answer; gives the request's context."""
        start, end = self._on_screen(*box[:2]), self._on_screen(*box[2:])
        with self._answer():
            self.drag(start, end)
        return self.asked[-1]["context"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press, move and let go, in pixels of the screen."""
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for step in range(1, 7):
            at = [a + (b - a) * step / 6 for a, b in zip(start, end, strict=True)]
            self.page.mouse.move(*at)
        self.page.mouse.up()

    # On a film

    def ready_for_film(self) -> None:
        """An annotation of one's own, with auto-annotation on and the first frame shown."""
        self.page.locator("video").first.wait_for(state="attached")
        self.ready()
        self.page.wait_for_timeout(3000)

    def draw_box_on_film(self, box: tuple[float, float, float, float]) -> None:
        """Draw from corner to corner in pixels. That alone asks nothing."""
        self.drag(self._on_film(*box[:2]), self._on_film(*box[2:]))
        self.page.wait_for_timeout(1000)

    def ask_by_label(self, name: str) -> dict[str, Any]:
        """Select the last region and give it a label, which asks for its track; gives the request's context."""
        self.page.locator("[class*=lsf-outliner-item__title]").last.click()
        self.page.wait_for_timeout(500)
        # The editor may also ask with nothing marked, when the region is left.
        with self._answer(about="videorectangle"):
            self.page.locator(".lsf-label", has_text=name).first.click()
        return next(one["context"] for one in reversed(self.asked) if one["context"]["result"])

    # Afterwards

    def num_suggestions(self) -> int:
        """How many masks wait to be accepted."""
        shown = self.page.locator(".lsf-auto-accept__info")
        return int(shown.inner_text().split()[0]) if shown.count() else 0

    def accept(self) -> None:
        """Take all suggestions."""
        self.page.locator("[data-testid=bottombar-accept-suggestions-button]").click()
        self.page.wait_for_timeout(800)

    def num_regions(self) -> int:
        """How many regions the outliner lists."""
        return self.page.locator("[class*=lsf-outliner-item__title]").count()

    def go_to_page(self, number: int) -> None:
        """Another frame of a list of pictures, from 1 on."""
        field = self.page.locator(".lsf-pagination input").first
        if not field.count() or not field.is_visible():
            self.page.locator(".lsf-pagination__page-indicator").first.click()
        field.fill(str(number))
        field.press("Enter")
        self.page.wait_for_timeout(1000)

    def submit(self) -> None:
        """Send the annotation."""
        with self.page.expect_response(lambda one: "/annotations" in one.url and one.request.method == "POST"):
            self.page.locator("[data-testid=bottombar-submit-button]").click()
        self.page.wait_for_timeout(500)

    # Inside

    @contextmanager
    def _answer(self, about: str = "") -> Iterator[None]:
        def is_meant(response: Any) -> bool:
            return ASKED in response.url and about in (response.request.post_data or "")

        with self.page.expect_response(is_meant, timeout=120_000):
            yield
        self.page.wait_for_timeout(700)

    def _note(self, response: Any) -> None:
        if ASKED in response.url:
            self.asked.append(json.loads(response.request.post_data))
            self.answered.append(response.json())

    def _on_film(self, x: float, y: float) -> tuple[float, float]:
        """Films lie in the middle of the canvas, made smaller where they do not fit in."""
        canvas = self.page.locator(".konvajs-content").first.bounding_box()
        assert canvas is not None, "the film is not shown"
        height, width = self.size
        scale = min(1.0, canvas["width"] / width, canvas["height"] / height)
        left = canvas["x"] + (canvas["width"] - scale * width) / 2
        return left + scale * x, canvas["y"] + (canvas["height"] - scale * height) / 2 + scale * y

    def _on_screen(self, x: float, y: float) -> tuple[float, float]:
        # The canvas may be smaller than the picture, which is then cut off at its sides.
        stage = self.page.locator("img[alt=image]").first.bounding_box()
        assert stage is not None, "the picture is not shown"
        height, width = self.size
        return stage["x"] + stage["width"] * x / width, stage["y"] + stage["height"] * y / height
