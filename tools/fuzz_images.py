"""Damages small images of every format and reads them: ``python -m tools.fuzz_images 20000``.

Each must end in pixels or in one line that names the file. What ends otherwise is printed and kept.
"""

from __future__ import annotations

import argparse
import functools
import io
import random
import struct
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest

MAX_PIXELS = 1_100_000
"""Damage makes sizes up: those beyond this are refused, which keeps the fuzz quick."""

FORMATS_AS = {"colour": "RGB", "grey": "L", "bits": "1", "palette": "P", "alpha": "RGBA"}


@dataclass(frozen=True)
class OneFile(ImageFolder):
    """A folder that holds one image, in memory, under any name."""

    content: bytes = field(default=b"", repr=False)

    def fingerprint(self, path: str) -> str:  # noqa: ARG002 - it holds but one
        """A file that never changes."""
        return "one"

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:  # noqa: ARG002
        """The image."""
        yield io.BytesIO(self.content)


@functools.cache
def originals() -> dict[str, bytes]:
    """Sound images, by format and kind: of every format that Pillow writes."""
    Image.init()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[271], exif[282], exif[306] = 6, "maker", (72, 1), "2020:01:01 00:00:00"
    exif.get_ifd(0x8769)[0x829A] = (1, 100)
    kinds: dict[str, Image.Image] = {name: picture.convert(m) for name, m in FORMATS_AS.items()}
    kinds["16 bits"] = Image.fromarray(pixels[..., 0].astype(np.uint16) * 250)
    kinds["float"] = Image.fromarray(pixels[..., 0].astype(np.float32))
    kinds["ink"] = picture.convert("CMYK")
    options: list[dict[str, Any]] = [
        {}, {"exif": exif}, {"save_all": True, "append_images": [picture]},
        {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"},
    ]  # fmt: skip
    found = {}
    for file_format in sorted(Image.SAVE):
        for kind, image in kinds.items():
            for number, option in enumerate(options):
                if "compression" in option and file_format != "TIFF":
                    continue
                if file_format == "ICNS" and (kind, number) != ("colour", 0):
                    continue  # it enlarges pictures to 1024 px
                buffer = io.BytesIO()
                # A format that cannot hold the kind raises what it likes; others then stand for it.
                try:
                    image.save(buffer, file_format, **option)
                except Exception:
                    continue
                found[f"{file_format}_{kind}_{number}"] = buffer.getvalue()
    return found


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut short, or with a few bytes or numbers changed, mostly where headers are."""
    changed = bytearray(content)
    if rng.random() < 0.2:
        return bytes(changed[: rng.randrange(1, len(changed))])
    limit = len(changed) if rng.random() < 0.5 else min(len(changed), 220)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        place = rng.randrange(limit)
        how = rng.random()
        if how < 0.5:
            changed[place] = rng.randrange(256)
        elif how < 0.85:
            changed[place] = rng.choice([0, 0xFF])
        else:
            number = rng.choice([0, 1, 2, 65536, 0x7FFFFFFF, 0xFFFFFFFF])
            changed[place : place + 4] = struct.pack("<I", number)
    return bytes(changed)


def outcome(content: bytes, name: str, as_mask: bool) -> str:
    """``pixels``, ``named``, or the error that should not have left."""
    folder = OneFile("nowhere", max_pixels=MAX_PIXELS, content=content)
    mask = name if as_mask else None
    try:
        build_manifest(folder, [ImageRecord(name, "c", "test", "dent", mask)])
        folder.read_image(name)
        if as_mask:
            folder.read_mask(name)
    except InputError as error:
        line = str(error)
        return "named" if name in line and "\n" not in line else f"not named: {line!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "pixels"


def fuzz(number: int, seed: int = 0, keep: Path | None = None) -> Counter[str]:
    """How so many damaged files end.

    Args:
        number: Files to damage.
        seed: Seed of the damage.
        keep: A folder for the files that end otherwise than they should.

    Returns:
        How often each outcome came: ``pixels``, ``named`` and whatever should not have come.
    """
    rng = random.Random(seed)
    sound = originals()
    names = sorted(sound)
    ends: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(number):
            kind = names[i % len(names)]
            content = damaged(sound[kind], rng)
            end = outcome(content, f"file{i}", as_mask=i % 3 == 0)
            ends[end] += 1
            if end not in {"pixels", "named"}:
                ends[f"{kind}: {end}"] += 1
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{i:06d}_{kind.replace(' ', '_')}").write_bytes(content)
    return ends


def main() -> int:
    """Fuzz, print how the files ended, and fail where one ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that end otherwise")
    arguments = parser.parse_args()
    ends = fuzz(arguments.files, arguments.seed, arguments.keep)
    formats = {name.split("_")[0] for name in originals()}
    print(f"{arguments.files} files of {len(formats)} formats: {', '.join(sorted(formats))}")
    for end, count in ends.most_common():
        print(f"{count:7d}  {end}")
    return int(set(ends) > {"pixels", "named"})


if __name__ == "__main__":
    sys.exit(main())
