"""The report in a real browser: what moves, what follows, and that nothing leaves the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.evaluation.category import image_metrics
from uniformaly_pipeline.evaluation.confusion import Confusion, confusion
from uniformaly_pipeline.evaluation.leaderboard import leaderboard_table
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage, build_gallery
from uniformaly_pipeline.reporting.page.page import render_report
from uniformaly_pipeline.reporting.page.sections import prediction_sections

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CATEGORIES = ("bolt", "denim", "leather & <hide>")
SIDE = 64
COMMAND = "kedro run --pipelines=defect --params=dataset=demo,backbone=quickstart"


def scores_of(seed: int) -> pd.DataFrame:
    """40 test images of four kinds, whose scores overlap."""
    rng = np.random.default_rng(seed)
    labels = np.array([0] * 16 + [1] * 24)
    kinds = ["good"] * 16 + ["crack", "stain", f"only {seed}"] * 8
    return pd.DataFrame(
        {
            "image": [f"test/{kind}/{n:03}.png" for n, kind in enumerate(kinds)],
            "label": labels,
            "score": rng.normal(100 + 25 * labels, 14).astype(np.float32),
            "defect": kinds,
        }
    )


def gallery_of(category: str, table: pd.DataFrame, threshold: float) -> list[GalleryImage]:
    """Pictures of a bright spot on a grey square."""
    spot = np.zeros((SIDE, SIDE), np.float32)
    spot[20:40, 24:44] = 1.0
    square = np.zeros((SIDE, SIDE), bool)
    square[8:56, 8:56] = True
    picture = np.where(square[..., None], 150, 60).astype(np.uint8).repeat(3, axis=2)
    return build_gallery(
        table,
        category=category,
        threshold=threshold,
        vmax=1.0,
        limit=24,
        load_image=lambda path: picture,
        load_mask=lambda path: None if "good" in path else spot > 0,
        anomaly_map=lambda path: spot,
        foreground=lambda path: square,
    )


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {category: scores_of(seed) for seed, category in enumerate(CATEGORIES)}


@pytest.fixture(scope="module")
def thresholds(tables: dict[str, pd.DataFrame]) -> dict[str, float]:
    return {name: float(image_metrics(table)["threshold"] or 0) for name, table in tables.items()}


@pytest.fixture(scope="module")
def report(
    tables: dict[str, pd.DataFrame],
    thresholds: dict[str, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A report on disk, as a run writes it."""
    categories: dict[str, Any] = {name: image_metrics(table) for name, table in tables.items()}
    mean = {"image_auroc": float(np.mean([c["image_auroc"] for c in categories.values()]))}
    metrics = {"mean": mean, "std": {"image_auroc": 0.01}, "categories": categories}
    html = render_report(
        title="defect on demo with quickstart",
        task="defect",
        dataset="demo",
        backbone="quickstart",
        metrics=metrics,
        leaderboard=leaderboard_table(metrics),
        galleries={name: gallery_of(name, tables[name], thresholds[name]) for name in tables},
        figures={},
        image_scores=tables,
        parameters={"seed": 0, "bpm": {"mode": "binary", "kernel_size": 7}, "dataset": "demo"},
        command=COMMAND,
        notes=["Made of synthetic scores."],
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture
def opened(page: Page, report: Path) -> Page:
    """The report, opened; it may fetch nothing but itself."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in requests if not url.startswith(("data:", report.as_uri()))] == []
    return page


def panel(page: Page, category: str) -> Locator:
    found = page.locator(f'.decision[data-category="{category}"]')
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    return found


def counts_in(root: Locator) -> Confusion:
    """The counts that a panel or a row shows."""
    return Confusion(
        **{
            name: int(root.locator(f"[data-number={name}]").inner_text().replace(",", ""))
            for name in ("tp", "fp", "tn", "fn")
        }
    )


def row_of(page: Page, category: str) -> Locator:
    return page.locator(f'#decision-table tr[data-category="{category}"]')


def expected(table: pd.DataFrame, threshold: float) -> Confusion:
    return confusion(table["label"].to_numpy(), table["score"].to_numpy(np.float64), threshold)


def shown_cards(page: Page) -> Locator:
    return page.locator(".card:visible")


def show_all(page: Page) -> None:
    while page.locator("#more").is_visible():
        page.locator("#more").click()


@pytest.mark.parametrize("category", CATEGORIES)
def test_counts_start_at_the_categorys_threshold(
    opened: Page, tables: Any, thresholds: Any, category: str
) -> None:
    wanted = expected(tables[category], thresholds[category])
    assert counts_in(panel(opened, category)) == wanted
    assert counts_in(row_of(opened, category)) == wanted


@pytest.mark.parametrize("percentile", [0, 10, 33.3, 50, 90, 100])
def test_counts_follow_the_threshold(opened: Page, tables: Any, percentile: float) -> None:
    table = tables["denim"]
    # Also exactly on a score: there the comparison must not round.
    for value in (
        float(np.percentile(table["score"].astype(float), percentile)),
        float(np.sort(table["score"])[int(percentile * 39 / 100)]),
    ):
        field = panel(opened, "denim").locator("[type=number]")
        field.fill(repr(value))
        wanted = expected(table, value)
        shown = panel(opened, "denim")
        assert counts_in(shown) == wanted
        assert counts_in(row_of(opened, "denim")) == wanted
        # The line that makes it permanent: "predict" flags what is above its threshold.
        for line in shown.locator("[data-kept]").all_inner_texts():
            kept = float(line)
            flagged = table["score"].to_numpy(np.float64) > kept
            assert int(flagged.sum()) == wanted.tp + wanted.fp
        assert shown.locator("[data-kept]").count() == 2
        for name in ("precision", "recall", "f1", "accuracy"):
            ratio = getattr(wanted, name)
            text = "–" if ratio is None else f"{ratio:.3f}"
            assert shown.locator(f"[data-number={name}]").inner_text() == text
    # The other categories stay as they are.
    assert row_of(opened, "bolt").locator("[data-number=threshold]").inner_text() != "0"


def test_the_slider_moves_by_keyboard(opened: Page, tables: Any) -> None:
    bolt = panel(opened, "bolt")
    bolt.locator("summary").focus()
    opened.keyboard.press("Tab")
    slider = bolt.locator(".scores [type=range]")
    assert slider.evaluate("element => element === document.activeElement")
    outline = slider.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline != "none"
    line = bolt.locator("line.threshold")
    before = float(line.get_attribute("x1") or 0)
    for _ in range(12):
        opened.keyboard.press("ArrowRight")
    value = float(bolt.locator("[type=number]").input_value())
    assert counts_in(bolt) == expected(tables["bolt"], float(slider.input_value()))
    assert value == pytest.approx(float(slider.input_value()), rel=1e-5)
    assert float(line.get_attribute("x1") or 0) > before
    assert "threshold" in bolt.locator("[role=status]").inner_text()
    opened.keyboard.press("Home")
    everything = counts_in(bolt)
    assert (everything.tn, everything.fn) == (0, 0)
    opened.keyboard.press("End")
    nothing = counts_in(bolt)
    assert (nothing.tp, nothing.fp) == (0, 0)
    assert bolt.locator("[data-number=precision]").inner_text() == "–"


def test_reset_goes_back_to_the_start(opened: Page, tables: Any, thresholds: Any) -> None:
    bolt = panel(opened, "bolt")
    reset = bolt.locator(".reset")
    assert reset.is_disabled()
    bolt.locator("[type=number]").fill("1")
    assert counts_in(bolt).tn == 0
    reset.click()
    assert counts_in(bolt) == expected(tables["bolt"], thresholds["bolt"])
    bolt.locator("[type=number]").fill("1")
    opened.locator("#reset-all").click()
    assert counts_in(bolt) == expected(tables["bolt"], thresholds["bolt"])
    # An empty field is no threshold.
    bolt.locator("[type=number]").fill("")
    assert counts_in(bolt) == expected(tables["bolt"], thresholds["bolt"])


def test_all_categories_together(opened: Page, tables: Any, thresholds: Any) -> None:
    panel(opened, "bolt").locator("[type=number]").fill("110")
    now = thresholds | {"bolt": 110.0}
    wanted = sum((expected(tables[c], now[c]) for c in CATEGORIES), Confusion(0, 0, 0, 0))
    assert counts_in(opened.locator("#decision-table tfoot tr")) == wanted


def test_marks_and_the_filter_follow_the_threshold(opened: Page, tables: Any) -> None:
    show_all(opened)
    opened.locator("select[name=category]").select_option("bolt")
    beside = opened.locator(".filters .controls")
    assert beside.is_visible()
    beside.locator("[type=number]").fill("140")
    beside.locator("[type=number]").press("Tab")
    drawn = opened.locator('.card[data-category="bolt"]')
    for card in drawn.all():
        score, label = (
            float(card.get_attribute("data-score") or 0),
            card.get_attribute("data-label"),
        )
        right = (score >= 140) == (label == "1")
        verdict = "right" if right else "missed" if label == "1" else "false alarm"
        assert card.get_attribute("data-verdict") == verdict
        assert verdict in card.locator(".verdict").inner_text()
        assert ("≥ 140" if score >= 140 else "< 140") in card.locator(".judgement").inner_text()
    assert counts_in(panel(opened, "bolt")) == expected(tables["bolt"], 140)
    opened.locator("select[name=verdict]").select_option("missed")
    shown = shown_cards(opened)
    assert shown.count() > 3
    assert {card.get_attribute("data-verdict") for card in shown.all()} == {"missed"}
    # Worst first at the new threshold.
    distances = [140 - float(card.get_attribute("data-score") or 0) for card in shown.all()]
    assert distances == sorted(distances, reverse=True)
    before = shown.count()
    beside.locator("[type=number]").fill("1")
    assert shown_cards(opened).count() == 0 < before
    assert "No image fits" in opened.locator(".filters output").inner_text()


def test_filters_combine_and_can_be_cleared(opened: Page) -> None:
    everything = shown_cards(opened).count()
    assert everything == 24
    opened.locator("select[name=category]").select_option("denim")
    opened.locator("select[name=defect]").select_option("crack")
    cards = shown_cards(opened)
    assert cards.count() > 0
    assert {c.get_attribute("data-category") for c in cards.all()} == {"denim"}
    assert {c.get_attribute("data-defect") for c in cards.all()} == {"crack"}
    # A kind of another category cannot be chosen.
    assert opened.locator("select[name=defect] option", has_text="only 0").is_disabled()
    opened.locator(".filters input[name=words]").fill("no such image")
    assert shown_cards(opened).count() == 0
    opened.locator(".filters [type=reset]").click()
    opened.wait_for_function("document.querySelectorAll('.card:not([hidden])').length === 24")
    opened.locator("select[name=view]").select_option("heat_map")
    pictures = opened.locator(".card:visible img:visible")
    assert pictures.count() == 24
    assert {p.get_attribute("data-view") for p in pictures.all()} == {"heat_map"}


def test_a_panel_leads_to_its_images(opened: Page) -> None:
    panel(opened, "denim").locator(".show").click()
    assert opened.locator("select[name=category]").input_value() == "denim"
    opened.wait_for_function(
        "[...document.querySelectorAll('.card:not([hidden])')]"
        ".every((card) => card.dataset.category === 'denim')"
    )


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_tables_are_sorted_by_keyboard(opened: Page, key: str) -> None:
    heading = opened.locator("#leaderboard thead th", has_text="AUROC")
    cells = opened.locator("#leaderboard tbody tr td:nth-child(2)")
    heading.locator("button").focus()
    opened.keyboard.press(key)
    assert heading.get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in cells.all_inner_texts()]
    assert values == sorted(values)
    opened.keyboard.press(key)
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in cells.all_inner_texts()] == values[::-1]
    # The summary stays below.
    assert opened.locator("#leaderboard tfoot tr").first.inner_text().startswith("mean")


def test_the_table_of_decisions_is_sorted_by_what_it_shows_now(opened: Page) -> None:
    panel(opened, "denim").locator("[type=number]").fill("1")
    opened.locator("#decision-table thead button", has_text="FP").click()
    opened.locator("#decision-table thead button", has_text="FP").click()
    assert opened.locator("#decision-table tbody tr").first.inner_text().startswith("denim")
    opened.locator("#decision-table tbody a", has_text="leather").click()
    assert opened.locator(".decision").nth(2).get_attribute("open") is not None


def test_the_command_can_be_copied(opened: Page) -> None:
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    assert opened.locator("#command").inner_text() == COMMAND
    opened.locator("#copy").click()
    opened.wait_for_function("document.querySelector('#copy').textContent !== 'Copy'")
    if opened.locator("#copy").inner_text() == "Copied":
        assert opened.evaluate("navigator.clipboard.readText()") == COMMAND
    else:
        assert opened.evaluate("getSelection().toString()") == COMMAND


def test_parameters_can_be_searched(opened: Page) -> None:
    opened.locator("#parameters summary").click()
    opened.locator("#parameters input").fill("bpm kernel")
    rows = opened.locator("#parameters tbody tr:visible")
    assert rows.all_inner_texts() == ["bpm.kernel_size\t7"]


def test_everything_to_operate_has_a_name(opened: Page) -> None:
    opened.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    opened.locator("select[name=category]").select_option("bolt")
    nameless = opened.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a, [role=img], img")]
            .filter((element) => element.checkVisibility())
            .filter((element) => !(element.ariaLabel || element.alt || element.textContent.trim() ||
                [...(element.labels ?? [])].some((label) => label.textContent.trim())))
            .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Page, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for what is drawn."""
    opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    ratios = opened.evaluate(
        """() => {
            const style = getComputedStyle(document.documentElement);
            const canvas = document.createElement("canvas").getContext("2d");
            const luminance = (name) => {
                canvas.fillStyle = style.getPropertyValue(name);
                const [r, g, b] = [1, 3, 5]
                    .map((i) => parseInt(canvas.fillStyle.slice(i, i + 2), 16) / 255)
                    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const contrast = (one, other) => {
                const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
                return (high + 0.05) / (low + 0.05);
            };
            const found = {};
            for (const ground of ["--page", "--surface"]) {
                for (const ink of ["--ink", "--soft", "--accent", "--wrong", "--right"]) {
                    found[`${ink} on ${ground}`] = contrast(ink, ground) / 4.5;
                }
                for (const ink of ["--normal", "--anomalous", "--field"]) {
                    found[`${ink} on ${ground}`] = contrast(ink, ground) / 3;
                }
            }
            found["--ink on --note"] = contrast("--ink", "--note") / 4.5;
            return found;
        }"""
    )
    assert {name: ratio for name, ratio in ratios.items() if ratio < 1} == {}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_it_fits_the_window(
    opened: Page, screenshot: Callable[..., Path], width: int, scheme: str
) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened.locator("select[name=category]").select_option("denim")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(f"report-{width}-{scheme}")
    for name in ("decisions", "images", "repeat"):
        opened.locator(f"#{name}").evaluate("element => element.scrollIntoView()")
        screenshot(f"report-{width}-{scheme}-{name}")


def test_the_contents_stay_in_view_and_cover_no_heading(opened: Page) -> None:
    contents = opened.locator("nav")
    for name in ("decisions", "images", "repeat"):
        contents.locator(f"a[href='#{name}']").click()
        bar, heading = contents.bounding_box(), opened.locator(f"#{name}-heading").bounding_box()
        assert bar is not None and heading is not None
        assert bar["y"] == 0
        assert bar["height"] <= heading["y"]


def test_a_table_wider_than_the_window_shows_that_it_scrolls(
    opened: Page, screenshot: Callable[..., Path]
) -> None:
    """A shade at the right edge, which the page's colour covers once all is scrolled to."""
    opened.set_viewport_size({"width": 400, "height": 900})
    table = opened.get_by_role("region", name="Leaderboard")
    table.scroll_into_view_if_needed()
    assert table.evaluate("element => element.scrollWidth > element.clientWidth")

    def edge(name: str) -> np.ndarray:
        """The last columns of pixels below the heading."""
        box = table.bounding_box()
        assert box is not None
        with Image.open(screenshot(name)) as picture:
            grey = np.asarray(picture.convert("L"), float)
        x, y = round(box["x"] + box["width"]), round(box["y"])
        return grey[y + 40 : y + round(box["height"]) - 4, x - 4 : x - 1].mean(axis=0)

    before = edge("report-400-table")
    table.evaluate("element => { element.scrollLeft = element.scrollWidth; }")
    after = edge("report-400-table-end")
    assert before[-1] < after[-1] - 20


def test_it_can_be_read_without_scripts(browser: Any, report: Path, tables: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".card").count() == 72
    assert page.locator(".filters, .controls, #copy").first.is_hidden()
    assert page.locator("#decision-table").is_visible()
    context.close()


def test_all_panels_are_printed(opened: Page) -> None:
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator(".decision:not([open])").count() == 0
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator(".decision[open]").count() == 1
    assert opened.pdf(format="A4").startswith(b"%PDF")


def test_on_a_phone_rows_are_low_and_an_option_stays_in_one_piece(
    page: Page, tmp_path: Path
) -> None:
    names = [f"misdrilled/{n:03}.png" for n in range(9)]
    scores = pd.DataFrame(
        {"image": names, "score": 200.5, "p_value": 1 / 13, "flagged": 1, "x": 1, "y": 2,
         "normal_image": [f"bolt/train/good/{name}" for name in names]}
    )  # fmt: skip
    known = pd.DataFrame({"image": ["good.png"], "score": [100.0]})
    rule = {"num_calibration": 12, "false_alarm_rate": 0.1, "threshold": 150.0}
    html = render_report(
        title="predict", task="predict", dataset="demo", backbone="quickstart", metrics=None,
        leaderboard=None, galleries={}, figures={}, parameters={}, command=COMMAND,
        notes=["For real work choose one of them such as --params=backbone=dino_vitb8."],
        sections=prediction_sections(scores, known, rule),
    )  # fmt: skip
    (path := tmp_path / "report.html").write_text(html, encoding="utf-8")
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(path.as_uri())
    one_line = 45
    code = page.locator(".notes code").bounding_box()
    head, row = (
        page.locator(f"table {part} tr").first.bounding_box() for part in ("thead", "tbody")
    )
    for box in (code, head, row):
        assert box is not None
        assert box["height"] < one_line
    assert code is not None
    assert code["height"] < 25
