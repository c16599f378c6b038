"""Debian's Chromium, driven by Playwright, without a way out of this machine."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect, sync_playwright

# The quiet ones keep it from asking its makers for news.
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PATIENCE_MS = 120_000  # two busy cores


@contextmanager
def open_window(name: str = "localhost") -> Iterator[Page]:
    """Open a window in which only this machine can be reached, and that by another name as well."""
    elsewhere = re.compile(rf"^(https?|wss?)://(?!(127\.0\.0\.1|{re.escape(name)})[:/])")
    arguments = [*ARGUMENTS.split(), f"--host-resolver-rules=MAP {name} 127.0.0.1"]
    chromium = shutil.which("chromium")
    assert chromium, "chromium: not on the PATH; expected what .ci/chromium installs"
    expect.set_options(timeout=PATIENCE_MS)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=arguments) as browser,
        browser.new_context(
            viewport={"width": 1280, "height": 800}, locale="en-GB", timezone_id="UTC"
        ) as context,
    ):
        context.set_default_timeout(PATIENCE_MS)
        # Both interfaces ask their makers for something, whatever the servers were told.
        context.route(elsewhere, lambda route: route.abort())
        yield context.new_page()
