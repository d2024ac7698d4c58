"""What a reader finds in the report, and what must never be in it."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.evaluation.leaderboard import leaderboard_table
from uniformaly_pipeline.evaluation.metrics import metric_label
from uniformaly_pipeline.reporting.figures.style import figure_png, new_figure
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage, error_margin
from uniformaly_pipeline.reporting.page.embedding import picture_kind
from uniformaly_pipeline.reporting.page.page import (
    MAX_BYTES,
    ReportSection,
    ReportTable,
    render_report,
)
from uniformaly_pipeline.reporting.page.tables import table_view

HOSTILE = '<script>alert("1")</script>'
METRICS: dict[str, Any] = {
    "mean": {"image_auroc": 0.91234, "pixel_auroc": 0.8, "bank_bytes": 3145728.0, "purity": 0.5},
    "std": {"image_auroc": 0.0123, "pixel_auroc": None, "bank_bytes": 0.0, "purity": 0.0},
    "categories": {
        "bottle": {
            "purity": 0.25,
            "image_auroc": 0.99,
            "pixel_auroc": 0.8,
            "bank_bytes": 3145728,
            "threshold": 12.0,
            "curve": [[0, 1], [0, 1]],
        },
        "cable": {"image_auroc": 0.83, "pixel_auroc": None, "bank_bytes": 3145728},
    },
}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of a kind that have the given attributes."""
        return [a for t, a in self.elements if t == tag and attributes.items() <= a.items()]


def image(category: str = "bottle", **changes: Any) -> GalleryImage:
    """An image of a gallery; a missed one unless changed."""
    arguments: dict[str, Any] = {
        "image": "bottle/test/crack/000.png",
        "category": category,
        "defect": "crack",
        "label": 1,
        "score": 9.0,
        "decision": 0,
        "error_margin": 0.5,
        "views": {"image": b"one", "heat_map": b"two", "foreground": b"three"},
    }
    return GalleryImage(**(arguments | changes))


def render(**changes: Any) -> str:
    """A report of two categories."""
    arguments: dict[str, Any] = {
        "title": "Defects in demo",
        "task": "defect",
        "dataset": "demo",
        "backbone": "untrained",
        "metrics": METRICS,
        "leaderboard": leaderboard_table(METRICS),
        "galleries": {
            "bottle": [image()],
            "cable": [image("cable", decision=1, error_margin=-2.0)],
        },
        "figures": {
            "bottle": {"cluster_figure": b"png"},
            "cable": {"cluster_figure": b"png", "score_map": b"png"},
        },
        "parameters": {"seed": 0, "bpm": {"mode": "binary", "kernel_size": 7}, "categories": []},
        "command": "kedro run --pipelines=defect --params=dataset=demo",
        "notes": ["The backbone is untrained."],
    }
    return render_report(**(arguments | changes))


def test_leaderboard_has_a_row_per_category_and_two_for_the_summary() -> None:
    table = leaderboard_table(METRICS)
    assert table["category"].tolist() == ["bottle", "cable", "mean", "std"]
    assert table.loc[0, "image_auroc"] == 0.99
    assert table.loc[2, "image_auroc"] == 0.91234


def test_leaderboard_orders_known_metrics_and_keeps_unknown_scalars() -> None:
    columns = leaderboard_table(METRICS).columns.tolist()
    expected = ["image_auroc", "pixel_auroc", "bank_bytes", "threshold", "purity"]
    assert columns == ["category", *expected]


def test_leaderboard_shows_undefined_figures_as_nan() -> None:
    table = leaderboard_table(METRICS)
    assert np.isnan(table.loc[1, "pixel_auroc"])
    assert table["pixel_auroc"].dtype == np.float64
    nowhere = {"mean": {"aupro": None}, "std": {}, "categories": {"a": {"aupro": None}}}
    assert leaderboard_table(nowhere)["aupro"].isna().all()


def test_leaderboard_keeps_texts() -> None:
    metrics = {"mean": {}, "std": {}, "categories": {"a": {"kind": "texture"}}}
    assert leaderboard_table(metrics).loc[0, "kind"] == "texture"


def test_page_loads_nothing_from_outside() -> None:
    page = Page(render())
    links = [a.get(key) or "" for _, a in page.elements for key in ("src", "href") if key in a]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    # "#hatch" is a part of the page itself.
    assert not re.search(r"@import|url\((?!#)", render())
    (policy,) = page.of("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in (policy["content"] or "")


def test_hostile_names_are_only_ever_text() -> None:
    metrics = {"mean": {}, "std": {}, "categories": {HOSTILE: {"image_auroc": 1.0}}}
    html = render(
        title=HOSTILE,
        dataset=HOSTILE,
        metrics=metrics,
        leaderboard=leaderboard_table(metrics),
        galleries={HOSTILE: [image(HOSTILE, image=f"{HOSTILE}/'x.png", defect=HOSTILE)]},
        figures={HOSTILE: {HOSTILE: b"png"}},
        parameters={HOSTILE: HOSTILE},
        command=HOSTILE,
        notes=[HOSTILE],
    )
    assert HOSTILE not in html
    assert len(Page(html).of("script")) == 1
    assert f"{HOSTILE}/'x.png" in Page(html).text


def test_every_category_is_in_leaderboard_gallery_and_figures() -> None:
    page = Page(render())
    for category in ("bottle", "cable"):
        assert page.of("article", **{"data-category": category})
        assert page.of("img", alt=f"Map of the images by true kind and by cluster of {category}")
        assert page.text.count(category) >= 3


def test_headline_shows_mean_and_spread_and_dashes_for_what_is_undefined() -> None:
    metrics = METRICS | {"mean": METRICS["mean"] | {"aupro": None}}
    text = words(render(metrics=metrics))
    assert "AUROC 0.912 ± 0.012" in text.replace("AUROC0", "AUROC 0")
    assert "AUPRO –" in text.replace("AUPRO–", "AUPRO –")
    assert "3.0 MiB" in text
    assert "Purity" in text
    assert "nan" not in text.lower().split()
    assert "None" not in text


def test_one_category_has_no_spread() -> None:
    metrics = {"mean": {"nmi": 0.5}, "std": {"nmi": 0.0}, "categories": {"a": {"nmi": 0.5}}}
    text = Page(render(metrics=metrics, leaderboard=leaderboard_table(metrics))).text
    assert "±" not in text


def test_worst_mistakes_of_all_categories_come_first() -> None:
    galleries = {
        "bottle": [image(error_margin=0.5), image(error_margin=-3.0, decision=1)],
        "cable": [image("cable", error_margin=2.0), image("cable", error_margin=0.0, decision=1)],
    }
    cards = Page(render(galleries=galleries)).of("article")
    shown = [(card["data-category"], card["data-verdict"]) for card in cards]
    assert shown == [
        ("cable", "missed"),
        ("bottle", "missed"),
        ("cable", "right"),
        ("bottle", "right"),
    ]


def test_a_verdict_is_told_in_words_and_signs() -> None:
    galleries = {
        "bottle": [
            image(),
            image(label=0, decision=1),
            image(decision=1),
            image(decision=None, error_margin=0.0),
        ]
    }
    text = Page(render(galleries=galleries)).text
    for words in ("✗ missed", "✗ false alarm", "✓ right", "? no threshold"):
        assert words in text


def test_every_picture_has_an_alternative_text_and_every_field_a_label() -> None:
    html = render()
    page = Page(html)
    assert all(picture.get("alt") for picture in page.of("img"))
    assert len(page.of("img")) == 2 * 3 + 3
    assert len(page.of("select")) == 4
    assert len(page.of("input", type="search")) == 2
    assert html.count("<label>") == 4 + 2
    assert page.of("html")[0]["lang"] == "en"


def test_filters_offer_each_category_and_defect_once() -> None:
    galleries = {"bottle": [image(), image(defect="Crack")], "cable": [image("cable")]}
    text = render(galleries=galleries)
    assert text.count("<option>bottle</option>") == 1
    assert text.count("<option>crack</option>") == text.count("<option>Crack</option>") == 1


def test_parameters_command_and_notes_are_shown() -> None:
    text = Page(render()).text
    for words in ("bpm.kernel_size", '"binary"', "--params=dataset=demo", "backbone is untrained"):
        assert words in text


def test_an_option_in_a_note_is_code_that_stays_in_one_piece() -> None:
    html = render(notes=["Choose <one>, such as --params=backbone=dino_vitb8."])
    assert "Choose &lt;one&gt;, such as <code>--params=backbone=dino_vitb8</code>.</p>" in html


@pytest.mark.parametrize("numbers", [{}, {"a": {}}])
def test_a_run_without_images_figures_or_metrics_renders(numbers: dict[str, Any]) -> None:
    metrics = {"mean": {}, "std": {}, "categories": numbers}
    html = render(
        metrics=metrics,
        leaderboard=leaderboard_table(metrics),
        galleries={},
        figures={},
        notes=[],
    )
    assert "no images" in Page(html).text


def test_a_leaderboard_without_summary_rows_renders() -> None:
    table = pd.DataFrame({"category": ["x"], "image_auroc": [float("nan")]})
    assert "–" in Page(render(leaderboard=table)).text


class Cells(HTMLParser):
    """The rows of each table of a page, as texts, by the table's caption."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self._within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"th", "td"} and self._rows:
            self._rows[-1].append("")
        if tag in {"caption", "th", "td"}:
            self._within = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.tables[self._caption] = self._rows
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "caption":
            self._caption += data
        elif self._within:
            self._rows[-1][-1] += data


def table_of(html: str, caption: str) -> list[dict[str, str]]:
    """A table's rows below its heading, each by column; hyphens and spaces as on a keyboard."""
    plain = html.replace("\N{NON-BREAKING HYPHEN}", "-")
    heading, *rows = [
        [" ".join(cell.split()) for cell in row] for row in Cells(plain).tables[caption]
    ]
    return [dict(zip(heading, row, strict=True)) for row in rows]


def leaderboard_of(html: str) -> dict[str, dict[str, str]]:
    """The rows of the leaderboard by category."""
    rows = table_of(html, "Leaderboard: metrics of each category")
    return {row.pop("Category"): row for row in rows}


def words(html: str) -> str:
    """The visible text with single spaces."""
    visible = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(Page(visible).text.split())


def section() -> ReportSection:
    """A section with all that a section can have."""
    table = pd.DataFrame(
        {
            "top_k_ratio": ["0.01", "0.05"],
            "image_auroc": [0.9, 0.95],
            "image_auroc_std": [0.0123, np.nan],
            "image_f1_max": [0.8, None],
        }
    )
    return ReportSection(
        "Sensitivity & <more>",
        "What to know.\n\nAnd what else.",
        [ReportTable("Metrics by value", table)],
        {"Curves <a>": b"curves", "Map": b"map"},
    )


def test_a_section_has_a_heading_that_the_navigation_leads_to() -> None:
    page = Page(render(sections=[ReportSection("First"), section()]))
    links = [a["href"] for a in page.of("a") if "section" in (a.get("href") or "")]
    assert len(links) == 2
    for link in links:
        (target,) = page.of("section", id=(link or "")[1:])
        assert page.of("h2", id=target["aria-labelledby"] or "")
    assert page.text.count("Sensitivity & <more>") == 2
    assert page.text.index("What to know.") < page.text.index("And what else.")
    assert page.text.index("Leaderboard") < page.text.index("What to know.")
    assert page.text.index("And what else.") < page.text.index("worst mistakes first")


def test_a_sections_paragraphs_stand_apart() -> None:
    html = render(sections=[section()])
    assert re.search(r"What to know\.</p>\s*<p[^>]*>And what else\.", html)


def test_a_sections_table_names_its_columns_and_merges_deviations() -> None:
    assert table_of(render(sections=[section()]), "Metrics by value") == [
        {"Top k ratio": "0.01", "Image AUROC": "0.900 ± 0.012", "Image F1-max": "0.800"},
        {"Top k ratio": "0.05", "Image AUROC": "0.950", "Image F1-max": "–"},
    ]


def test_a_sections_table_is_sorted_by_numbers_or_words() -> None:
    page = Page(render(sections=[section()]))
    assert page.of("th", **{"data-value": "0.01"})
    assert page.of("td", **{"data-value": "0.95"})
    # An undefined metric has no value to sort by.
    assert page.of("td", **{"data-value": ""})


def test_a_deviation_without_its_figure_is_a_column_of_its_own() -> None:
    table = pd.DataFrame({"value": ["a"], "nmi_std": [0.5]})
    rows = table_of(render(sections=[ReportSection("S", tables=[ReportTable("T", table)])]), "T")
    assert rows == [{"Value": "a", "Nmi std": "0.5"}]


def test_a_sections_table_may_have_no_rows() -> None:
    table = pd.DataFrame({"value": [], "nmi": []})
    assert (
        table_of(render(sections=[ReportSection("S", tables=[ReportTable("T", table)])]), "T") == []
    )


@pytest.mark.parametrize("rows, scrolls", [(1, False), (40, False), (41, True)])
def test_only_long_tables_of_sections_scroll_by_themselves(rows: int, scrolls: bool) -> None:
    table = pd.DataFrame({"value": range(rows)})
    html = render(sections=[ReportSection("S", tables=[ReportTable("T", table)])])
    assert ('class="scroll tall"' in html) == scrolls
    assert html.count('aria-label="T"') == 1


def test_a_sections_figures_are_embedded_with_their_caption_as_alternative() -> None:
    page = Page(render(sections=[section()]))
    for caption, content in (("Curves <a>", b"curves"), ("Map", b"map")):
        (picture,) = page.of("img", alt=caption)
        source = picture["src"] or ""
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == content
        assert caption in page.text


def compared() -> pd.DataFrame:
    """The leaderboard with the paper's numbers; better on bottle, worse on cable."""
    table = leaderboard_table(METRICS)
    nan = float("nan")
    table.insert(2, "paper", [0.9, 0.95, 0.925, nan])
    table.insert(3, "difference", [0.09, -0.12, -0.01266, nan])
    return table.assign(
        paper_pixel_auroc=[0.7, nan, 0.7, nan], difference_pixel_auroc=[0.1, nan, 0.1, nan]
    )


def test_the_papers_figures_stand_beside_ours_with_a_signed_difference() -> None:
    rows = leaderboard_of(render(leaderboard=compared()))
    assert list(rows["bottle"])[:3] == ["Image AUROC", "Paper", "Difference"]
    assert (rows["bottle"]["Paper"], rows["bottle"]["Difference"]) == ("0.900", "+0.090")
    # A true minus sign, as wide as the plus.
    assert rows["cable"]["Difference"] == "\N{MINUS SIGN}0.120"
    assert rows["mean"]["Difference"] == "\N{MINUS SIGN}0.013"
    assert rows["std"]["Paper"] == rows["std"]["Difference"] == "–"
    assert rows["bottle"]["Pixel AUROC, paper"] == "0.700"
    assert rows["bottle"]["Pixel AUROC, difference"] == "+0.100"
    assert rows["cable"]["Pixel AUROC, difference"] == "–"


@pytest.mark.parametrize("difference", [0.0, 0.0004, -0.0004])
def test_a_difference_that_rounds_to_nothing_has_no_sign(difference: float) -> None:
    table = pd.DataFrame(
        {"category": ["a"], "nmi": [0.5], "paper": [0.5], "difference": [difference]}
    )
    assert leaderboard_of(render(leaderboard=table))["a"]["Difference"] == "0.000"


def test_the_headline_names_the_papers_means() -> None:
    text = words(render(leaderboard=compared()))
    assert "± 0.012 paper 0.925" in text
    # One of the two categories has no masks.
    assert "AUROC0.800 (of 1) paper 0.700" in text.replace("AUROC 0", "AUROC0")
    assert "What the paper reports" in text


def test_a_mean_over_fewer_categories_is_marked_in_headline_and_leaderboard() -> None:
    html = render()
    assert leaderboard_of(html)["mean"]["Pixel AUROC"] == "0.800 (of 1)"
    assert leaderboard_of(html)["mean"]["Image AUROC"] == "0.912"
    text = words(html)
    assert "AUROC 0.800 (of 1)" in text.replace("AUROC0", "AUROC 0")
    assert "(of n) means that only n of them have the metric" in text


def test_means_over_all_categories_are_not_marked() -> None:
    table = leaderboard_table(METRICS)[["category", "image_auroc"]]
    assert "(of" not in words(render(leaderboard=table))


def test_a_table_says_over_how_many_categories_its_means_are() -> None:
    table = pd.DataFrame({"value": ["1", "5"], "nmi": [0.5, np.nan], "nmi_count": [3, 0]})
    (first, second) = (row[1] for row in table_view(table)["body"])
    assert (first["text"], first["of"]) == ("0.500", 3)
    assert second["of"] is None
    page = words(render(sections=[ReportSection("S", tables=[ReportTable("T", table)])]))
    assert "0.500 (of 3)" in page


@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_aupro_is_explained_with_its_limit(limit: float) -> None:
    parameters = {"evaluation": {"aupro_limit": limit}}
    assert f"false positive rates up to {limit}." in words(render(parameters=parameters))


def test_a_threshold_that_passes_no_normal_image_is_told_beside_its_category() -> None:
    scores = pd.DataFrame({"label": [0, 0, 1, 1], "score": [2.0, 3.0, 1.0, 4.0]})
    good = scores.assign(score=[1.0, 2.0, 3.0, 4.0])
    metrics = {
        "mean": {"false_positive_rate": 0.5},
        "std": {"false_positive_rate": 0.5},
        "categories": {
            "bolt": {"threshold": 1.0, "false_positive_rate": 1.0},
            "nut": {"threshold": 3.0, "false_positive_rate": 0.0},
        },
    }
    html = render(
        metrics=metrics,
        leaderboard=leaderboard_table(metrics),
        image_scores={"bolt": scores, "nut": good},
    )
    text = words(html)
    assert "every normal test image is a false alarm in bolt." in text
    assert text.count("every normal image is a false alarm") == 1
    assert leaderboard_of(html)["bolt"]["False alarms"] == "1.000"


def test_without_the_papers_figures_the_paper_is_not_mentioned() -> None:
    assert "paper" not in words(render()).lower()


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("image_auroc", "image AUROC"),
        ("aupro", "AUPRO"),
        ("f1", "F1"),
        ("images_per_second", "images/s"),
        ("top_k_ratio", "top k ratio"),
        ("paper_pixel_auroc", "pixel AUROC, paper"),
    ],
)
def test_a_metric_has_a_name_for_the_midst_of_a_sentence(key: str, label: str) -> None:
    assert metric_label(key) == label


def unlabelled(**changes: Any) -> str:
    """A report of new images, of which nobody knows what is right."""
    new: dict[str, Any] = {"defect": "new", "label": None}
    images = [
        image(image="low.png", score=1.0, error_margin=1.0, decision=0, **new),
        image(image="high.png", score=7.0, decision=1, remark="nearest: 3.png & more", **new),
        image(image="middle.png", score=3.0, error_margin=9.0, decision=0, **new),
    ]
    arguments: dict[str, Any] = {
        "metrics": None,
        "leaderboard": None,
        "galleries": {"bottle": images},
        "figures": {},
    }
    return render(**(arguments | changes))


def test_new_images_are_shown_highest_score_first() -> None:
    page = Page(unlabelled())
    assert "highest scores first" in page.text
    assert "worst mistakes" not in page.text
    cards = page.of("article")
    assert [card["data-score"] for card in cards] == ["7.0", "3.0", "1.0"]
    assert [card["data-verdict"] for card in cards] == ["flagged", "passed", "passed"]


def decisions_offered(html: str) -> set[str]:
    """What images can be filtered by besides their category, kind and views."""
    options = re.findall(r'<option value="([^"]+)">', html)
    return set(options) - {"image", "heat_map", "foreground"}


def test_new_images_are_flagged_or_passed_but_never_right_or_wrong() -> None:
    html = unlabelled()
    page = Page(html)
    assert "▲ flagged" in page.text
    assert "✓ passed" in page.text
    assert decisions_offered(html) == {"flagged", "passed"}
    for absent in ("missed", "false alarm", "right", "called", "by 0.5 sd", "outlined"):
        assert absent not in words(html).replace("From left to right", "")


def test_the_decisions_offered_are_those_that_occur() -> None:
    html = unlabelled(galleries={"bottle": [image(label=None, decision=0)]})
    assert decisions_offered(html) == {"passed"}


def test_labelled_images_can_be_filtered_by_their_mistakes() -> None:
    offered = {option.get("value") for option in Page(render()).of("option")}
    assert {"wrong", "missed", "false alarm", "right"} <= offered
    assert not {"flagged", "passed"} & offered


def test_a_remark_is_shown_where_there_is_one() -> None:
    page = Page(unlabelled())
    assert len(page.of("p", **{"class": "remark"})) == 1
    assert "nearest: 3.png & more" in page.text


def test_without_metrics_there_are_no_results() -> None:
    page = Page(unlabelled())
    assert not page.of("a", href="#results")
    assert not page.of("section", id="results")
    assert not page.of("table", id="leaderboard")
    assert "None" not in page.text


def test_further_facts_are_in_the_header() -> None:
    header = words(unlabelled(facts={"False alarms": "at most 5 % & fewer"}).partition("<main")[0])
    assert "False alarms at most 5 % & fewer" in header.replace("alarmsat", "alarms at")
    assert "untrained" in header


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def with_section(*tables: pd.DataFrame, **changes: Any) -> str:
    listed = [ReportTable(f"Table {number}", table) for number, table in enumerate(tables)]
    arguments = {"title": "Top-k ratio", "text": "As in Fig. 7.", "tables": listed} | changes
    return render(sections=[ReportSection(**arguments)])


def test_a_section_named_like_another_part_of_the_page_does_not_take_its_place() -> None:
    page = Page(render(sections=[ReportSection("Images"), ReportSection("结果")]))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(ids)


@pytest.mark.parametrize("columns", [[], ["value", "image_auroc"]])
def test_an_empty_table_renders(columns: Sequence[str]) -> None:
    assert "Table 0" in with_section(pd.DataFrame(columns=columns))


def test_words_are_aligned_as_text_and_numbers_are_not() -> None:
    table = pd.DataFrame({"image": ["a"], "score": [1.5], "normal_image": ["b.png"]})
    html = with_section(table)
    headers = Page(html).of("th", scope="col")[-5:-2]
    assert [header.get("class") for header in headers] == ["text", None, "text"]
    assert [cell["data-value"] for cell in Page(html).of("td", **{"class": "text"})] == ["b.png"]


def test_a_sections_figures_have_their_caption_as_alternative_text() -> None:
    html = with_section(figures={"Detection": png(500, 400), "Clusters": png(1000, 500)})
    page = Page(html)
    (small,), (wide,) = page.of("img", alt="Detection"), page.of("img", alt="Clusters")
    assert (small["width"], small["height"]) == ("500", "400")
    assert (wide["width"], wide["height"]) == ("1000", "500")
    assert [figure.get("class") for figure in page.of("figure")] == [None, "wide"]
    assert html.count("<figcaption>Detection</figcaption>") == 1


def test_hostile_sections_facts_and_remarks_are_only_ever_text() -> None:
    html = render(
        sections=[
            ReportSection(
                HOSTILE,
                HOSTILE,
                [ReportTable(HOSTILE, pd.DataFrame({HOSTILE: [HOSTILE], "b": [HOSTILE]}))],
                {HOSTILE: b"png"},
            )
        ],
        facts={HOSTILE: HOSTILE},
        galleries={"a": [image(remark=HOSTILE, views={"image": b"1", HOSTILE: b"2"})]},
    )
    assert HOSTILE not in html
    assert len(Page(html).of("script")) == 1


def test_the_glossary_explains_what_the_leaderboard_has() -> None:
    terms = [re.sub(r"\s", "", term) for term in re.findall(r"<dt>(.*?)</dt>", render())]
    assert "Paper" not in terms
    assert "<dt>Paper</dt>" in render(leaderboard=compared())
    clusters = pd.DataFrame({"category": ["a"], "nmi": [0.5], "ari": [0.5]})
    html = render(leaderboard=clusters)
    assert html.count("Normalised mutual information") == html.count("Adjusted Rand index") == 1
    assert "Adjusted Rand index" not in render()


@pytest.mark.parametrize("html", [render(), unlabelled()], ids=["labelled", "new"])
def test_no_link_leads_nowhere(html: str) -> None:
    page = Page(html)
    ids = {a["id"] for _, a in page.elements if "id" in a}
    links = {a["href"] for a in page.of("a")}
    assert len(links) >= 3
    assert links <= {f"#{name}" for name in ids}


def test_views_of_any_number_and_shape_get_one_height() -> None:
    views = {"image": png(20, 10), "heat_map": png(20, 10), "foreground": b"", "close": png(40, 10)}
    html = render(galleries={"bottle": [image(views=views), image()]}, figures={})
    shown = [(p["width"], p["height"]) for p in Page(html).of("img")][:4]
    assert shown == [("2000", "1000"), ("2000", "1000"), ("1000", "1000"), ("4000", "1000")]
    grid, *_ = [a["class"] for a in Page(html).of("div") if (a.get("class") or "")[:5] == "cards"]
    assert "broad" in (grid or "")
    assert 'class="cards"' in render()


# --- decisions ------------------------------------------------------------------------------------

SCORES = pd.DataFrame(
    {
        "image": list("abcdef"),
        "label": [0, 0, 0, 1, 1, 1],
        "score": np.array([1.0, 2.0, 12.5, 11.5, 12.0, 30.0], np.float32),
    }
)


def deciding(**changes: Any) -> str:
    """A report whose reader can try thresholds; cable has no threshold."""
    normal = SCORES[SCORES["label"] == 0]
    return render(**({"image_scores": {"bottle": SCORES, "cable": normal}} | changes))


def test_decisions_are_counted_at_each_categorys_threshold() -> None:
    html = deciding()
    (row,) = table_of(html, "Decisions of each category at the current thresholds")[:1]
    assert row == {
        "Category": "bottle", "Threshold": "12", "TP": "2", "FP": "1", "TN": "2", "FN": "1",
        "Precision": "0.667", "Recall": "0.667", "F1": "0.667", "Accuracy": "0.667",
    }  # fmt: skip
    assert "All test images are of one kind" in words(html)
    page = Page(html)
    assert len(page.of("details", **{"class": "decision"})) == 2
    # A slider for the category that has a threshold, and one beside the filters.
    assert len(page.of("input", type="range")) == 2


def test_scores_are_embedded_sorted_and_without_needless_digits() -> None:
    (embedded,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', deciding())
    assert json.loads(embedded) == {
        "bottle": {
            "threshold": 12.0,
            "spread": pytest.approx(SCORES["score"].std(ddof=0)),
            "normal": [1.0, 2.0, 12.5],
            "anomalous": [11.5, 12.0, 30.0],
        }
    }


def test_charts_say_what_they_show() -> None:
    page = Page(deciding())
    labels = [chart["aria-label"] for chart in page.of("svg", role="img")]
    assert labels == [
        "Score histogram of bottle: 3 normal and 3 anomalous images",
        "ROC curve of bottle, AUROC 0.990",
        "Precision-recall curve of bottle, ",
        "Score histogram of cable: 3 normal and 0 anomalous images",
    ]


def test_the_threshold_is_shown_once() -> None:
    assert "Threshold" in leaderboard_of(render())["bottle"]
    assert "Threshold" not in leaderboard_of(deciding())["bottle"]


def test_hostile_categories_cannot_leave_the_embedded_scores() -> None:
    metrics = {
        "mean": {},
        "std": {},
        "categories": {f"</script>{HOSTILE}": {"image_auroc": 1.0, "threshold": 12.0}},
    }
    html = deciding(
        metrics=metrics,
        leaderboard=leaderboard_table(metrics),
        image_scores={f"</script>{HOSTILE}": SCORES},
    )
    assert HOSTILE not in html
    assert [script.get("type") for script in Page(html).of("script")] == ["application/json", None]
    assert html.count("</script>") == 2


def test_seed_and_versions_are_named() -> None:
    text = words(render()).rpartition("Repeat this run")[2]
    assert re.search(r"Seed ?0", text)
    for name in ("Python", "torch", "kedro", "Machine"):
        assert name in text


def test_headings_are_in_order() -> None:
    html = deciding(sections=[section()], facts={"a": "b"})
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


# --- size -----------------------------------------------------------------------------------------

MVTEC_CATEGORIES, MVTEC_IMAGES = 15, 115


def photo(seed: int) -> bytes:
    """A view of a rough surface, which takes some 20 kB: more than most photographs."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC)) // 2
    return encode_jpeg(pixels + rng.integers(0, 12, pixels.shape, dtype=np.uint8))


def mvtec_sized() -> dict[str, Any]:
    """15 categories with 1,725 test images, every one of which has its three views drawn."""
    rng = np.random.default_rng(0)
    views = [
        dict(zip(("image", "heat_map", "foreground"), map(photo, range(n, n + 3)), strict=True))
        for n in (0, 3)
    ]
    galleries, image_scores, categories = {}, {}, {}
    for number in range(MVTEC_CATEGORIES):
        category = f"category {number}"
        labels = np.arange(MVTEC_IMAGES) % 4 > 0
        scores = rng.normal(np.where(labels, 20.0, 17.0), 1.0).astype(np.float32)
        defects = [f"defect {n % 5}" if label else "good" for n, label in enumerate(labels)]
        table = pd.DataFrame({"label": labels.astype(int), "score": scores, "defect": defects})
        table["image"] = [f"{category}/test/{kind}/{n}.png" for n, kind in enumerate(defects)]
        distances = error_margin(scores, labels.astype(int), 18.0)
        galleries[category] = [
            image(
                category,
                image=row.image,
                defect=row.defect,
                label=row.label,
                score=float(row.score),
                decision=int(row.score >= 18.0),
                error_margin=float(distance),
                views=views[n % 2],
            )
            for n, (row, distance) in enumerate(zip(table.itertuples(), distances, strict=True))
        ]
        image_scores[category] = table
        categories[category] = {"image_auroc": 0.9, "image_ap": 0.9, "threshold": 18.0}
    metrics = {"mean": {"image_auroc": 0.9}, "std": {"image_auroc": 0.0}, "categories": categories}
    return {
        "metrics": metrics,
        "leaderboard": leaderboard_table(metrics),
        "galleries": galleries,
        "image_scores": image_scores,
        "figures": {
            name: {"cluster_sheet": photo_png(600, number)}
            for number, name in enumerate(categories)
        },
    }


def photo_png(side: int, seed: int) -> bytes:
    """A large PNG such as a contact sheet of photographs."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_report_of_mvtecs_size_stays_below_the_limit() -> None:
    contents = mvtec_sized()
    html = render(**contents)
    size = len(html.encode())
    assert 0.9 * MAX_BYTES < size <= MAX_BYTES == 15_000_000
    images = [drawn for gallery in contents["galleries"].values() for drawn in gallery]
    cards = Page(html).of("article")
    left_out = len(images) - len(cards)
    assert left_out > 0
    assert f"{left_out:,} more were drawn but left out" in words(html)
    assert f"Shown are {len(cards):,} of 1,725 test images" in words(html)
    # Without pictures, all scores are there: 1,725 of them are small.
    assert '"category 14"' in html


def test_mistakes_are_never_left_out_for_images_that_are_right() -> None:
    contents = mvtec_sized()
    few = {
        category: [drawn for drawn in gallery if drawn.verdict == "right"]
        + [drawn for drawn in gallery if drawn.verdict != "right"][:3]
        for category, gallery in contents["galleries"].items()
    }
    cards = Page(render(**(contents | {"galleries": few}))).of("article")
    verdicts = [card["data-verdict"] for card in cards]
    drawn = [drawn.verdict != "right" for gallery in few.values() for drawn in gallery]
    assert sum(verdict != "right" for verdict in verdicts) == sum(drawn) > 2 * MVTEC_CATEGORIES
    assert sum(verdict == "right" for verdict in verdicts) >= MVTEC_CATEGORIES
    assert {card["data-category"] for card in cards} == set(few)


def test_the_limit_can_be_too_small_for_any_image() -> None:
    html = render(max_bytes=40_000)
    assert not Page(html).of("article")
    assert "no images" in words(html) or "left out" in words(html)


def test_a_large_sheet_of_photographs_is_embedded_as_jpeg() -> None:
    sheet = photo_png(600, 0)
    (picture,) = Page(render(figures={"bottle": {"cluster_sheet": sheet}}, galleries={})).of("img")
    assert (picture["src"] or "").startswith("data:image/jpeg;base64,")
    assert len(picture["src"] or "") < len(sheet) / 2


def test_drawings_are_told_from_photographs() -> None:
    """In the dark the colours of drawings are turned round; those of photographs must not be."""
    figure, _ = new_figure("a curve")
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    assert picture_kind(figure_png(figure)) == picture_kind(raw.getvalue()) == "drawing"
    photograph = io.BytesIO()
    Image.effect_noise((20, 10), 50).convert("RGB").save(photograph, "PNG")
    assert picture_kind(photograph.getvalue()) == picture_kind(b"no picture") == "photograph"
    html = render(
        figures={"bottle": {"cluster_figure": raw.getvalue(), "cluster_sheet": png(9, 9)}}
    )
    kinds = [p["class"] for p in Page(html).of("img") if "class" in p]
    assert kinds[:2] == ["drawing", "photograph"]
