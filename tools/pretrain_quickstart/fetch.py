"""Fetch the two Debian source packages and open the pictures inside them.

Everything lands in a cache outside git; nothing is downloaded twice.
"""

from __future__ import annotations

import io
import logging
import subprocess
import zipfile
from functools import cached_property
from pathlib import Path

from PIL import Image

logger = logging.getLogger(__name__)

PACKAGES = ("tuxpaint-stamps-default", "ufoai-textures")
DEFAULT_CACHE = Path("~/.cache/uniformaly-pipeline/quickstart").expanduser()

_STAMPS = Path("usr/share/tuxpaint/stamps")
_TEXTURES = Path("usr/share/games/ufoai/base/0textures.pk3")
_TEXTURE_COPYRIGHT = Path("usr/share/doc/ufoai-textures/copyright")


def fetch_packages(cache: Path) -> None:
    """Download and unpack the source packages, unless the cache already holds them.

    Args:
        cache: Folder for the `.deb` files and their unpacked contents.

    Raises:
        FileNotFoundError: If `apt-get download` gave no package file.
        subprocess.CalledProcessError: If `apt-get` or `dpkg` failed.
    """
    downloads, unpacked = cache / "deb", cache / "unpacked"
    downloads.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        marker = unpacked / f".{package}.done"
        if marker.exists():
            continue
        if not list(downloads.glob(f"{package}_*.deb")):
            logger.info("downloading %s", package)
            subprocess.run(["apt-get", "download", package], cwd=downloads, check=True)
        archives = sorted(downloads.glob(f"{package}_*.deb"))
        if not archives:
            raise FileNotFoundError(f"apt-get download left no {package} package in {downloads}")
        subprocess.run(["dpkg", "-x", str(archives[-1]), str(unpacked)], check=True)
        # Written last: an interrupted unpacking is started again.
        marker.touch()


class SourceLibrary:
    """The pictures of both packages by key: `stamps/<path>` or `textures/<path>`."""

    def __init__(self, cache: Path = DEFAULT_CACHE) -> None:
        """Open the library, fetching the packages first where they are missing."""
        fetch_packages(cache)
        root = cache / "unpacked"
        self._stamps = root / _STAMPS
        self._archive_path = root / _TEXTURES
        self.texture_copyright = root / _TEXTURE_COPYRIGHT

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self._archive_path)

    def stamp_keys(self) -> list[str]:
        """Keys of all stamp pictures, sorted."""
        paths = self._stamps.rglob("*.png")
        return sorted(f"stamps/{path.relative_to(self._stamps).as_posix()}" for path in paths)

    def texture_keys(self) -> list[str]:
        """Keys of all texture pictures, sorted (the archive's folder is `textures/` too)."""
        names = self._archive.namelist()
        return sorted(name for name in names if name.endswith((".png", ".jpg")))

    def open(self, key: str) -> Image.Image:
        """Decode one picture."""
        if key.startswith("stamps/"):
            return Image.open(self._stamps / key.removeprefix("stamps/"))
        return Image.open(io.BytesIO(self._archive.read(key)))
