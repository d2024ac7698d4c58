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

PACKAGE = Path(__file__).parents[1] / "src/uniformaly_pipeline"
FILE = PACKAGE / "parameters/shipped.json"
BACKBONES = PACKAGE / "features/backbones.json"
"""The backbones alone, for a room that knows no parameters."""


def texts() -> dict[Path, str]:
    """The content of each file."""
    shipped = base_parameters()
    return {
        path: json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        for path, values in ((FILE, shipped), (BACKBONES, shipped["backbones"]))
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
