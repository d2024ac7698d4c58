"""Sections of a report pass through JSON unchanged; score histograms know their groups."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.page.page import (
    ReportSection,
    ReportTable,
    ScoreHistogram,
    sections_from_json,
    sections_to_json,
)
from uniformaly_pipeline.reporting.page.sections import (
    ATTENTION_CAPTION,
    MOST_MASKED,
    ablation_sections,
    prediction_sections,
    shown_apart,
)
from uniformaly_pipeline.reporting.page.tables import table_view


def through_json(*sections: ReportSection) -> list[ReportSection]:
    """The sections as they come back from a file."""
    return sections_from_json(json.loads(json.dumps(sections_to_json(sections))))


def table_through_json(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it comes back from a file."""
    (section,) = through_json(ReportSection("S", tables=[ReportTable("T", table)]))
    (listed,) = section.tables
    return listed.table


def test_titles_texts_captions_and_their_order_come_back() -> None:
    first = ReportSection(
        "Größe & <more>",
        "One.\n\nTwo \"quoted\" 'words' \\ and ± signs.",
        [
            ReportTable("second in the alphabet", pd.DataFrame({"value": [1]})),
            ReportTable("first", pd.DataFrame({"value": [2]})),
        ],
        {"b": b"2", "a": b"1"},
    )
    back, empty = through_json(first, ReportSection("Alone"))
    assert (back.title, back.text) == (first.title, first.text)
    assert [listed.caption for listed in back.tables] == ["second in the alphabet", "first"]
    assert [int(listed.table["value"].iloc[0]) for listed in back.tables] == [1, 2]
    assert list(back.figures.items()) == [("b", b"2"), ("a", b"1")]
    assert empty == ReportSection("Alone", "", [], {})


def test_no_sections_come_back_as_none() -> None:
    assert through_json() == []


def test_pictures_come_back_byte_by_byte() -> None:
    content = bytes(range(256)) * 3 + b"\x89PNG\r\n\x1a\n\x00"
    (back,) = through_json(ReportSection("S", figures={"Map": content, "Empty": b""}))
    assert back.figures == {"Map": content, "Empty": b""}


def test_numbers_keep_all_their_digits() -> None:
    numbers = [0.12345678901234567, 1 / 3, 1e-14, 6.02214076e23, 1234567.8901234567, 5e-324, -0.1]
    table = pd.DataFrame({"value": numbers})
    assert table_through_json(table)["value"].tolist() == numbers


def test_single_precision_keeps_its_value() -> None:
    table = pd.DataFrame({"value": np.array([0.1, 1 / 3], np.float32)})
    assert table_through_json(table)["value"].tolist() == table["value"].tolist()


def test_whole_numbers_stay_whole_and_others_do_not_become_so() -> None:
    table = pd.DataFrame({"count": [2**53 + 1, 0], "ratio": [1.0, 0.0], "flagged": [True, False]})
    back = table_through_json(table)
    pd.testing.assert_frame_equal(back, table)
    assert back.loc[0, "count"] == 2**53 + 1


def test_a_column_of_texts_stays_one_even_where_the_texts_are_numbers() -> None:
    values = ["0.05", "1", "all", "2 3 4", "", "NaN", "2020-01-01", "null", "größe"]
    assert table_through_json(pd.DataFrame({"value": values}))["value"].tolist() == values


def test_texts_and_numbers_may_share_a_column() -> None:
    values: list[Any] = ["all", 3, np.int64(4), np.float64(0.25), None]
    back = table_through_json(pd.DataFrame({"value": pd.Series(values, dtype=object)}))
    assert back["value"].tolist() == ["all", 3, 4, 0.25, None]


@pytest.mark.parametrize("missing", [float("nan"), None, pd.NA])
def test_what_is_undefined_stays_so_beside_what_is_known(missing: Any) -> None:
    table = pd.DataFrame(
        {
            "value": ["a", "b"],
            "paper_nmi": pd.Series([0.5, missing], dtype=object),
            "nmi": [float("nan"), 0.25],
            "ari": [float("nan")] * 2,
            "remark": pd.Series(["x", missing], dtype=object),
        }
    )
    back = table_through_json(table)
    assert back["paper_nmi"].tolist()[0] == 0.5
    assert back["nmi"].tolist()[1] == 0.25
    assert back.isna().to_numpy().tolist() == table.isna().to_numpy().tolist()
    # A reader sees the same.
    assert table_view(back) == table_view(table)


def test_undefined_numbers_are_null_in_the_file() -> None:
    """JSON knows no NaN."""
    table = pd.DataFrame({"nmi": [float("nan"), 0.5]})
    stored = sections_to_json([ReportSection("S", tables=[ReportTable("T", table)])])
    json.dumps(stored, allow_nan=False)
    assert stored[0]["tables"][0]["data"] == [[None], [0.5]]


def test_columns_and_rows_keep_their_names_and_order() -> None:
    table = pd.DataFrame({"b": [1, 2], "a": [3, 4]}, index=[7, 5])
    pd.testing.assert_frame_equal(table_through_json(table), table)


def test_a_table_without_rows_keeps_its_columns() -> None:
    back = table_through_json(pd.DataFrame({"value": [], "nmi": []}))
    assert list(back.columns) == ["value", "nmi"]
    assert len(back) == 0


# --- histograms ---------------------------------------------------------------------------------


def histogram(scores: list[float], labels: list[int]) -> ScoreHistogram:
    return ScoreHistogram(
        "Scores", ("held-out normal", "new"), np.array(labels), np.array(scores), 2.0
    )


def test_a_histograms_key_names_both_groups_with_their_numbers() -> None:
    assert histogram([1, 2, 3, 9], [0, 1, 0, 0]).key == [
        ("normal", "held-out normal (3)"),
        ("anomalous", "new (1)"),
    ]


def test_a_histograms_key_counts_no_images_as_none() -> None:
    assert histogram([1, 2], [1, 1]).key == [
        ("normal", "held-out normal (0)"),
        ("anomalous", "new (2)"),
    ]


def test_a_histogram_draws_each_group_where_its_scores_are() -> None:
    one = histogram([0, 0, 0, 10], [0, 0, 0, 1]).chart
    assert one == histogram([10, 0, 0, 0], [1, 0, 0, 0]).chart
    assert one != histogram([0, 0, 0, 10], [1, 1, 1, 0]).chart
    assert one != histogram([0, 0, 5, 10], [0, 0, 0, 1]).chart


def test_views_of_single_images_stand_in_sections_of_their_own() -> None:
    """Not among the others' views: a filter would find them on one image of each category."""

    def image(name: str, *more: str) -> GalleryImage:
        shade = {view: 20 * number for number, view in enumerate(("image", "foreground", *more))}
        views = {
            view: encode_jpeg(np.full((64, 64, 3), 60 + grey, np.uint8))
            for view, grey in shade.items()
        }
        return GalleryImage(name, "nut", "hole", 1, 2.0, 1, 0.1, views, seen_share=0.5)

    steps = ("attention", "smoothed_attention")
    given = {
        f"nut {number}": [image(f"{number}.png", *steps, "looked_at"), image("other.png")]
        for number in range(MOST_MASKED + 2)
    }
    bare, (masking, places) = shown_apart(given)
    for gallery in bare.values():
        assert [set(each.views) for each in gallery] == [{"image", "foreground"}] * 2
    assert list(masking.figures) == [f"nut {n}: {n}.png" for n in range(MOST_MASKED)]
    with Image.open(BytesIO(masking.figures["nut 0: 0.png"])) as sheet:
        middles = [sheet.getpixel((8 + 80 + 168 * column, 80))[0] for column in range(4)]
    # The image, its attention, that smoothed, and what is kept.
    assert middles == pytest.approx([60, 100, 120, 80], abs=4)
    assert next(iter(places.figures)) == "nut 0: 50% of 0.png"
    assert shown_apart({"nut": [image("a.png")]})[1] == []


def test_how_the_attention_is_distributed_stands_below_the_steps_of_the_masking() -> None:
    picture = encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    views = dict.fromkeys(("image", "attention", "smoothed_attention", "foreground"), picture)
    drawn = {"nut": [GalleryImage("a.png", "nut", "hole", 1, 2.0, 1, 0.1, views)]}
    _, (masking,) = shown_apart(drawn, b"histogram")
    assert list(masking.figures) == ["nut: a.png", ATTENTION_CAPTION]
    assert masking.figures[ATTENTION_CAPTION] == b"histogram"
    assert "The bars show" in masking.text
    _, (masking,) = shown_apart(drawn)
    assert "The bars show" not in masking.text


def test_an_ablation_of_many_classes_stands_beside_the_papers_multi_class_rows(
    shipped: Parameters,
) -> None:
    """Table 9 has rows of its own for them, over all 15 categories."""
    raw = shipped.model_dump() | {"dataset": "mvtec", "backbone": "dino_vitb8"}
    parameters = parse_parameters(raw).resolved()
    sweep = pd.DataFrame(
        {
            "parameter": "bpm.kernel_size",
            "value": ["1", "7"],
            "num_categories": [15, 15],
            "image_auroc": [0.9, 0.99],
            "pixel_auroc": [0.9, 0.98],
        }
    )
    (many,) = ablation_sections(parameters, sweep, "multiclass_ablation")
    assert many.tables[0].table["paper_image_auroc"].tolist() == [0.9133, 0.9915]
    assert many.tables[0].table["paper_pixel_auroc"].tolist() == [0.9384, 0.9833]
    (one,) = ablation_sections(parameters, sweep)
    assert one.tables[0].table["paper_image_auroc"].tolist() == [0.93, 0.9932]
    # Another coreset ratio of such a bank is another method, and none of the other task's.
    changed = {**parameters["memory_bank"], "multiclass_coreset_ratio": 0.5}
    other = {**parameters, "memory_bank": changed}
    (many,) = ablation_sections(other, sweep, "multiclass_ablation")
    assert "paper_image_auroc" not in many.tables[0].table
    (one,) = ablation_sections(other, sweep)
    assert "paper_image_auroc" in one.tables[0].table


def test_p_values_have_the_digits_that_the_terminal_shows() -> None:
    scores = pd.DataFrame(
        {"image": ["a.png"], "score": [1.0], "p_value": [1 / 13], "flagged": [0], "x": [1],
         "y": [2], "normal_image": ["b.png"]}
    )  # fmt: skip
    known = pd.DataFrame({"image": ["b.png"], "score": [2.0]})
    metrics = {"num_calibration": 12, "false_alarm_rate": 0.1, "threshold": 3.0}
    (section,) = prediction_sections(scores, known, metrics)
    (table,) = section.tables
    assert [cell["text"] for cell in table_view(table.table)["body"][0]].count("0.0769") == 1
