"""Many settings at once give what the separate steps give, and share what they have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from uniformaly_pipeline.evaluation import sweep
from uniformaly_pipeline.evaluation.category import anomaly_maps, pixel_metrics
from uniformaly_pipeline.evaluation.clustering import choose_features, cluster, cluster_metrics
from uniformaly_pipeline.evaluation.image_metrics import best_f1
from uniformaly_pipeline.evaluation.sweep import (
    MULTICLASS_RATIO,
    Setting,
    SweepInputs,
    ablation_settings,
    draw_images,
    evaluate_settings,
    evaluate_shared_bank,
    image_features,
    lowshot_settings,
    own_values,
    summarise_sweep,
)
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.memory_bank.bank import (
    build_memory_bank,
    choose_points,
    collect_candidates,
)
from uniformaly_pipeline.scoring.methods.choice import METHODS, fit_model, scorer_of
from uniformaly_pipeline.scoring.methods.interface import FitSettings, SearchSettings
from uniformaly_pipeline.scoring.patches import score_by, score_patches
from uniformaly_pipeline.scoring.scores import image_scores

NORMAL = [f"normal {i}" for i in range(6)]
TESTED = [f"tested {i}" for i in range(8)]
LABELS = np.array([0, 1, 1, 0, 1, 0, 1, 0])
DEFECTS = ["good" if label == 0 else f"kind {i % 2}" for i, label in enumerate(LABELS)]
PREPROCESSING = Preprocessing(resize=None, crop=(16, 20))
BASE = Setting(
    parameter="",
    value="",
    masking=BackPatchMasking(kernel_size=1, threshold=0.05),
    coreset_ratio=0.3,
    top_k_ratio=0.1,
)


@pytest.fixture
def category(fake_encoder: Any, tmp_path: Path) -> SweepInputs:
    store = fake_encoder.store(tmp_path, [*NORMAL, *TESTED])
    masks = np.zeros((8, 16, 20), bool)
    masks[LABELS == 1, 4:9, 2:8] = True
    return SweepInputs(
        store=store,
        normal=[f"#{name}" for name in NORMAL],
        tested=[f"#{name}" for name in TESTED],
        labels=LABELS,
        defects=DEFECTS,
        masks=masks,
        preprocessing=PREPROCESSING,
        projection_dim=4,
    )


def step_by_step(category: SweepInputs, setting: Setting) -> dict[str, Any]:
    """The metrics of one setting, by the parts that the other pipelines use."""
    bank = build_memory_bank(
        category.store,
        draw_images(category.normal, setting.shots, category.seed, setting.draw),
        setting.masking,
        coreset_ratio=setting.coreset_ratio,
        projection_dim=category.projection_dim,
    ).arrays["memory_bank"]
    grids = score_patches(category.store, category.tested, bank, setting.masking).arrays[
        "patch_scores"
    ]
    flat = grids.reshape(len(grids), -1)
    maps = np.stack(list(anomaly_maps(grids, category.preprocessing)))
    masks = category.masks
    assert masks is not None
    chosen = image_features(
        category.store, category.tested, flat, setting.features, setting.top_k_ratio
    )
    return {
        "bank_size": len(bank),
        "image_auroc": roc_auc_score(LABELS, image_scores(flat, setting.top_k_ratio)),
        "image_ap": average_precision_score(LABELS, image_scores(flat, setting.top_k_ratio)),
        "image_f1_max": best_f1(LABELS, image_scores(flat, setting.top_k_ratio))[0],
        "pixel_auroc": roc_auc_score(masks.ravel(), maps.ravel()),
        "pixel_ap": average_precision_score(masks.ravel(), maps.ravel()),
        "aupro": pixel_metrics(masks, maps)["aupro"],
        **cluster_metrics(DEFECTS, cluster(chosen, 3)),
    }


SETTINGS = [
    BASE,
    replace(BASE, top_k_ratio=0.5),
    replace(BASE, coreset_ratio=0.1),
    replace(BASE, coreset_ratio=1.0),
    replace(BASE, masking=BackPatchMasking(kernel_size=3, threshold=0.2)),
    replace(BASE, masking=BackPatchMasking(mode="soft", kernel_size=3)),
    replace(BASE, masking=BackPatchMasking(mode="soft", kernel_size=1)),
    replace(BASE, masking=BackPatchMasking(mode="off")),
    replace(BASE, features="max"),
    replace(BASE, features="all"),
    replace(BASE, shots=2),
    replace(BASE, shots=2, draw=1),
]


def test_every_setting_equals_its_own_run(category: SweepInputs) -> None:
    table = evaluate_settings(category, SETTINGS)
    assert len(table) == len(SETTINGS)
    for row, setting in zip(table.to_dict("records"), SETTINGS, strict=True):
        expected = step_by_step(category, setting)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9), setting


def part_of(category: SweepInputs, part: slice) -> SweepInputs:
    """A category with some of the test images; their masks are there for all or none."""
    masks = category.masks
    assert masks is not None
    return replace(
        category,
        tested=category.tested[part],
        labels=category.labels[part],
        defects=category.defects[part],
        masks=masks[part],
    )


def test_categories_with_one_bank_get_what_each_would_alone(
    category: SweepInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the bank of each setting is chosen once for both."""
    apart = {"one": part_of(category, slice(0, 3)), "two": part_of(category, slice(3, 8))}
    expected = {name: evaluate_settings(inputs, SETTINGS) for name, inputs in apart.items()}
    chosen: list[int] = []
    choose = sweep.choose_points

    def counted(points: np.ndarray, *more: Any, **named: Any) -> Any:
        chosen.append(len(points))
        return choose(points, *more, **named)

    monkeypatch.setattr(sweep, "choose_points", counted)
    evaluate_settings(category, SETTINGS)
    alone = len(chosen)
    found = evaluate_shared_bank(apart, SETTINGS)
    assert len(chosen) == 2 * alone
    assert list(found) == ["one", "two"]
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)


def test_methods_with_image_scores_of_their_own_may_share_a_bank(category: SweepInputs) -> None:
    apart = {"one": part_of(category, slice(0, 3)), "two": part_of(category, slice(3, 8))}
    settings = ablation_settings(BASE, {"method": ["patchcore", "mean_patch_knn"]})
    found = evaluate_shared_bank(apart, settings)
    for name, inputs in apart.items():
        pd.testing.assert_frame_equal(found[name], evaluate_settings(inputs, settings))


def test_one_bank_is_of_the_same_images(category: SweepInputs) -> None:
    other = replace(category, normal=category.normal[1:])
    with pytest.raises(ValueError, match="the same normal images"):
        evaluate_shared_bank({"one": category, "two": other}, [BASE])


@pytest.mark.parametrize("method", ["patchcore", "anomalydino", "padim", "mean_patch_knn"])
def test_other_methods_equal_their_own_run(method: Any, category: SweepInputs) -> None:
    """Beside the paper's own, whose masking they do not take over."""
    (setting,) = ablation_settings(BASE, {"method": [method]})
    assert (setting.parameter, setting.value) == ("scoring.method", method)
    table = evaluate_settings(category, [BASE, setting, replace(setting, coreset_ratio=1.0)])
    off = replace(BASE.masking, mode="off")
    model = fit_model(
        method, category.store, category.normal, off,
        FitSettings(coreset_ratio=BASE.coreset_ratio, projection_dim=4),
    )  # fmt: skip
    scored = score_by(
        lambda: scorer_of(method, model, SearchSettings()), category.store, category.tested, off
    ).arrays
    row = table.iloc[1]
    assert row["image_auroc"] == roc_auc_score(LABELS, scored["image_scores"])
    assert row["bank_size"] == len(model.arrays["memory_bank"])
    has_coreset = METHODS[method].compares_patches
    assert (row["bank_size"] < table.iloc[2]["bank_size"]) == has_coreset
    pixels = ["pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "nmi"]
    if method == "mean_patch_knn":  # it does not say where
        assert row[pixels].isna().all()
        return
    maps = np.stack(list(anomaly_maps(scored["patch_scores"], category.preprocessing)))
    assert category.masks is not None
    assert row["pixel_auroc"] == pytest.approx(
        roc_auc_score(category.masks.ravel(), maps.ravel()), abs=1e-9
    )
    assert row[pixels].notna().all()


def test_a_method_keeps_a_masking_that_was_asked_for() -> None:
    off = replace(BASE, masking=replace(BASE.masking, mode="off"))
    tried = ablation_settings(off, {"method": ["uniformaly", "padim"]})
    assert [setting.masking.mode for setting in tried] == ["off", "off"]
    tried = ablation_settings(replace(off, method="padim"), {"method": ["uniformaly", "padim"]})
    assert [setting.masking.mode for setting in tried] == ["binary", "off"]


def test_the_order_of_the_settings_does_not_matter(category: SweepInputs) -> None:
    forwards = evaluate_settings(category, SETTINGS)
    backwards = evaluate_settings(category, SETTINGS[::-1])
    pd.testing.assert_frame_equal(forwards, backwards[::-1].reset_index(drop=True))


def test_banks_are_built_once_for_what_settings_share(
    category: SweepInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two different foregrounds: two coresets, and a search for each bank; soft shares off's."""
    calls = {"choose_points": 0, "score_patches": 0}
    for name in calls:
        original = getattr(sweep, name)

        def counted(*args: Any, name: str = name, original: Any = original, **more: Any) -> Any:
            calls[name] += 1
            return original(*args, **more)

        monkeypatch.setattr(sweep, name, counted)
    same = BackPatchMasking(kernel_size=1, threshold=0.0501)
    ratios = [replace(BASE, top_k_ratio=ratio) for ratio in (0.1, 0.2, 0.3, 0.4)]
    evaluate_settings(
        category,
        [
            *ratios,
            replace(BASE, masking=same),
            replace(BASE, coreset_ratio=0.1),
            replace(BASE, masking=BackPatchMasking(mode="off")),
            replace(BASE, masking=BackPatchMasking(mode="off"), features="all"),
            replace(BASE, masking=BackPatchMasking(mode="soft", kernel_size=3)),
            replace(BASE, masking=BackPatchMasking(mode="soft", kernel_size=1)),
        ],
    )
    assert calls == {"choose_points": 2, "score_patches": 3}


def test_without_masks_or_kinds_their_metrics_are_undefined(category: SweepInputs) -> None:
    row = evaluate_settings(replace(category, masks=None, defects=()), [BASE]).iloc[0]
    assert row[["pixel_auroc", "nmi", "ari", "f1"]].isna().all()
    assert 0 <= row["image_auroc"] <= 1


def test_ablation_varies_one_parameter_at_a_time() -> None:
    settings = ablation_settings(
        BASE,
        {
            "top_k_ratio": [0.05, 0.2],
            "mode": ["soft"],
            "threshold": [0.3],
            "layers": [[3, 2]],
            "features": ["max"],
        },
    )
    assert [(s.parameter, s.value) for s in settings] == [
        ("scoring.top_k_ratio", "0.05"),
        ("scoring.top_k_ratio", "0.2"),
        ("bpm.mode", "soft"),
        ("bpm.threshold", "0.3"),
        ("backbone.layers", "3 2"),
        ("clustering.features", "max"),
    ]
    plain = [replace(setting, parameter="", value="") for setting in settings]
    assert plain == [
        replace(BASE, top_k_ratio=0.05),
        replace(BASE, top_k_ratio=0.2),
        replace(BASE, masking=replace(BASE.masking, mode="soft")),
        replace(BASE, masking=replace(BASE.masking, threshold=0.3)),
        replace(BASE, layers=(2, 3)),
        replace(BASE, features="max"),
    ]


def test_shots_that_are_not_there_are_left_out_and_all_is_drawn_once() -> None:
    settings = lowshot_settings(BASE, [1, 5, 6, 50, "all"], num_draws=2, num_normal=6)
    assert [(s.value, s.shots, s.draw) for s in settings] == [
        ("1", 1, 0), ("1", 1, 1), ("5", 5, 0), ("5", 5, 1), ("all", None, 0),
    ]  # fmt: skip


def test_draws_are_seeded_different_and_grow() -> None:
    names = [f"{i:02d}" for i in range(30)]
    few, many = draw_images(names, 3, 0, 0), draw_images(names, 10, 0, 0)
    assert len(set(few)) == 3
    assert set(few) < set(many) < set(names)
    assert few == draw_images(names, 3, 0, 0)
    assert set(many) != set(draw_images(names, 10, 0, 1))
    assert set(many) != set(draw_images(names, 10, 1, 0))
    assert draw_images(names, None, 0, 2) == names


def table(rows: list[tuple[str, int, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["value", "draw", "image_auroc"])
    empty = {name: float("nan") for name in ("pixel_auroc", "nmi", "ari", "f1")}
    return frame.assign(parameter="lowshot.shots", bank_size=1, **empty)


def test_summaries_spread_over_draws_or_over_categories() -> None:
    tables = {
        "a": table([("1", 0, 0.5), ("1", 1, 0.7), ("9", 0, 0.9), ("9", 1, 0.9)]),
        "b": table([("1", 0, 0.7), ("1", 1, 0.9)]),
    }
    over_draws = summarise_sweep(tables, spread_over_draws=True)
    assert list(over_draws["value"]) == ["1", "9"]
    assert list(over_draws["num_categories"]) == [2, 1]
    assert list(over_draws["image_auroc"]) == pytest.approx([0.7, 0.9])
    assert list(over_draws["image_auroc_std"]) == pytest.approx([0.1, 0.0])
    assert "pixel_auroc" not in over_draws
    over_categories = summarise_sweep(tables, spread_over_draws=False)
    assert list(over_categories["image_auroc"]) == pytest.approx([0.7, 0.9])
    assert list(over_categories["image_auroc_std"]) == pytest.approx([0.1, 0.0])


def test_a_small_category_first_does_not_disturb_the_order() -> None:
    tables = {
        "small": table([("1", 0, 0.5), ("all", 0, 0.7)]),
        "large": table([("1", 0, 0.5), ("10", 0, 0.6), ("all", 0, 0.7)]),
    }
    summary = summarise_sweep(tables, spread_over_draws=True)
    assert list(summary["value"]) == ["1", "10", "all"]


# --- what a category brings along -----------------------------------------------------------------


def test_blocks_are_those_of_the_setting(category: SweepInputs, fake_encoder: Any) -> None:
    store = fake_encoder.store(
        category.store.path.parent / "blocks", [*NORMAL, *TESTED], layer_choices=[[1], [2, 3]]
    )
    choices = [replace(BASE, layers=layers) for layers in ((2, 3), (1,))]
    table = evaluate_settings(replace(category, store=store), choices)
    for row, setting in zip(table.to_dict("records"), choices, strict=True):
        assert setting.layers is not None
        part = replace(category, store=store.with_layers(setting.layers))
        expected = step_by_step(part, setting)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert table["pixel_auroc"].nunique() == 2


@pytest.mark.parametrize("mode", ["binary", "soft"])
def test_banks_are_in_the_precision_in_which_they_would_be_stored(
    mode: Any, category: SweepInputs, fake_encoder: Any
) -> None:
    store = fake_encoder.store(
        category.store.path.parent / "half", [*NORMAL, *TESTED], dtype="float16"
    )
    half = replace(category, store=store)
    setting = replace(BASE, masking=replace(BASE.masking, mode=mode))
    with pytest.MonkeyPatch.context() as patch:
        banks: list[np.ndarray] = []

        def spy(store: Any, hashes: Any, bank: np.ndarray, *rest: Any, **options: Any) -> Any:
            banks.append(bank)
            return score_patches(store, hashes, bank, *rest, **options)

        patch.setattr(sweep, "score_patches", spy)
        evaluate_settings(half, [setting])
    stored = build_memory_bank(
        store, half.normal, setting.masking, coreset_ratio=0.3, projection_dim=4
    ).arrays["memory_bank"]
    assert banks[0].dtype == stored.dtype == "float16"
    assert (banks[0] == stored).all()


@pytest.mark.parametrize("parts", [1, 3])
def test_coresets_and_searches_are_those_that_the_category_asks_for(
    parts: int, category: SweepInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Any] = []
    searched: list[Any] = []

    def choose(points: np.ndarray, ratio: float, **options: Any) -> Any:
        chosen.append((ratio, options))
        return choose_points(points, ratio, **options)

    def score(*arguments: Any, **options: Any) -> Any:
        searched.append(options)
        return score_patches(*arguments, **options)

    monkeypatch.setattr(sweep, "choose_points", choose)
    monkeypatch.setattr(sweep, "score_patches", score)
    asked = replace(
        category, coreset_parts=parts, num_starts=4, seed=5, search="IVF2,Flat", num_neighbors=2,
        device="auto",
    )  # fmt: skip
    ratios = [0.5, 0.1, 1.0, 0.3]
    evaluate_settings(asked, [replace(BASE, coreset_ratio=ratio) for ratio in ratios])
    options = {"num_starts": 4, "parts": parts, "seed": 5, "device": "auto"}
    # The largest greedy coreset begins with the others; in two rounds each is chosen anew.
    assert chosen == [(ratio, options) for ratio in ([0.5] if parts == 1 else [0.1, 0.3, 0.5])]
    assert searched == [{"search": "IVF2,Flat", "num_neighbors": 2}] * 4


def test_by_default_a_category_is_evaluated_as_a_run_is(category: SweepInputs) -> None:
    plain = SweepInputs(category.store, category.normal, category.tested, LABELS)
    assert (plain.seed, plain.projection_dim, plain.num_starts) == (0, 128, 10)
    assert (plain.coreset_parts, plain.search, plain.num_neighbors) == (1, "Flat", 1)
    assert (plain.device, plain.masks, plain.preprocessing) == ("cpu", None, Preprocessing())
    assert len(plain.defects) == 0


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_two_rounds_give_each_ratio_its_own_bank(ratio: float, category: SweepInputs) -> None:
    settings = [replace(BASE, coreset_ratio=r) for r in (0.1, 0.5, 1.0)]
    table = evaluate_settings(replace(category, coreset_parts=3), settings)
    bank = build_memory_bank(
        category.store, category.normal, BASE.masking,
        coreset_ratio=ratio, projection_dim=4, coreset_parts=3,
    ).arrays["memory_bank"]  # fmt: skip
    grids = score_patches(category.store, category.tested, bank, BASE.masking)
    flat = grids.arrays["patch_scores"].reshape(8, -1)
    row = table.iloc[0 if ratio == 0.1 else 1]
    assert row["bank_size"] == len(bank)
    assert row["image_auroc"] == pytest.approx(roc_auc_score(LABELS, image_scores(flat, 0.1)))


def test_the_seed_of_the_category_decides_the_draws_and_the_projection(
    category: SweepInputs,
) -> None:
    shots = [replace(BASE, shots=2, draw=draw) for draw in range(3)]
    other = replace(category, seed=9)
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:

        def spy(store: Any, hashes: Any, masking: Any, dim: int, seed: int) -> Any:
            drawn.append((list(hashes), dim, seed))
            return collect_candidates(store, hashes, masking, dim, seed)

        patch.setattr(sweep, "collect_candidates", spy)
        evaluate_settings(other, shots)
    assert drawn == [(draw_images(other.normal, 2, 9, draw), 4, 9) for draw in range(3)]
    assert drawn[0] != drawn[1]


def test_maskings_of_one_effect_share_a_bank_and_others_do_not(
    category: SweepInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All soft maskings and none keep every patch; another threshold keeps others."""
    soft = BackPatchMasking(mode="soft", kernel_size=3)
    binary = BackPatchMasking(kernel_size=1, threshold=0.2)
    searches: list[Any] = []

    def score(store: Any, hashes: Any, bank: Any, masking: Any, **options: Any) -> Any:
        searches.append(masking.mode)
        return score_patches(store, hashes, bank, masking, **options)

    monkeypatch.setattr(sweep, "score_patches", score)
    maskings = [soft, replace(soft, kernel_size=1), binary, replace(binary, threshold=0.6)]
    evaluate_settings(category, [replace(BASE, masking=masking) for masking in maskings])
    assert searches == ["off", "binary", "binary"]


# --- tables ---------------------------------------------------------------------------------------


def test_a_row_says_which_setting_it_is_of(category: SweepInputs) -> None:
    settings = [
        replace(BASE, parameter="a", value="1", shots=2, draw=1),
        replace(BASE, parameter="b", value="2"),
    ]
    table = evaluate_settings(category, settings)
    assert table.columns.tolist() == [
        "parameter", "value", "draw", "bank_size",
        "image_auroc", "image_ap", "image_f1_max",
        "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "nmi", "ari", "f1",
    ]  # fmt: skip
    assert table["parameter"].tolist() == ["a", "b"]
    assert table["value"].tolist() == ["1", "2"]
    assert table["draw"].tolist() == [1, 0]
    undefined = evaluate_settings(replace(category, masks=None, defects=()), settings)
    for name in ("image_auroc", "pixel_auroc", "nmi", "ari", "f1"):
        assert undefined[name].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "choice", "parameter", "value", "changed"),
    [
        ("kernel_size", 5, "bpm.kernel_size", "5",
         replace(BASE, masking=replace(BASE.masking, kernel_size=5))),
        ("coreset_ratio", 0.25, "memory_bank.coreset_ratio", "0.25",
         replace(BASE, coreset_ratio=0.25)),
        ("coreset_ratio", 1.0, "memory_bank.coreset_ratio", "1", replace(BASE, coreset_ratio=1.0)),
        ("layers", (3, 3, 1), "backbone.layers", "3 3 1", replace(BASE, layers=(1, 3))),
    ],
)  # fmt: skip
def test_an_ablation_names_the_parameter_and_its_value(
    name: str, choice: Any, parameter: str, value: str, changed: Setting
) -> None:
    (setting,) = ablation_settings(BASE, {name: [choice]})
    assert setting == replace(changed, parameter=parameter, value=value)


def test_low_shots_change_nothing_but_the_shots() -> None:
    settings = lowshot_settings(replace(BASE, top_k_ratio=0.7), ["2"], num_draws=1, num_normal=3)
    assert settings == [
        replace(BASE, top_k_ratio=0.7, parameter="lowshot.shots", value="2", shots=2)
    ]
    (every,) = lowshot_settings(BASE, ["all"], num_draws=4, num_normal=3)
    assert every == replace(BASE, parameter="lowshot.shots", value="all")
    assert lowshot_settings(BASE, [3, 4], num_draws=2, num_normal=3) == []


def test_draws_keep_the_order_of_the_images() -> None:
    names = [f"{i:02d}" for i in range(30)]
    assert draw_images(names, 9, 0, 0) == sorted(draw_images(names, 9, 0, 0))
    assert draw_images(names, 0, 0, 0) == []


@pytest.mark.parametrize("choice", ["top_k", "max", "all"])
def test_features_of_images_are_those_of_each_image_however_they_are_read(
    choice: Any, category: SweepInputs, fake_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "IMAGES_AT_ONCE", 3)
    scores = np.random.default_rng(0).random((8, 20)).astype(np.float32)
    found = image_features(category.store, category.tested, scores, choice, 0.2)
    expected = [
        choose_features(fake_encoder.features(name), row, choice, 0.2)
        for name, row in zip(TESTED, scores, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_deviation_over_categories_is_not_one_over_draws() -> None:
    tables = {
        "a": table([("1", 0, 0.5), ("1", 1, 0.9)]),
        "b": table([("1", 0, 0.6), ("1", 1, 1.0)]),
    }
    over_draws = summarise_sweep(tables, spread_over_draws=True)
    assert over_draws["image_auroc_std"].tolist() == pytest.approx([0.2])
    over_categories = summarise_sweep(tables, spread_over_draws=False)
    assert over_categories["image_auroc_std"].tolist() == pytest.approx([0.05])
    for summary in (over_draws, over_categories):
        assert summary["image_auroc"].tolist() == pytest.approx([0.75])
        assert summary.columns.tolist() == [
            "parameter", "value", "num_categories", "image_auroc", "image_auroc_std",
        ]  # fmt: skip
        assert summary["parameter"].tolist() == ["lowshot.shots"]


def test_metrics_and_deviations_alternate_and_some_may_be_undefined_somewhere() -> None:
    first = table([("1", 0, 0.5)]).assign(nmi=0.25)
    second = table([("1", 0, 0.7)])
    summary = summarise_sweep({"a": first, "b": second}, spread_over_draws=False)
    assert summary.columns.tolist()[3:] == [
        "image_auroc", "image_auroc_std", "nmi", "nmi_std", "nmi_count",
    ]  # fmt: skip
    assert summary["nmi_count"].tolist() == [1]
    assert summary["nmi"].tolist() == [0.25]
    assert summary["nmi_std"].tolist() == [0.0]


def test_metrics_that_no_category_has_are_left_out() -> None:
    alone = table([("1", 0, np.nan)])
    summary = summarise_sweep({"a": alone, "b": alone}, spread_over_draws=False)
    assert summary.to_dict("records") == [
        {"parameter": "lowshot.shots", "value": "1", "num_categories": 2}
    ]


def test_a_metric_that_a_setting_lacks_everywhere_is_no_partial_mean(category: SweepInputs) -> None:
    settings = ablation_settings(BASE, {"method": ["padim", "mean_patch_knn"]})
    table = evaluate_settings(category, settings)
    found = summarise_sweep({"nut": table, "bolt": table}, spread_over_draws=False)
    assert not [name for name in found if name.endswith("_count")]
    assert found["pixel_auroc"].isna().tolist() == [False, True]


def test_a_setting_that_the_longest_list_lacks_comes_last() -> None:
    tables = {
        "odd": table([("odd", 0, 0.5), ("1", 0, 0.7)]),
        "long": table([("1", 0, 0.5), ("9", 0, 0.6), ("5", 0, 0.7)]),
    }
    summary = summarise_sweep(tables, spread_over_draws=True)
    assert summary["value"].tolist() == ["1", "9", "5", "odd"]
    assert summary["num_categories"].tolist() == [2, 1, 1, 1]
    assert summary["image_auroc_count"].tolist() == [2, 1, 1, 1]
    assert summary.index.tolist() == [0, 1, 2, 3]


def test_one_image_is_not_taken_for_all_of_them(category: SweepInputs) -> None:
    settings = [replace(BASE, shots=1), BASE, replace(BASE, shots=1, draw=1)]
    table = evaluate_settings(category, settings)
    for row, setting in zip(table.to_dict("records"), settings, strict=True):
        expected = step_by_step(category, setting)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert table["bank_size"][0] < table["bank_size"][1]


def test_the_own_values_are_written_as_the_rows_that_have_them() -> None:
    """So that the row of the run's own setting is found, whatever type its value is of."""
    parameters = {
        "backbone": "vit",
        "backbones": {"vit": {"layers": [11, 2, 11]}},
        "bpm": {"kernel_size": 7, "threshold": 0.10, "mode": "soft"},
        "scoring": {"top_k_ratio": 0.05, "method": "uniformaly"},
        "clustering": {"features": "max"},
        "memory_bank": {"coreset_ratio": 1.0, "multiclass_coreset_ratio": 0.05},
    }
    values = {
        "layers": [[2, 11]],
        "kernel_size": [7],
        "threshold": [0.1],
        "mode": ["soft"],
        "top_k_ratio": [0.05],
        "features": ["max"],
        "coreset_ratio": [1.0],
        "method": ["uniformaly"],
    }
    rows = {setting.parameter: setting.value for setting in ablation_settings(BASE, values)}
    assert own_values(parameters) == rows | {MULTICLASS_RATIO: "0.05"}
