"""The one real browser of a test process, for the tests of the portal and of the whole platform."""

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

PATIENCE_S = 120.0  # a machine may be that busy; what never comes takes this long to fail
PROGRAM = shutil.which("chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine")


def launched():
    """Start it, and end it afterwards; a test opens contexts of its own, which share nothing."""
    expect.set_options(timeout=PATIENCE_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=QUIET)
        yield browser
        browser.close()
