"""What mkdocs does besides: links that leave docs/, and nothing loaded from elsewhere.

Pages link to files of the repository, such as ``../tools/pretrain_quickstart/README.md``, which
work where the repository is browsed. The site does not hold these files: there such a link is
shown as its text and the file's path.

The theme's offline plugin loads a small script from a public server; the site has its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.utils import get_relative_url

_OUTSIDE = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<path>\.\./[^)#\s]+)(?:#[^)]*)?\)")
_WORKER = "https://unpkg.com/iframe-worker/shim"
_OWN_WORKER = "assets/worker_on_disk.js"


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Show links to files outside docs/ as text; one that leads nowhere is left to be reported."""
    folder = Path(page.file.abs_src_path).parent
    root = Path(config.config_file_path).parent

    def as_text(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        if not (target.exists() and target.is_relative_to(root)):
            return link[0]
        path = target.relative_to(root).as_posix()
        return f"{link['text']} (`{path}`)"

    return _OUTSIDE.sub(as_text, markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Take the site's own script in place of the one that the theme would load."""
    return output.replace(_WORKER, get_relative_url(_OWN_WORKER, page.url))


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for pages that are made without Markdown, such as the one for wrong addresses."""
    return output_content.replace(_WORKER, _OWN_WORKER)
