"""What a reader finds in the report, and what must never be in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from uniformaly_pipeline.gallery import GalleryImage
from uniformaly_pipeline.report import leaderboard_table, render_report

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
        "wrongness": 0.5,
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
        "galleries": {"bottle": [image()], "cable": [image("cable", decision=1, wrongness=-2.0)]},
        "figures": {"bottle": {"roc": b"png"}, "cable": {"roc": b"png", "score_map": b"png"}},
        "parameters": {"seed": 0, "bpm": {"mode": "binary", "kernel_size": 7}, "categories": []},
        "command": "kedro run --pipeline=defect --params=dataset=demo",
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
    assert not re.search(r"@import|url\(", render())
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
        assert page.of("img", alt=f"ROC curve of {category}")
        assert page.text.count(category) >= 3


def test_headline_shows_mean_and_spread_and_dashes_for_what_is_undefined() -> None:
    metrics = METRICS | {"mean": METRICS["mean"] | {"aupro": None}}
    text = " ".join(Page(render(metrics=metrics)).text.split())
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
        "bottle": [image(wrongness=0.5), image(wrongness=-3.0, decision=1)],
        "cable": [image("cable", wrongness=2.0), image("cable", wrongness=0.0, decision=1)],
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
            image(decision=None, wrongness=0.0),
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
    assert html.count("<label>") == len(page.of("select")) == 3
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
