"""Nodes of the reporting stage: each category's own artifacts, under its own name."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.evaluation.category import image_metrics
from uniformaly_pipeline.evaluation.leaderboard import hardest, leaderboard_table
from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.pipelines.reporting import nodes
from uniformaly_pipeline.reporting.figures.style import GROUND_TRUTH_COLOUR
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.scoring.heat_map import overlay_heat_map
from uniformaly_pipeline.scoring.scores import anomaly_map, images_digest

# --- draw_bank ----------------------------------------------------------------------------------

CLASSES = ["bolt", "gear", "nut"]


@pytest.fixture
def embedded_as_they_are(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Vectors are drawn at their first two numbers; the seeds of the embeddings."""
    seeds: list[int] = []

    def embed(vectors: np.ndarray, seed: int) -> np.ndarray:
        seeds.append(seed)
        first: np.ndarray = vectors[:, :2]
        return first

    monkeypatch.setattr(nodes, "embed_2d", embed)
    return seeds


def bank_of(count: int) -> tuple[pd.DataFrame, ArrayBundle, list[str]]:
    """Images, a bank of ``count`` vectors (i, 0), and the class of each."""
    images = pd.DataFrame(
        {"content_hash": ["#2", "#0", "#3", "#1"], "class": ["nut", "bolt", "gear", "nut"]}
    )
    sources = np.arange(count) % 3
    # The bank counts its images in another order than the table does.
    hashes = np.array(["#3", "#1", "#0"], "S").view(np.uint8).reshape(3, -1)
    vectors = np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.float32)
    bank = ArrayBundle(
        {"memory_bank": vectors, "image": sources.astype(np.int32), "content_hashes": hashes}
    )
    return images, bank, [["gear", "nut", "bolt"][source] for source in sources]


def drawn_by_class(figure: Any) -> dict[str, list[float]]:
    """Places of the points of each class."""
    (axes,) = figure.axes
    return {
        group.get_label(): sorted(np.asarray(group.get_offsets())[:, 0].tolist())
        for group in axes.collections
    }


def test_vectors_of_a_bank_are_drawn_as_the_class_of_their_image(
    embedded_as_they_are: list[int],
) -> None:
    images, bank, classes = bank_of(8)
    figure = nodes.draw_bank(images, bank, 5, {"name": "all nuts"})
    assert drawn_by_class(figure) == {
        name: [float(i) for i in range(8) if classes[i] == name] for name in CLASSES
    }
    assert figure.axes[0].get_title(loc="left") == "all nuts: 8 of 8 vectors"
    assert embedded_as_they_are == [5]


def test_of_a_large_bank_some_vectors_are_drawn_by_the_seed(
    embedded_as_they_are: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "BANK_VECTORS_SHOWN", 6)
    images, bank, classes = bank_of(3000)
    chosen = []
    for seed in (5, 5, 6):
        figure = nodes.draw_bank(images, bank, seed, {"name": "all nuts"})
        drawn = drawn_by_class(figure)
        assert all(classes[int(i)] == name for name, places in drawn.items() for i in places)
        chosen.append(sorted(i for places in drawn.values() for i in places))
        assert figure.axes[0].get_title(loc="left") == "all nuts: 6 of 3,000 vectors"
    assert chosen[0] == chosen[1] != chosen[2]
    assert [len(set(places)) for places in chosen] == [6, 6, 6]
    assert embedded_as_they_are == [5, 5, 6]


# --- draw_gallery -------------------------------------------------------------------------------

COLOURS = {"a": (200, 0, 0), "b": (0, 200, 0), "c": (0, 0, 200), "d": (0, 180, 180)}
RIM = (250, 250, 0)
PREPROCESSING: dict[str, Any] = {
    "resize": None,
    "crop": [64, 80],
    "pad": None,
    "interpolation": "nearest",
}
BPM: dict[str, Any] = {"mode": "binary", "kernel_size": 1, "threshold": 0.05}
# Highest score first: false alarm, right, missed, right where the threshold is 5.
SCORES = pd.DataFrame(
    {
        "image": ["c.png", "a.png", "d.png", "b.png"],
        "label": [0, 1, 1, 0],
        "score": [9.0, 7.0, 2.0, 1.0],
        "defect": ["good", "dent", "hole", "good"],
        "mask": [None, "a_mask.png", None, None],
        "content_hash": ["#c", "#a", "#d", "#b"],
    }
)
PEAKS = [(1, 1, 9.0), (2, 2, 7.0), (1, 3, 2.0), (0, 0, 1.0)]


def grids_with_peaks() -> np.ndarray:
    """Patch scores in the order of the image scores."""
    grids = np.zeros((4, 4, 5), np.float32)
    for grid, (row, column, score) in zip(grids, PEAKS, strict=True):
        grid[row, column] = score
    return grids


Gallery = Callable[..., list[GalleryImage]]


@pytest.fixture
def gallery(fake_encoder: Any, tmp_path: Path) -> Gallery:
    """The node with some inputs changed."""
    for name, colour in COLOURS.items():
        picture = Image.new("RGB", (100, 84), RIM)
        picture.paste(Image.new("RGB", (80, 64), colour), (10, 10))
        picture.save(tmp_path / f"{name}.png")
    mask = np.zeros((84, 100), np.uint8)
    # Half of it is fully anomalous, half more than half.
    mask[30:54, 40:52], mask[30:54, 52:64] = 255, 140
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    store: FeatureStore = fake_encoder.store(tmp_path / "store", ["train", *COLOURS])
    images = pd.DataFrame(
        {
            "image": ["b.png", "train.png", "c.png", "d.png", "a.png"],
            "content_hash": ["#b", "#train", "#c", "#d", "#a"],
            "width": 100,
            "height": 84,
        }
    )

    def run(
        threshold: float | None = 5.0,
        limit: int = 8,
        bpm: dict[str, Any] = BPM,
        scores: pd.DataFrame = SCORES,
        **preprocessing: Any,
    ) -> list[GalleryImage]:
        return nodes.draw_gallery(
            ImageFolder(str(tmp_path)),
            images,
            store,
            ArrayBundle(
                {"patch_scores": grids_with_peaks()},
                {"images": images_digest(SCORES["content_hash"])},
            ),
            scores,
            {"threshold": threshold, "image_auroc": 0.5},
            PREPROCESSING | preprocessing,
            bpm,
            limit,
            {"name": "hex nut"},
        )

    return run


def pixels(image: GalleryImage, view: str) -> np.ndarray:
    """A view, decoded: int64 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(image.views[view]))).astype(int)


def test_images_are_judged_by_the_threshold_worst_mistakes_first(gallery: Gallery) -> None:
    shown = gallery()
    assert [(i.image, i.verdict, i.score, i.defect) for i in shown] == [
        ("c.png", "false alarm", 9.0, "good"),
        ("d.png", "missed", 2.0, "hole"),
        ("a.png", "right", 7.0, "dent"),
        ("b.png", "right", 1.0, "good"),
    ]
    assert {image.category for image in shown} == {"hex nut"}
    verdicts = {i.image: i.verdict for i in gallery(threshold=8.0)}
    assert verdicts["a.png"] == "missed"
    assert {i.verdict for i in gallery(threshold=None)} == {"undecided"}


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_no_more_images_are_drawn_than_asked_for(limit: int, gallery: Gallery) -> None:
    assert [image.image for image in gallery(limit=limit)] == ["c.png", "d.png"][:limit]


def test_each_image_has_its_own_map_in_the_colours_of_its_category(gallery: Gallery) -> None:
    grids = grids_with_peaks()
    # Of 80 patch scores, the place 0.995 * 79 = 78.605 is between the two highest.
    vmax = 7.0 + 0.605 * 2.0
    by_name = {image.image[0]: image for image in gallery()}
    for grid, name in zip(grids, "cadb", strict=True):
        picture = np.full((64, 80, 3), COLOURS[name], np.uint8)
        expected = overlay_heat_map(picture, anomaly_map(grid, (4, 5), (64, 80)), vmax)
        found = pixels(by_name[name], "heat_map")
        same = np.asarray(Image.open(io.BytesIO(encode_jpeg(expected)))).astype(int)
        assert np.abs(found - same).max() <= 2
        if name != "a":
            assert np.abs(pixels(by_name[name], "image") - COLOURS[name]).max() < 12


def test_the_outline_follows_the_mask_where_it_is_at_least_half(gallery: Gallery) -> None:
    by_name = {image.image[0]: image for image in gallery()}
    near = np.abs(pixels(by_name["a"], "image") - GROUND_TRUTH_COLOUR).max(axis=2) < 80
    rows, columns = np.nonzero(near)
    # Ten pixels are cropped on each side, and the outline keeps four of distance.
    assert (rows.min(), rows.max()) == pytest.approx((16, 47), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((26, 57), abs=2)
    for name in "bcd":
        assert np.abs(pixels(by_name[name], "image") - COLOURS[name]).max() < 12


@pytest.mark.parametrize(
    "bpm", [BPM, BPM | {"threshold": 0.85}, BPM | {"kernel_size": 3}, BPM | {"mode": "off"}]
)
def test_what_does_not_count_is_dimmed(
    bpm: dict[str, Any], gallery: Gallery, fake_encoder: Any
) -> None:
    for image in gallery(bpm=bpm):
        name = image.image[0]
        attention = torch.from_numpy(fake_encoder.attention(name))[None]
        kept = BackPatchMasking(**bpm).foreground(attention)[0].numpy().reshape(4, 5)
        # The middle of each patch, of 16 x 16 pixels, is far from the outline.
        view = pixels(image, "foreground").reshape(4, 16, 5, 16, 3)[:, 6:10, :, 6:10]
        brightness = view.max(axis=4).mean(axis=(1, 3))
        assert ((brightness > 0.75 * max(COLOURS[name])) == kept).all()


@pytest.mark.parametrize("bpm", [BPM, BPM | {"mode": "soft", "kernel_size": 3}])
def test_of_the_first_image_the_way_to_its_masking_is_drawn(
    bpm: dict[str, Any], gallery: Gallery, fake_encoder: Any
) -> None:
    """Bright where the attention is, smoothed as the masking smooths it."""
    first, *others = gallery(bpm=bpm)
    attention = fake_encoder.attention(first.image[0])
    expected = {
        "attention": attention / attention.max(),
        "smoothed_attention": smooth_attention(attention[None], bpm["kernel_size"])[0],
    }
    for view, values in expected.items():
        # The middle of each patch of 16 x 16 pixels.
        middle = pixels(first, view).reshape(4, 16, 5, 16, 3)[:, 7:9, :, 7:9].mean(axis=(1, 3))
        brightness, order = middle.sum(axis=2).ravel(), np.argsort(values.ravel())
        assert brightness.argmax() == order[-1]
        assert brightness[order[-5:]].mean() > brightness[order[:5]].mean() + 100
    assert not {"attention", "smoothed_attention"} & set().union(*(o.views for o in others))
    assert "attention" not in gallery(bpm=BPM | {"mode": "off"})[0].views


def test_views_are_as_the_encoder_sees_the_image(gallery: Gallery) -> None:
    view = pixels(gallery(crop=[84, 100])[0], "image")
    assert view.shape == (84, 100, 3)
    assert np.abs(view[3, 6] - RIM).max() < 30
    assert pixels(gallery()[0], "image").shape == (64, 80, 3)


def test_pictures_are_held_to_what_was_scored(
    gallery: Gallery, read_with: list[tuple[str, Any]]
) -> None:
    gallery()
    assert dict(read_with) == {f"{name}.png": f"#{name}" for name in "abcd"}


def test_maps_of_other_images_are_not_drawn(gallery: Gallery) -> None:
    """Patch scores that an earlier run made before an image was changed."""
    with pytest.raises(InputError, match="of other images than those listed now"):
        gallery(scores=SCORES.replace({"content_hash": {"#a": "#new"}}))


def test_a_category_without_test_images_has_an_empty_gallery(
    fake_encoder: Any, tmp_path: Path
) -> None:
    shown = nodes.draw_gallery(
        ImageFolder(str(tmp_path)),
        pd.DataFrame({"image": [], "content_hash": []}),
        fake_encoder.store(tmp_path / "store", ["train"]),
        ArrayBundle(
            {"patch_scores": np.zeros((0, 4, 5), np.float32)}, {"images": images_digest([])}
        ),
        SCORES.head(0),
        {"threshold": None},
        PREPROCESSING,
        BPM,
        8,
        {"name": "hex nut"},
    )
    assert shown == []


# --- draw_attention_histogram -------------------------------------------------------------------


def test_attention_is_of_the_normal_images(fake_encoder: Any, tmp_path: Path) -> None:
    """Or of all: a category may be tested with none."""
    store = fake_encoder.store(tmp_path / "store", [f"{name}.png" for name in "abcd"])

    def table(**labels: int) -> pd.DataFrame:
        hashes = [f"#{name}.png" for name in labels]
        return pd.DataFrame({"content_hash": hashes, "label": labels.values()})

    figure = nodes.draw_attention_histogram(
        store,
        {"categories": {}},
        {"mode": "binary", "kernel_size": 3, "threshold": 0.3},
        TASK,
        image_scores_hex_nut=table(a=0, b=1),
        image_scores_bolt=table(c=1, d=1),
    )

    def share(*names: str) -> float:
        grids = np.stack([fake_encoder.attention(f"{name}.png") for name in names])
        return float(np.mean(smooth_attention(grids, 3) > 0.3))

    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == [
        f"hex nut: {share('a'):.0%} above the threshold",
        f"bolt: {share('c', 'd'):.0%} above the threshold",
    ]


# --- draw_plots and collect_plots ---------------------------------------------------------------

TASK: dict[str, Any] = {
    "title": "Flaws of nuts and bolts",
    "task": "defect",
    "command": "kedro run --pipelines=defect --params=x",
    "notes": ["The backbone is untrained.", "Few images."],
    "names": {"dataset": "nuts_and_bolts", "backbone": "tiny_vit", "run_key": "default"},
    "categories": {"hex_nut": {"name": "hex nut"}, "bolt": {"name": "bolt"}},
}


def test_plots_of_a_category_name_it_and_its_threshold() -> None:
    roc, scores = nodes.draw_plots(SCORES, {"threshold": 5.25}, {"name": "hex nut"})
    # Pairs of an anomalous and a normal image: two of four are in order.
    assert roc.layout.title.text == "hex nut: ROC curve, AUROC 0.500"
    assert scores.layout.title.text == "hex nut: image scores"
    assert scores.layout.shapes[0].x0 == 5.25
    assert [bars.name for bars in scores.data] == ["normal (2)", "anomalous (2)"]
    _, without = nodes.draw_plots(SCORES, {"threshold": None}, {"name": "bolt"})
    assert not without.layout.shapes
    assert without.layout.title.text == "bolt: image scores"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_plots_of_all_categories_stand_under_their_names_in_the_tasks_order(
    order: tuple[int, ...],
) -> None:
    nut_roc, nut_scores = nodes.draw_plots(SCORES, {"threshold": 5.0}, {"name": "hex nut"})
    perfect = SCORES.assign(score=[1.0, 8.0, 9.0, 2.0])
    bolt_roc, bolt_scores = nodes.draw_plots(perfect, {"threshold": 6.0}, {"name": "bolt"})
    given = [
        ("roc_plot_hex_nut", nut_roc),
        ("score_plot_hex_nut", nut_scores),
        ("roc_plot_bolt", bolt_roc),
        ("score_plot_bolt", bolt_scores),
    ]
    roc, scores = nodes.collect_plots(TASK, **dict(given[i] for i in order))
    curves = [curve for curve in roc.data if curve.name]
    assert [curve.name for curve in curves] == ["hex nut", "bolt"]
    assert [curve.y for curve in curves] == [nut_roc.data[-1].y, bolt_roc.data[-1].y]
    buttons = scores.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["hex nut", "bolt"]
    assert [button.args[1]["title.text"] for button in buttons] == [
        "hex nut: image scores",
        "bolt: image scores",
    ]
    assert [bars.text for bars in scores.data] == [
        bars.text for plot in (nut_scores, bolt_scores) for bars in plot.data
    ]


# --- sections -----------------------------------------------------------------------------------

PARAMETERS: dict[str, Any] = {
    "dataset": "nuts_and_bolts",
    "datasets": {"nuts_and_bolts": {"preprocessing": {"resize": 224, "crop": None}}},
    "backbone": "tiny_vit",
    "seed": 4711,
    "clustering": {"compared_ratios": [0.05]},
    "lowshot": {"num_draws": 7},
    "reporting": {"gallery_images": 13},
    "run": {"defect": {"secret_plan": "only of this run"}},
}
AUROC = 0.12345678901234567


def sweep(key: str, *values: str) -> pd.DataFrame:
    """The summary of a sweep of one parameter."""
    numbers = dict.fromkeys(("image_auroc", "nmi", "ari", "f1"), AUROC)
    table = pd.DataFrame({"parameter": key, "value": values, "num_categories": 2, **numbers})
    return table.assign(**{f"{name}_std": 0.25 for name in numbers})


def column(section: dict[str, Any], name: str) -> list[Any]:
    """A column of a section's only table."""
    (table,) = section["tables"]
    return [row[table["columns"].index(name)] for row in table["data"]]


def is_png(text: str) -> bool:
    return base64.b64decode(text).startswith(b"\x89PNG")


def test_the_comparison_of_features_is_of_clusters() -> None:
    table = sweep("clustering.features", "all", "max", "top 0.05")
    (section,) = nodes.write_clustering_sections(table, PARAMETERS)
    assert "Table 8" in section["title"]
    assert column(section, "value") == ["all", "max", "top 0.05"]
    assert column(section, "nmi") == [AUROC] * 3
    assert section["tables"][0]["columns"] == [
        "value",
        *("nmi", "nmi_std", "ari", "ari_std", "f1", "f1_std"),
    ]
    assert list(section["figures"]) == ["Clusters"]
    assert is_png(section["figures"]["Clusters"])


def test_metrics_by_the_number_of_images_name_the_draws() -> None:
    table = sweep("lowshot.shots", "1", "all").drop(columns=["nmi", "ari", "f1"])
    (section,) = nodes.write_lowshot_sections(table, PARAMETERS)
    assert "over 7 random draws" in section["text"]
    assert column(section, "value") == ["1", "all"]
    assert column(section, "image_auroc") == [AUROC] * 2
    assert list(section["figures"]) == ["Detection"]
    more = PARAMETERS | {"lowshot": {"num_draws": 8}}
    assert "over 8 random draws" in nodes.write_lowshot_sections(table, more)[0]["text"]


def test_an_ablation_has_a_section_for_each_parameter() -> None:
    table = pd.concat([sweep("bpm.threshold", "0.1", "0.2"), sweep("bpm.mode", "soft")])
    first, second = nodes.write_ablation_sections(table, PARAMETERS)
    assert "threshold" in first["title"]
    assert "mode" in second["title"]
    assert column(first, "value") == ["0.1", "0.2"]
    assert column(second, "value") == ["soft"]
    assert list(first["figures"]) == ["Detection", "Clusters"]


@pytest.fixture
def papers(shipped: Parameters) -> dict[str, Any]:
    """What the paper reports: Table 9 says 0.9300 for a kernel of 1 and 0.9932 for one of 7."""
    return shipped.model_copy(update={"dataset": "mvtec", "backbone": "dino_vitb8"}).resolved()


def over_all(key: str, *values: str) -> pd.DataFrame:
    """The summary of a sweep over all categories of the paper."""
    return sweep(key, *values).assign(num_categories=15)


def columns(section: dict[str, Any]) -> list[str]:
    (table,) = section["tables"]
    names: list[str] = table["columns"]
    return names


def test_the_papers_numbers_are_those_of_the_data_set_and_backbone(papers: dict[str, Any]) -> None:
    table = over_all("bpm.kernel_size", "1", "2", "7")
    (section,) = nodes.write_ablation_sections(table, papers)
    assert column(section, "paper_image_auroc") == [0.93, None, 0.9932]
    for other in ({"dataset": "nuts"}, {"backbone": "tiny_vit"}):
        (without,) = nodes.write_ablation_sections(table, papers | other)
        assert "paper_image_auroc" not in columns(without)


def test_a_sweep_may_differ_from_the_paper_in_its_own_parameter_alone(
    papers: dict[str, Any],
) -> None:
    table = over_all("bpm.kernel_size", "1", "7")
    papers["bpm"]["kernel_size"] = 3
    (section,) = nodes.write_ablation_sections(table, papers)
    assert column(section, "paper_image_auroc") == [0.93, 0.9932]
    papers["bpm"]["mode"] = "off"
    (section,) = nodes.write_ablation_sections(table, papers)
    assert "paper_image_auroc" not in columns(section)


def test_a_mean_over_other_categories_is_not_set_beside_the_papers(papers: dict[str, Any]) -> None:
    table = over_all("bpm.kernel_size", "1", "7").assign(image_auroc_count=[15, 14])
    (section,) = nodes.write_ablation_sections(table, papers)
    assert column(section, "paper_image_auroc") == [0.93, None]
    assert column(section, "image_auroc_count") == [15, 14]
    assert "(of n)" in section["text"]
    (section,) = nodes.write_ablation_sections(sweep("bpm.kernel_size", "1", "7"), papers)
    assert "paper_image_auroc" not in columns(section)
    assert "(of n)" not in section["text"]


def test_every_row_of_table_8_has_the_papers_numbers(papers: dict[str, Any]) -> None:
    table = over_all("clustering.features", "all", "max", "top 0.05", "top 0.01", "top 0.2")
    papers["scoring"]["top_k_ratio"] = 0.2  # each row has a ratio of its own
    (section,) = nodes.write_clustering_sections(table, papers)
    assert column(section, "paper_nmi") == [0.3916, 0.5204, 0.547, 0.6127, None]
    assert column(section, "paper_ari") == [0.2757, 0.3790, 0.4334, 0.5048, None]
    assert column(section, "paper_f1") == [0.5236, 0.6042, 0.6447, 0.7072, None]


def test_the_text_of_table_8_speaks_of_a_ratio_that_it_shows() -> None:
    parameters = PARAMETERS | {"clustering": {"compared_ratios": [0.025, 0.1]}}
    table = sweep("clustering.features", "all", "max", "top 0.025", "top 0.1")
    (section,) = nodes.write_clustering_sections(table, parameters)
    assert "'top 0.025' is the mean feature of the 2.5 % of the patches" in section["text"]


def test_groups_of_a_single_kind_leave_the_comparison_without_metrics() -> None:
    table = pd.DataFrame(
        {"parameter": "clustering.features", "value": ["all", "max"], "num_categories": 1}
    )
    (section,) = nodes.write_clustering_sections(table, PARAMETERS)
    assert columns(section) == ["value"]
    assert section["figures"] == {}


def test_low_shot_and_clustering_are_not_set_beside_the_papers_ablation(
    papers: dict[str, Any],
) -> None:
    for write in (nodes.write_lowshot_sections, nodes.write_clustering_sections):
        (section,) = write(over_all("bpm.kernel_size", "1", "7"), papers)
        assert "paper_image_auroc" not in columns(section)


def test_pictures_of_memory_banks_are_numbered_as_given() -> None:
    pictures = {"bank_figure_a": b"one", "bank_figure_b": b"two", "bank_figure_c": b"three"}
    (section,) = nodes.write_multiclass_sections(**pictures)
    assert {name: base64.b64decode(png) for name, png in section["figures"].items()} == {
        "Memory bank 1": b"one",
        "Memory bank 2": b"two",
        "Memory bank 3": b"three",
    }


# --- write_report -------------------------------------------------------------------------------

BOLT_SCORES = SCORES.assign(label=[0, 1, 0, 0], score=[4.0, 6.5, 3.0, 2.5])
NUMBERS: dict[str, Any] = {
    "mean": {"image_auroc": 0.625},
    "std": {"image_auroc": 0.125},
    "categories": {"hex nut": image_metrics(SCORES), "bolt": image_metrics(BOLT_SCORES)},
}


def shown(category: str, image: str) -> GalleryImage:
    views = {"image": f"picture of {image}".encode()}
    return GalleryImage(image, category, "dent", 1, 2.0, 0, 0.5, views)


ARTIFACTS: dict[str, Any] = {
    "gallery_bolt": [shown("bolt", "bolt/1.png")],
    "cluster_figure_bolt": b"map of bolts",
    "image_scores_hex_nut": SCORES,
    "gallery_hex_nut": [shown("hex nut", "nut/2.png"), shown("hex nut", "nut/3.png")],
    "cluster_sheet_hex_nut": b"sheet of nuts",
    "image_scores_bolt": BOLT_SCORES,
    "cluster_sheet_bolt": b"sheet of bolts",
    "cluster_figure_hex_nut": b"map of nuts",
}


def report(**changes: Any) -> str:
    given: dict[str, Any] = {
        "metrics": NUMBERS,
        "leaderboard": leaderboard_table(NUMBERS),
        "parameters": PARAMETERS,
        "task": TASK,
        **ARTIFACTS,
    }
    return nodes.write_report(**(given | changes))


def picture_of(page: str, alternative: str) -> bytes:
    """The picture on a page that has an alternative text."""
    (tag,) = re.findall(f'<img[^>]*alt="{alternative}"[^>]*>', page)
    return base64.b64decode(re.findall(r'base64,([^"]*)', tag)[0])


def test_a_report_says_what_was_done() -> None:
    page = report()
    for text in (
        "<title>Flaws of nuts and bolts</title>",
        "<dt>Task</dt><dd>defect</dd>",
        "<dt>Data set</dt><dd>nuts_and_bolts</dd>",
        "<dt>Backbone</dt><dd>tiny_vit</dd>",
        "<dt>Categories</dt><dd>2</dd>",
        "<dt>Seed</dt><dd>4711</dd>",
        "kedro run --pipelines=defect --params=x</code>",
        "up to 13 (<code>reporting.gallery_images</code>)",
        "0.625",
    ):
        assert text in page
    assert page.index("The backbone is untrained.") < page.index("Few images.")


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("metrics", {"mean": {"image_auroc": 0.987}}, "0.987"),
        ("leaderboard", leaderboard_table(NUMBERS).replace(1.0, 0.876), "0.876"),
        (
            "task",
            {"names": {"dataset": "gears", "backbone": "b", "run_key": "r"}},
            "<dd>gears</dd>",
        ),
        (
            "task",
            {"names": {"dataset": "d", "backbone": "large", "run_key": "r"}},
            "<dd>large</dd>",
        ),
        ("parameters", {"seed": 12}, "<dt>Seed</dt><dd>12</dd>"),
        ("parameters", {"reporting": {"gallery_images": 14}}, "up to 14 ("),
        ("parameters", {"bpm": {"threshold": 0.123}}, "<code>bpm.threshold</code>"),
        ("task", {"title": "Flaws of gears"}, "<h1>Flaws of gears</h1>"),
        ("task", {"task": "semantic"}, "<dd>semantic</dd>"),
        ("task", {"command": "kedro run again"}, "kedro run again"),
        ("task", {"notes": ["Beware."]}, "Beware."),
        ("sections", [{"title": "Mine", "text": "", "tables": [], "figures": {}}], "Mine</h2>"),
        ("gallery_bolt", [shown("bolt", "bolt/4.png")], "bolt/4.png"),
        ("image_scores_bolt", BOLT_SCORES.replace(4.0, 4.125), "4.125"),
    ],
)
def test_a_report_follows_what_it_is_given(name: str, change: Any, text: str) -> None:
    given = {"metrics": NUMBERS, "parameters": PARAMETERS, "task": TASK}
    changed = given[name] | change if name in given else change
    assert text not in report()
    assert text in report(**{name: changed})


@pytest.mark.parametrize("metric", ["image_auroc", "image_ap", "image_f1_max", "threshold"])
def test_metrics_of_other_scores_are_not_reported(metric: str) -> None:
    for wrong in (0.25, None):
        changed = NUMBERS["categories"]["bolt"] | {metric: wrong}
        numbers = NUMBERS | {"categories": NUMBERS["categories"] | {"bolt": changed}}
        with pytest.raises(InputError, match=f"{metric} is .* the metrics say {wrong}: another"):
            report(metrics=numbers)


def test_the_plan_of_a_run_is_no_parameter_of_its_report() -> None:
    page = report()
    assert "<code>lowshot.num_draws</code>" in page
    assert "secret_plan" not in page
    assert "secret_plan" in str(PARAMETERS)


def test_pictures_stand_under_the_name_of_their_category() -> None:
    page = report()
    for category, plural in (("hex nut", "nuts"), ("bolt", "bolts")):
        alternative = f"Map of the images by true kind and by cluster of {category}"
        assert picture_of(page, alternative) == f"map of {plural}".encode()
        alternative = f"Contact sheet of each cluster of {category}"
        assert picture_of(page, alternative) == f"sheet of {plural}".encode()


def test_images_and_decisions_are_those_of_their_category() -> None:
    page = report()
    cards = re.findall(r'<article[^>]*data-category="([^"]*)".*?</article>', page, re.DOTALL)
    assert sorted(cards) == ["bolt", "hex nut", "hex nut"]
    for path in ("bolt/1.png", "nut/2.png", "nut/3.png"):
        assert path in page
    (scores,) = re.findall(r'<script type="application/json" id="scores">(.*?)</script>', page)
    expected = {
        '"hex nut": {"anomalous": [2.0, 7.0], "normal": [1.0, 9.0]',
        '"bolt": {"anomalous": [6.5], "normal": [2.5, 3.0, 4.0]',
    }
    assert all(text in scores for text in expected)


def test_categories_stand_in_the_tasks_order_whatever_order_they_come_in() -> None:
    page = report()
    for order in (sorted(ARTIFACTS), sorted(ARTIFACTS, reverse=True)):
        given = {name: ARTIFACTS[name] for name in order}
        again = nodes.write_report(
            NUMBERS, leaderboard_table(NUMBERS), PARAMETERS, TASK, (), **given
        )
        assert again == page
    swapped = TASK | {"categories": dict(reversed(TASK["categories"].items()))}
    orders = [
        re.findall(r'<section class="curve" aria-label="([^"]*)"', text)
        for text in (page, report(task=swapped))
    ]
    assert orders == [["hex nut", "bolt"], ["bolt", "hex nut"]]


def test_only_the_tasks_categories_are_shown() -> None:
    alone = TASK | {"categories": {"bolt": {"name": "bolt"}}}
    page = report(task=alone)
    assert "bolt/1.png" in page
    assert "nut/2.png" not in page
    with pytest.raises(KeyError, match="_gear"):
        report(task=TASK | {"categories": {"gear": {"name": "gear"}}})


def test_a_task_that_draws_no_clusters_shows_none() -> None:
    kept = ("gallery_", "image_scores_")
    given = {name: what for name, what in ARTIFACTS.items() if name.startswith(kept)}
    page = nodes.write_report(NUMBERS, leaderboard_table(NUMBERS), PARAMETERS, TASK, **given)
    assert "Figures of each category" not in page
    assert "nut/2.png" in page


def test_sections_come_out_of_their_json() -> None:
    stored = nodes.write_multiclass_sections(bank_figure_a=b"bank A", bank_figure_b=b"bank B")
    stored += nodes.write_lowshot_sections(sweep("lowshot.shots", "1", "all"), PARAMETERS)
    page = report(sections=stored)
    assert picture_of(page, "Memory bank 2") == b"bank B"
    assert "over 7 random draws" in page
    assert 'data-value="0.12345678901234566"' in page


def test_of_many_categories_the_hardest_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Shown below" not in report()
    monkeypatch.setattr(nodes, "MANY_CATEGORIES", 1)
    monkeypatch.setattr(nodes, "hardest", lambda metrics: hardest(metrics, 1))
    worst = min(NUMBERS["categories"], key=lambda name: NUMBERS["categories"][name]["image_auroc"])
    page = report()
    assert "1 of 2 categories, those with the lowest image AUROC" in page
    filters = page.partition('name="category"')[2].partition("</select>")[0]
    assert re.findall(r"<option>([^<]*)</option>", filters) == [worst]
    # The table has them all.
    board = page.partition('id="leaderboard"')[2].partition("</table>")[0]
    assert all(name in board for name in NUMBERS["categories"])


def test_plots_of_too_many_categories_are_those_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "MANY_CATEGORIES", 1)
    drawn: list[list[str]] = []
    monkeypatch.setattr(nodes, "all_roc_curves", lambda plots: drawn.append(list(plots)))
    monkeypatch.setattr(nodes, "all_score_plots", lambda plots: drawn.append(list(plots)))
    names = [f"{kind}_{key}" for kind in ("roc_plot", "score_plot") for key in TASK["categories"]]
    nodes.collect_plots(TASK, **dict.fromkeys(names))
    first = next(iter(TASK["categories"].values()))["name"]
    assert drawn == [[first], [first]]
