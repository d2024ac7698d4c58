"""Write down what ships, for the run keys, from conf/base.

    python -m tools.shipped

A run whose results differ in nothing from these parameters is called ``default``. They are kept in
the package and not read from ``conf/base``, which users may change. Changing what ships means that
``default`` names other results than in earlier versions: say so in the notes of the release.
"""

from __future__ import annotations

import json
from pathlib import Path

from tools.docs.parameters import base_parameters

FILE = Path(__file__).parents[1] / "src/uniformaly_pipeline/parameters/shipped.json"


def text() -> str:
    """The file's content."""
    return json.dumps(base_parameters(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
