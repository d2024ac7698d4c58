"""Measure a backbone on held-out sources and print the model card's table.

    python -m tools.pretrain_quickstart.evaluate --weights build/quickstart/quickstart.safetensors \
        --half reporting --json build/quickstart/reporting.json

The method itself is the package's: encoder, masking, coreset, matching and metrics. Never tune on
the reporting half.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from uniformaly_pipeline.evaluation.category import anomaly_maps, ground_truth
from uniformaly_pipeline.evaluation.image_metrics import detection_metrics
from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import choose_coreset
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors
from uniformaly_pipeline.scoring.scores import image_scores

from .defects import KINDS, draw_defect
from .fetch import DEFAULT_CACHE, SourceLibrary
from .scenes import SIDE, Scene, object_view, plain_background, texture_view
from .sources import Half, Source, read_sources

GRID = 28
PATCHES = GRID * GRID
MASKINGS = {"on": BackPatchMasking(), "off": BackPatchMasking(mode="off")}
CORESET_RATIO = 0.1
TRAIN_VIEWS, SOUND_VIEWS, DAMAGED_VIEWS = 12, 8, 12
BATCH = 16
ONE_CLASS_CATEGORIES = {
    "tuning": ("plants/flowers", "food/fruit"),
    "reporting": ("animals/birds", "food/fruit", "town/roadsigns"),
}

Figures = dict[str, float]


@dataclass(frozen=True)
class Patches:
    """The encoder's view of B images.

    Attributes:
        features: float32 (B, PATCHES, D).
        attention: float32 (B, GRID, GRID).
    """

    features: np.ndarray
    attention: torch.Tensor


class Detector:
    """The method on lists of pictures in memory."""

    def __init__(self, backbone: Backbone, device: str = "auto") -> None:
        """Load the backbone for SIDE x SIDE pictures."""
        model = load_backbone(backbone, (SIDE, SIDE))
        layers, attention_layer = backbone.layers, backbone.attention_layer
        self._encoder = Encoder(model, layers, attention_layer, device, "float32")
        self._to_input = Preprocessing(resize=None, crop=None, pad=SIDE).image_tensor

    def encode(self, images: Sequence[Image.Image]) -> Patches:
        """Encode pictures of SIDE x SIDE pixels."""
        features, attention = [], []
        for start in range(0, len(images), BATCH):
            batch = torch.stack([self._to_input(image) for image in images[start : start + BATCH]])
            encoded = self._encoder(batch)
            features.append(encoded.features.cpu().numpy())
            attention.append(encoded.attention.cpu())
        return Patches(np.concatenate(features), torch.cat(attention))

    def score(self, train: Patches, test: Patches, masking: BackPatchMasking) -> np.ndarray:
        """Patch scores of test images against a bank of the training images, (B, GRID, GRID)."""
        normal = train.features[masking.foreground(train.attention).numpy()]
        bank = normal[choose_coreset(normal, CORESET_RATIO)]
        foreground = masking.foreground(test.attention).numpy()
        scores = np.zeros(foreground.shape, dtype=np.float32)
        scores[foreground] = NearestNeighbors(bank).query(test.features[foreground])[0]
        return scores.reshape(-1, GRID, GRID)


def _image_auroc(patch_scores: np.ndarray, labels: Sequence[int]) -> float:
    flat = patch_scores.reshape(len(labels), PATCHES)
    auroc = detection_metrics(np.asarray(labels), image_scores(flat)).auroc
    assert auroc is not None
    return auroc


def _pixel_auroc(
    patch_scores: np.ndarray, masks: Sequence[np.ndarray], preprocessing: Preprocessing
) -> float:
    maps = np.stack(list(anomaly_maps(patch_scores, preprocessing)))
    auroc = detection_metrics(np.stack(masks), maps).auroc
    assert auroc is not None
    return auroc


class Evaluation:
    """All tests of one backbone on one half of the held-out sources."""

    def __init__(
        self,
        detector: Detector,
        library: SourceLibrary,
        half: Half,
        sources: int | None,
        seed: int,
    ) -> None:
        """Pick all or `sources` objects and textures of the half, the same for every backbone."""
        self.detector = detector
        self.library = library
        self.half = half
        self.seed = seed
        self.all_objects = read_sources("heldout", "object", half)
        self.objects = self._pick(self.all_objects, sources)
        self.textures = self._pick(read_sources("heldout", "texture", half), sources)

    def _pick(self, sources: list[Source], count: int | None = None) -> list[Source]:
        """One member of each family, in a seeded order; all families or `count` of them."""
        families = {source.family: source for source in reversed(sources)}
        members = [families[family] for family in sorted(families)]
        order = np.random.default_rng(self.seed).permutation(len(members))
        return [members[i] for i in order[:count]]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def _background(self, index: int, rng: np.random.Generator) -> Image.Image:
        source = self.textures[index % len(self.textures)]
        return texture_view(self.library.open(source.key), rng)

    def masks(self) -> Figures:
        """BPM masks against the known alpha, and coverage of full-frame textures."""
        figures: dict[str, list[float]] = defaultdict(list)
        for kind in ("textured", "plain"):
            scenes = []
            for index, source in enumerate(self.objects):
                rng = self._rng(1, index)
                plain = kind == "plain"
                behind = plain_background(rng) if plain else self._background(index, rng)
                scenes.append(object_view(self.library.open(source.key), behind, rng))
            alpha = torch.from_numpy(np.stack([scene.alpha for scene in scenes]))
            grid_alpha = torch.nn.functional.avg_pool2d(alpha[:, None], SIDE // GRID)[:, 0]
            truth = (grid_alpha > 0.5).flatten(1)
            attention = self.detector.encode([scene.image for scene in scenes]).attention
            candidates = {
                "": MASKINGS["on"].foreground(attention),
                " of an all-ones mask": torch.ones_like(truth),
                " of the true alpha": MASKINGS["on"].foreground(grid_alpha),
            }
            for name, mask in candidates.items():
                overlap = (mask & truth).sum(1) / (mask | truth).sum(1)
                figures[f"BPM IoU{name}, {kind}"] += overlap.tolist()
            share = (attention.flatten(1) * truth).sum(1) / attention.flatten(1).sum(1)
            figures[f"attention on the object, {kind}"] += share.tolist()
            smooth = smooth_attention(attention).flatten(1)
            hit = truth.gather(1, smooth.argmax(1, keepdim=True)).float().squeeze(1)
            figures[f"smoothed maximum on the object, {kind}"] += hit.tolist()
        frames = [self._background(i, self._rng(2, i)) for i in range(len(self.textures))]
        covered = MASKINGS["on"].foreground(self.detector.encode(frames).attention)
        figures["mask coverage of textures"] += covered.float().mean(1).tolist()
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def _defect_scenes(
        self, source: Source, index: int, count: int, stream: int
    ) -> list[tuple[Scene, Image.Image]]:
        """Sound views of a source, each with a picture that a pasted patch may come from."""
        picture = self.library.open(source.key)
        scenes = []
        for view in range(count):
            rng = self._rng(3, index, stream, view)
            donor = self._background(index + 1 + view, rng)
            if source.kind == "texture":
                scene = Scene(texture_view(picture, rng), np.ones((SIDE, SIDE), np.float32))
            else:
                # One background a source, as on a production line; every other one is plain.
                plain = index % 2 == 0
                behind = self._line_background(index, rng, plain)
                scene = object_view(picture, behind, rng, size=0.7)
            scenes.append((scene, donor))
        return scenes

    def _line_background(self, index: int, rng: np.random.Generator, plain: bool) -> Image.Image:
        return plain_background(self._rng(4, index)) if plain else self._background(index, rng)

    def defects(self, sources: Sequence[Source], progress: Progress) -> dict[str, Figures]:
        """Drawn defects, one memory bank a source; figures by masking."""
        figures: dict[str, dict[str, list[float]]] = {m: defaultdict(list) for m in MASKINGS}
        task = progress.add_task(f"defects on {sources[0].kind}s", total=len(sources))
        preprocessing = Preprocessing(resize=SIDE, crop=SIDE)
        for index, source in enumerate(sources):
            train = [s.image for s, _ in self._defect_scenes(source, index, TRAIN_VIEWS, 0)]
            images, masks, labels = [], [], []
            for scene, _ in self._defect_scenes(source, index, SOUND_VIEWS, 1):
                images.append(scene.image)
                masks.append(np.zeros((SIDE, SIDE), dtype=bool))
                labels.append(0)
            damaged = self._defect_scenes(source, index, DAMAGED_VIEWS, 2)
            for number, (scene, donor) in enumerate(damaged):
                kind, rng = KINDS[number % len(KINDS)], self._rng(5, index, number)
                image, mask = draw_defect(scene.image, scene.alpha > 0.95, kind, donor, rng)
                images.append(image)
                masks.append(mask)
                labels.append(1)
            bank, test = self.detector.encode(train), self.detector.encode(images)
            for name, masking in MASKINGS.items():
                scores = self.detector.score(bank, test, masking)
                figures[name]["image"].append(_image_auroc(scores, labels))
                figures[name]["pixel"].append(_pixel_auroc(scores, masks, preprocessing))
                for number, kind in enumerate(KINDS):
                    rows = list(range(SOUND_VIEWS))
                    rows += list(range(SOUND_VIEWS + number, len(labels), len(KINDS)))
                    chosen = [labels[row] for row in rows]
                    figures[name][kind].append(_image_auroc(scores[rows], chosen))
            progress.advance(task)
        return {
            name: {key: float(np.mean(values)) for key, values in kinds.items()}
            for name, kinds in figures.items()
        }

    def one_object(self, progress: Progress) -> dict[str, float]:
        """One object is normal, views of the others are not; backgrounds vary. By masking."""
        views = {
            index: self._object_views(source, index, 14)
            for index, source in enumerate(self.objects)
        }
        encoded = {index: self.detector.encode(images) for index, images in views.items()}
        return self._one_class(
            {index: (_rows(p, 0, 8), _rows(p, 8, 14)) for index, p in encoded.items()},
            list(encoded)[:12],
            progress,
        )

    def one_category(self, progress: Progress) -> dict[str, float]:
        """One category is normal: half its objects in the bank, the others and all else tested."""
        parts = {}
        for number, category in enumerate(ONE_CLASS_CATEGORIES[self.half]):
            members = [s for s in self.all_objects if s.category == category]
            members = self._pick(members)
            cut = len(members) // 2
            train = [v for i, s in enumerate(members[:cut]) for v in self._object_views(s, i, 3)]
            test = [
                v for i, s in enumerate(members[cut:]) for v in self._object_views(s, 50 + i, 2)
            ]
            parts[number] = (self.detector.encode(train), self.detector.encode(test))
        return self._one_class(parts, list(parts), progress)

    def _object_views(self, source: Source, index: int, count: int) -> list[Image.Image]:
        picture = self.library.open(source.key)
        images = []
        for view in range(count):
            rng = self._rng(6, index, view)
            plain = view % 3 == 2
            behind = plain_background(rng) if plain else self._background(index + 5 * view, rng)
            images.append(object_view(picture, behind, rng).image)
        return images

    def _one_class(
        self, parts: dict[int, tuple[Patches, Patches]], normal: list[int], progress: Progress
    ) -> dict[str, float]:
        """Mean image AUROC over the normal classes, by masking; parts are (train, test)."""
        figures: dict[str, list[float]] = defaultdict(list)
        task = progress.add_task("one-class", total=len(normal))
        for index in normal:
            train = parts[index][0]
            tests = [(test, int(other != index)) for other, (_, test) in parts.items()]
            labels = [label for test, label in tests for _ in test.features]
            for name, masking in MASKINGS.items():
                test = Patches(
                    np.concatenate([patches.features for patches, _ in tests]),
                    torch.cat([patches.attention for patches, _ in tests]),
                )
                scores = self.detector.score(train, test, masking)
                figures[name].append(_image_auroc(scores, labels))
            progress.advance(task)
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def run(self, progress: Progress) -> Figures:
        """All figures, flat, in the table's order."""
        figures = self.masks()
        figures["objects, number"] = float(len(self.objects))
        figures["textures, number"] = float(len(self.textures))
        for name, sources in (("textures", self.textures), ("objects", self.objects)):
            for masking, values in self.defects(sources, progress).items():
                for key, value in values.items():
                    figures[f"defects on {name}, {key} AUROC, BPM {masking}"] = value
        for name, test in (("one object", self.one_object), ("one category", self.one_category)):
            for masking, value in test(progress).items():
                figures[f"{name} against others, image AUROC, BPM {masking}"] = value
        return figures


def _rows(patches: Patches, start: int, stop: int) -> Patches:
    return Patches(patches.features[start:stop], patches.attention[start:stop])


def evaluate_folder(detector: Detector, root: Path) -> Figures:
    """Mean figures over the categories of a data set in MVTec's layout, by masking."""
    folder, preprocessing = ImageFolder(str(root)), Preprocessing()
    figures: dict[str, list[float]] = defaultdict(list)
    for category in folder.folders():
        train = folder.files(f"{category}/train/good")
        tests, masks = [], []
        for kind in folder.folders(f"{category}/test"):
            for path in folder.files(f"{category}/test/{kind}"):
                stem = Path(path).stem
                mask = None if kind == "good" else f"{category}/ground_truth/{kind}/{stem}_mask.png"
                tests.append(path)
                masks.append(ground_truth(folder, mask, preprocessing))
        labels = [int("/test/good/" not in path) for path in tests]
        bank, test = (
            detector.encode([preprocessing.fit_image(folder.read_image(path)) for path in paths])
            for paths in (train, tests)
        )
        for name, masking in MASKINGS.items():
            scores = detector.score(bank, test, masking)
            image, pixel = (
                _image_auroc(scores, labels),
                _pixel_auroc(scores, masks, preprocessing),
            )
            for level, value in (("image", image), ("pixel", pixel)):
                figures[f"{root.name}, {level} AUROC, BPM {name}"].append(value)
                figures[f"{root.name}/{category}, {level} AUROC, BPM {name}"].append(value)
    return {name: float(np.mean(values)) for name, values in figures.items()}


def evaluate_one_class_folder(detector: Detector, root: Path) -> Figures:
    """Image AUROC of a data set in one-class layout (`one_class_train`, `one_class_test`)."""
    folder, preprocessing = ImageFolder(str(root)), Preprocessing()
    classes = folder.folders("one_class_train")

    def encode(part: str, name: str) -> Patches:
        paths = folder.files(f"{part}/{name}")
        return detector.encode([preprocessing.fit_image(folder.read_image(p)) for p in paths])

    tests = {name: encode("one_class_test", name) for name in classes}
    figures: dict[str, list[float]] = defaultdict(list)
    for normal in classes:
        train = encode("one_class_train", normal)
        joined = Patches(
            np.concatenate([tests[name].features for name in classes]),
            torch.cat([tests[name].attention for name in classes]),
        )
        labels = [int(name != normal) for name in classes for _ in tests[name].features]
        for name, masking in MASKINGS.items():
            value = _image_auroc(detector.score(train, joined, masking), labels)
            figures[f"{root.name}, image AUROC, BPM {name}"].append(value)
            figures[f"{root.name}/{normal}, image AUROC, BPM {name}"].append(value)
    return {name: float(np.mean(values)) for name, values in figures.items()}


def markdown_table(columns: dict[str, Figures]) -> str:
    """A table with a row per figure and a column per backbone."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    lines = ["| figure | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name in names:
        values = (f"{figures[name]:.3f}".removesuffix(".000") for figures in columns.values())
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def read_backbones(weights: Path) -> dict[str, Backbone]:
    """The trained backbone and an untrained one of the same architecture."""
    card: dict[str, Any] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    model, kwargs = card["model"], card["model_kwargs"]
    return {
        "untrained": Backbone(model, UNTRAINED, model_kwargs=kwargs),
        "trained": Backbone(model, str(weights), model_kwargs=kwargs),
    }


def main() -> None:
    """Evaluate, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="safetensors, .json beside it")
    parser.add_argument("--half", choices=("tuning", "reporting"), default="reporting")
    parser.add_argument(
        "--sources", type=int, help="objects and textures to use, for a quick look; default all"
    )
    parser.add_argument("--only", choices=("untrained", "trained"), help="skip the other one")
    parser.add_argument("--defect-data", type=Path, help="a data set in MVTec's layout")
    parser.add_argument("--semantic-data", type=Path, help="a data set in one-class layout")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    library = SourceLibrary(arguments.cache)
    columns: dict[str, Figures] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for name, backbone in read_backbones(arguments.weights).items():
            if arguments.only not in (None, name):
                continue
            detector = Detector(backbone, arguments.device)
            evaluation = Evaluation(
                detector, library, arguments.half, arguments.sources, arguments.seed
            )
            columns[name] = evaluation.run(progress)
            if arguments.defect_data:
                columns[name] |= evaluate_folder(detector, arguments.defect_data)
            if arguments.semantic_data:
                columns[name] |= evaluate_one_class_folder(detector, arguments.semantic_data)
    print(markdown_table(columns))
    if arguments.json:
        result = {"half": arguments.half, "seed": arguments.seed, "figures": columns}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
