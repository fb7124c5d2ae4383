"""The screenshots of the pages, taken in Chromium of what a study has made.

    python -m docs.pictures

takes them where the tutorial has been followed: of the study in this folder, which `make ui` serves, of the page in
reports/compare/ and of the photo in reports/photos/ that were made last.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = Path("docs/pictures")
# No sandbox: it needs rights that containers do not have. The rest keeps Chromium from calling home.
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def executable() -> str | None:
    """Chromium, where there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium(found: str) -> Iterator[Browser]:
    """A browser, driven by Playwright."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()


@contextlib.contextmanager
def mlflow(folder: str | Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Address of MLflow's page of the study in a folder, as `make ui` has it, while it is served.

    Args:
        folder: of the project.
        variables: the environment.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "glassbox.tracking"], cwd=folder, env={**variables, "PORT": str(port)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        address, deadline = server.stdout.readline().split()[-1:], time.monotonic() + 60
        threading.Thread(target=server.stdout.read, daemon=True).start()  # a full pipe would stop the server
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit("error: 'make ui' does not serve MLflow here")
            time.sleep(0.2)
        yield address[0]
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_for_runs(page: Page) -> None:
    """Until MLflow's table of runs is there, without the assistant that it opens beside it."""
    page.locator(".ag-row .ag-cell a").first.wait_for()
    close = page.get_by_role("button", name="Close", exact=True)
    if close.count():
        close.click()


def kept(page: Page, name: str, **how) -> None:
    """Take a picture, in as few colours as a page of text and maps needs."""
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file, **how)
    with Image.open(file) as image:
        image.convert("RGB").quantize(256).save(file, optimize=True)


def newest(pattern: str) -> Path:
    """Of the files that match."""
    return max(Path("reports").glob(pattern), key=lambda path: path.stat().st_mtime)


def main() -> None:
    found = executable()
    if found is None:
        sys.exit("error: there is no browser: install Chromium")
    PICTURES.mkdir(exist_ok=True)
    with chromium(found) as browser, mlflow(".", os.environ) as address:

        def opened(where: str, height: int) -> Page:
            size = {"width": 1280, "height": height}
            page = browser.new_context(viewport=size, device_scale_factor=1.5).new_page()
            page.goto(where)
            return page

        page = opened(Path("reports/index.html").resolve().as_uri(), 900)
        page.wait_for_function("document.getElementById('probability').textContent")
        kept(page, "first-screen")
        page.locator("#explainer").select_option("kernel_shap")
        page.evaluate("document.getElementById('images').scrollIntoView()")
        kept(page, "report")

        page = opened(newest("compare/*.html").resolve().as_uri(), 1000)
        flipped = page.locator("h2, h3").filter(has_text="recognises").first
        flipped.evaluate("one => one.scrollIntoView()")
        kept(page, "compare")

        page = opened(address, 560)
        page.set_viewport_size({"width": 1600, "height": 560})
        wait_for_runs(page)
        page.get_by_role("button", name="Hide banner").click()
        page.wait_for_timeout(2000)
        kept(page, "mlflow")
        page.set_viewport_size({"width": 1600, "height": 1000})
        page.locator("label:has(input[value=CHART])").click()
        for title, name in (("Training, epoch by epoch", "charts"), ("Explanations, image by image", "images")):
            section = page.get_by_text(title)
            section.wait_for()
            section.evaluate("one => { one.style.scrollMarginTop = '4rem'; one.scrollIntoView() }")
            page.wait_for_timeout(4000)
            kept(page, name)
    shutil.copy(newest("photos/*.png"), PICTURES / "photo.png")


if __name__ == "__main__":
    main()
