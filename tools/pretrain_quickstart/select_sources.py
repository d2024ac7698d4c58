"""Choose the source pictures, once: writes the two committed lists under `sources/`.

`training.tsv` names what the backbone is trained on, `heldout.tsv` what it never sees. Training and
evaluation read the lists only, so this module is needed again only when the choice itself changes.

    python -m tools.pretrain_quickstart.select_sources
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from .fetch import DEFAULT_CACHE, SourceLibrary
from .sources import LIST_FOLDER, LISTS, Source, write_sources

# Licences compatible with one another: even a reader who takes the weights for a derivative of all
# their sources finds GPL-2 terms that satisfy every one. CC-BY(-SA)-3.0 and GPL-3 files stay out.
TRAINING_LICENCES = frozenset({"GPL-2", "GPL-2+", "public-domain", "Expat"})

# Whole categories held out. The reporting half gets what shared test pictures were made of (birds,
# road signs and some fruit on `wall*` textures), the tuning half flowers and the other fruit.
REPORTING_CATEGORIES = ("animals/birds", "town/roadsigns")
TUNING_CATEGORIES = ("plants/flowers",)
FRUIT_IN_TEST_PICTURES = re.compile(
    r"avocado|orange|orange_seville|sliced_orange|lemon|sliced_lime|[Ss]trawberry2?|Cherry_Stella"
    r"|grapes|kiwi|mandarine|cherimoya|apricot|Apricot_whole"
)
TEXTURES_IN_TEST_PICTURES = re.compile(
    r"textures/tex_\w+/(wall|woodceiling1)|textures/tex_mattn/street00[12]"
)
HELDOUT_SHARE = 0.1  # of the families of every other category, half of it for each half

TEXTURE_FOLDERS = re.compile(
    r"alienb|base|buildings|buildings_snow|ctp1|material|mattn|misc|nature|streets|terrain|trak"
)
# Pictures of things rather than surfaces: an even attention over them would be the wrong lesson.
NOT_A_SURFACE = re.compile(
    r"sign|door|window|screen|advert|automat|clock|tv|display|poster|billboard|flag|notes|taa|tab\d"
    r"|truck|tire|map0|pharmacy|bookshel|books|stoplight|exit|hubbub|egypt|container|vend|soft_drin"
    r"|glasses|jgong|microwave|office|pad\.|phone|rail_not|schema|bio|verbot|trashbin|basket|barrel"
    r"|obj_|scree|speed|gully|radio|fence|tree_|flower|fruit|doorbell|vehic|level|lvl|park|pingpong"
)
DERIVED_MAP = re.compile(r"_(nm|sm|gm|gl|glow)\.")
MIN_STD, MIN_SIDE, MIN_ALPHA = 6.0, 96, 0.98


def _stem(key: str) -> str:
    return Path(key).stem


def _hash_unit(text: str) -> float:
    """A stable pseudo-random number in [0, 1) for a text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def read_texture_licences(path: Path) -> dict[str, str]:
    """Licence of every texture the package's machine-readable copyright file names."""
    licences: dict[str, str] = {}
    for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        files = re.search(r"^Files:\s*(.*?)(?=^\w[\w-]*:)", paragraph, re.MULTILINE | re.DOTALL)
        licence = re.search(r"^License: *(\S+)", paragraph, re.MULTILINE)
        if files and licence:
            for name in files.group(1).split():
                licences[name.removeprefix("base/")] = licence.group(1)
    return licences


def read_other_terms() -> frozenset[str]:
    """Stamps whose terms in upstream's change log differ from the package's GPL-2 or are unknown.

    The Debian copyright file puts all stamps under GPL-2; we take the narrower statement.
    """
    lines = (LIST_FOLDER / "other_terms.tsv").read_text(encoding="utf-8").splitlines()
    return frozenset(line.split("\t")[0] for line in lines[1:])


def _thumbnail(image: Image.Image) -> np.ndarray:
    """Normalised 16x16 grey thumbnail, (256,), for spotting near duplicates."""
    pixels = np.asarray(image.convert("L").resize((16, 16)), dtype=np.float32).ravel()
    centred: np.ndarray = pixels - pixels.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)


def group_families(keys: list[str], thumbnails: np.ndarray, similarity: float) -> list[str]:
    """Name each key's family: near duplicates and name variants must fall on one side of a split.

    Args:
        keys: N source keys.
        thumbnails: Normalised thumbnails, (N, 256).
        similarity: Correlation from which two pictures count as near duplicates.

    Returns:
        N family names (the first member's key).
    """
    parent = list(range(len(keys)))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(first: int, second: int) -> None:
        low, high = sorted((find(first), find(second)))
        parent[high] = low

    by_name: dict[str, int] = {}
    for index, key in enumerate(keys):
        stem = re.sub(
            r"_(mirror|flip|black|blue|brown|gold|red|green|yellow|lq|mq|small)$", "", _stem(key)
        )
        stem = re.sub(r"(?<=\d)[a-z]$", "", stem)
        join(by_name.setdefault(f"{Path(key).parent}/{stem}", index), index)
    correlation = thumbnails @ thumbnails.T
    for first, second in np.argwhere(np.triu(correlation > similarity, 1)):
        join(int(first), int(second))
    return [keys[find(index)] for index in range(len(keys))]


def select_objects(library: SourceLibrary) -> list[Source]:
    """Photo cut-outs with a usable alpha channel, with family, licence and split."""
    other_terms = read_other_terms()
    keys, thumbnails = [], []
    for key in library.stamp_keys():
        if key.startswith("stamps/symbols/") or "/cartoon/" in key:
            continue
        image = library.open(key).convert("RGBA")
        alpha = np.asarray(image)[..., 3] / 255.0
        if not 0.08 < alpha.mean() < 0.99 or max(image.size) < 48:
            continue
        keys.append(key)
        thumbnails.append(_thumbnail(image.getchannel("A")))
    # Mirrored pairs share a name; silhouettes alone (balls, fruit) must not join two things.
    families = group_families(keys, np.stack(thumbnails), similarity=2.0)
    sources = []
    for key, family in zip(keys, families, strict=True):
        licence = "other" if _stem(key).removesuffix("_mirror") in other_terms else "GPL-2"
        category = "/".join(key.split("/")[1:3])
        split = _object_split(category, family)
        if split != "training" or licence in TRAINING_LICENCES:
            sources.append(Source(key, "object", family, licence, split))
    return sources


def _object_split(category: str, family: str) -> str:
    if category in REPORTING_CATEGORIES:
        return "reporting"
    if category in TUNING_CATEGORIES:
        return "tuning"
    if category == "food/fruit":
        return "reporting" if FRUIT_IN_TEST_PICTURES.fullmatch(_stem(family)) else "tuning"
    return _sampled_split(family)


def _sampled_split(family: str) -> str:
    draw = _hash_unit(family)
    if draw >= HELDOUT_SHARE:
        return "training"
    return "tuning" if draw < HELDOUT_SHARE / 2 else "reporting"


def select_textures(library: SourceLibrary) -> list[Source]:
    """Photo textures of surfaces, with family, licence and split."""
    licences = read_texture_licences(library.texture_copyright)
    keys, thumbnails = [], []
    for key in library.texture_keys():
        folder, name = key.split("/")[1].removeprefix("tex_"), key.split("/")[-1]
        licence = licences.get(key, "unknown")
        if (
            not TEXTURE_FOLDERS.fullmatch(folder)
            or DERIVED_MAP.search(name)
            or NOT_A_SURFACE.search(name)
        ):
            continue
        if licence not in TRAINING_LICENCES:
            continue
        image = library.open(key).convert("RGBA")
        pixels = np.asarray(image, dtype=np.float32)
        flat = pixels[..., :3].std(axis=(0, 1)).mean() < MIN_STD
        if flat or pixels[..., 3].mean() < 255 * MIN_ALPHA or min(image.size) < MIN_SIDE:
            continue
        keys.append(key)
        thumbnails.append(_thumbnail(image))
    families = group_families(keys, np.stack(thumbnails), similarity=0.9)
    # One member that the test pictures use holds the whole family out.
    reporting = {
        family
        for key, family in zip(keys, families, strict=True)
        if TEXTURES_IN_TEST_PICTURES.match(key)
    }
    return [
        Source(
            key,
            "texture",
            family,
            licences[key],
            "reporting" if family in reporting else _sampled_split(family),
        )
        for key, family in zip(keys, families, strict=True)
    ]


def main() -> None:
    """Write `sources/training.tsv` and `sources/heldout.tsv`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    arguments = parser.parse_args()
    library = SourceLibrary(arguments.cache)
    sources = select_objects(library) + select_textures(library)
    for name in LISTS:
        write_sources(name, [s for s in sources if (s.split == "training") == (name == "training")])
    families = {(s.kind, s.split, s.family) for s in sources}
    print("files:", Counter((s.kind, s.split) for s in sources))
    print("families:", Counter((kind, split) for kind, split, _ in families))


if __name__ == "__main__":
    main()
