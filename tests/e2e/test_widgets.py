"""Widgets of a `%%gpu` cell in a real JupyterLab, in a real browser: seen, moved by the cell, and heard by it."""

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browsers import needs_browser
from tests.e2e.real import new_page, up, write_platform

pytestmark = [pytest.mark.browser, needs_browser]
PICTURES = os.environ.get("DURE_PICTURES")
SLIDER = """%%gpu
import time, ipywidgets as w
slider, label = w.IntSlider(value=1, max=50, description='rate'), w.Label('quiet')
slider.observe(lambda change: setattr(label, 'value', f'heard {change.new}'), 'value')
display(slider, label)
until = time.time() + 240
while slider.value < 3 and time.time() < until: time.sleep(0.02)
print('moved to', slider.value)
last = slider.value; del slider, label"""
BAR = """%%gpu
import time
from tqdm.notebook import tqdm
for _ in tqdm(range(200), desc='epochs'): time.sleep(0.002)"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    state_dir = tmp_path_factory.mktemp("widgets") / "state"
    write_platform(state_dir)
    with up(state_dir) as running:
        yield running


def test_a_slider_and_a_progress_bar_live_while_the_cell_runs_elsewhere(whole, chromium):
    browser_of_alice, client = whole.person("alice")
    browser_of_alice.start_workspace("alice")
    client.close()
    browser_of_alice.close()
    cells: list[dict[str, object]] = [
        {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{at}"}
        for at, source in enumerate([SLIDER, BAR, "print('last is', last)"])
    ]
    document = {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (whole.state_dir / "homes" / "alice" / "widgets.ipynb").write_text(json.dumps(document))
    page = new_page(chromium, viewport={"width": 1200, "height": 760})
    page.goto(whole.link_for("alice"))
    page.wait_for_url(f"{whole.url}services/dure/**")
    page.goto(f"{whole.url}user/alice/lab/tree/widgets.ipynb?reset")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    handle = page.locator(".widget-slider .noUi-handle")
    expect(handle).to_be_visible()
    handle.focus()
    for value in (2, 3):
        page.keyboard.press("ArrowRight")
        expect(page.locator(".widget-label", has_text=f"heard {value}")).to_be_visible()
    expect(page.locator(".jp-OutputArea-output", has_text="moved to 3")).to_be_visible()
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "slider.png")
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    bar = page.locator(".widget-html-content", has_text="200/200")
    expect(bar).to_be_visible()
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output", has_text="last is 3")).to_be_visible()
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "widgets.png")
    page.context.close()
