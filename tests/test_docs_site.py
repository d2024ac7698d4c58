"""The documentation as a site: it builds without warnings, and its links lead somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools.docs.figures import FIGURES

ROOT = Path(__file__).parents[1]
MAX_IMAGE_BYTES = 400_000
MAX_IMAGES_BYTES = 5_000_000

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason='mkdocs-material is not installed: pip install -e ".[docs]"',
)


class Page(HTMLParser):
    """The ids of a page, where its links lead and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.alts: list[str | None] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(str(given["id"]))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in {"script", "img", "iframe", "source"} and given.get("src"):
            self.loaded.append(str(given["src"]))
        if tag == "link" and "canonical" not in str(given.get("rel")):
            self.loaded.append(str(given["href"]))
        if tag == "img":
            self.alts.append(given.get("alt"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement
    built = subprocess.run(
        command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def local(pages: dict[Path, Page], attribute: str) -> Iterator[tuple[Path, str, Path, str]]:
    """The local addresses of all pages: page, address, file, fragment."""
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses are those of a server's root
            continue
        for address in getattr(page, attribute):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            yield path, address, target, unquote(parts.fragment)


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    names = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert {"index", "concepts", "tune", "compare", "parameters", "contributing"} <= names
    assert {page.stem for page in site.glob("*.html")} == names | {"404"}
    index = Page(site / "index.html")
    assert {f"{name}.html" for name in names} <= set(index.links)


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Page]) -> None:
    for path, address, target, fragment in local(pages, "links"):
        assert target.is_file(), f"{path.name}: {address}"
        if fragment and not fragment.startswith("__"):  # the theme's own
            assert fragment in pages[target].ids, f"{path.name}: {address}"


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """The site opens offline."""
    for page in pages.values():
        assert not [address for address in page.loaded if "//" in address]
    for path, address, target, _ in local(pages, "loaded"):
        assert target.is_file(), f"{path.name}: {address}"
    for sheet in site.rglob("*.css"):
        assert "@import" not in sheet.read_text(encoding="utf-8"), sheet
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet


def test_pictures_are_described_and_small(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert all(page.alts), f"{path.name}: a picture without a description"
    pictures = [path for path in (ROOT / "docs/images").rglob("*") if path.is_file()]
    sizes = {path.name: path.stat().st_size for path in pictures}
    assert max(sizes.values()) < MAX_IMAGE_BYTES, sizes
    assert sum(sizes.values()) < MAX_IMAGES_BYTES, sizes


def test_every_figure_is_drawn_by_the_script_and_shown() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for name in FIGURES:
        assert (ROOT / "docs/images" / name).is_file(), f"run: python -m tools.docs.figures {name}"
        assert f"(images/{name})" in text, name


def test_links_to_files_of_the_repository_are_shown_as_text(site: Path) -> None:
    text = (site / "quickstart_backbone.html").read_text(encoding="utf-8")
    assert "<code>tools/pretrain_quickstart/README.md</code>" in text
    assert 'href="../' not in text
