"""The pictures of the README and the tutorial, taken in Chromium of what a study has made.

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
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path("docs/pictures")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


@contextlib.contextmanager
def mlflow() -> Iterator[str]:
    """Address of MLflow's page, while it is served."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "glassbox.tracking"]
    server = subprocess.Popen(
        command, env=os.environ | {"PORT": str(port)}, text=True, stdout=subprocess.PIPE, start_new_session=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address, deadline = server.stdout.readline().split()[-1:], time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit("error: 'make ui' does not serve MLflow here")
            time.sleep(0.2)
        yield address[0]
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


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
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        sys.exit("error: there is no browser: install Chromium")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, mlflow() as address:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))

        def opened(where: str, height: int) -> Page:
            size = {"width": 1280, "height": height}
            page = browser.new_context(viewport=size, device_scale_factor=1.5).new_page()
            page.goto(where)
            return page

        page = opened(Path("reports/index.html").resolve().as_uri(), 900)
        page.locator("#shown").select_option("kernel_shap")
        page.locator("#images").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('images').scrollIntoView()")
        kept(page, "report")

        page = opened(newest("compare/*.html").resolve().as_uri(), 1000)
        flipped = page.locator("h2, h3").filter(has_text="recognises").first
        flipped.evaluate("one => one.scrollIntoView()")
        kept(page, "compare")

        page = opened(address, 560)
        page.set_viewport_size({"width": 1600, "height": 560})
        page.locator(".ag-row .ag-cell a").first.wait_for()
        if page.get_by_role("button", name="Close", exact=True).count():
            page.get_by_role("button", name="Close", exact=True).click()
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
        browser.close()
    shutil.copy(newest("photos/*.png"), PICTURES / "photo.png")


if __name__ == "__main__":
    main()
