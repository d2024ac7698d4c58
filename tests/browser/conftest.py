"""A real browser for the tests of what people look at: the report, Kedro-Viz and MLflow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = os.environ.get("CI_BROWSER") == "required"
"""On a machine that must have a browser, its absence fails the tests."""

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 400, "height": 800}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs Chromium and Playwright (CHROMIUM=<path>)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Complaints:
    """What a page said that no user should see.

    Attributes:
        found: Console errors, uncaught exceptions and failed requests, in order.
        ignored: Pieces of text; a complaint that has one of them does not fail the test. For pages
            that are not ours.
    """

    found: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def relevant(self) -> list[str]:
        return [text for text in self.found if not any(part in text for part in self.ignored)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: from ``CHROMIUM``, from the PATH, or Playwright's own.

    It does not outlive its module: while Playwright runs, no other test can start an event loop.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _unavailable("Playwright is not installed: pip install playwright")
    executable = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSER_NAMES)), None
    )
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
            )
        except Error as error:
            reason = str(error).strip().splitlines()[0]
            _unavailable(f"no browser starts; set CHROMIUM to the path of one: {reason}")
        yield browser
        browser.close()


def _unavailable(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"CI_BROWSER=required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile with a window 1280 px wide."""
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def complaints() -> Complaints:
    """What the page complained about; tests of other people's pages add to ``ignored``."""
    return Complaints()


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Iterator[Page]:
    """A page; the test fails when it logs an error or throws an exception."""
    page = context.new_page()
    page.on(
        "console",
        lambda message: (
            complaints.found.append(f"console: {message.text} ({message.location.get('url')})")
            if message.type == "error"
            else None
        ),
    )
    page.on("pageerror", lambda error: complaints.found.append(f"exception: {error}"))
    yield page
    assert complaints.relevant() == []


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where screenshots are kept: ``SCREENSHOTS``, else ``build/screenshots``."""
    folder = Path(os.environ.get("SCREENSHOTS", "build/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def screenshot(page: Page, screenshots: Path) -> Callable[..., Path]:
    """Save a picture of the page: ``screenshot("name", full_page=True)``."""

    def save(name: str, **options: object) -> Path:
        path = screenshots / f"{name}.png"
        page.screenshot(path=path, **options)
        return path

    return save
