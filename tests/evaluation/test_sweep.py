"""Many settings at once give what the separate steps give, and share what they have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from uniformaly_pipeline.evaluation import sweep
from uniformaly_pipeline.evaluation.category import anomaly_maps
from uniformaly_pipeline.evaluation.clustering import cluster, cluster_metrics
from uniformaly_pipeline.evaluation.sweep import (
    Setting,
    SweepInputs,
    ablation_settings,
    draw_images,
    evaluate_settings,
    image_features,
    lowshot_settings,
    summarise_sweep,
)
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.patches import score_patches
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
        "pixel_auroc": roc_auc_score(masks.ravel(), maps.ravel()),
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


def test_without_masks_or_kinds_their_figures_are_undefined(category: SweepInputs) -> None:
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
