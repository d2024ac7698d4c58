"""Methods by name: what each can do, and that the models of two are never mixed."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from tests.scoring.methods.conftest import ALL, NORMAL
from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.methods.choice import (
    METHODS,
    check_compares_patches,
    localises,
    scorer_of,
)
from uniformaly_pipeline.scoring.methods.interface import (
    MethodName,
    SearchSettings,
    default_mode,
)
from uniformaly_pipeline.scoring.scores import image_scores, scores_of_images


def test_every_method_has_its_entry() -> None:
    assert set(METHODS) == set(get_args(MethodName))


def test_only_the_papers_method_masks_unasked() -> None:
    assert {name for name in METHODS if default_mode(name) == "binary"} == {"uniformaly"}  # type: ignore[arg-type]


def test_the_papers_bank_says_nothing_of_its_method(store: Any, fit: Any) -> None:
    """So that it is the same file as before there were others."""
    plain = build_memory_bank(store, [f"#{name}" for name in NORMAL], ALL, coreset_ratio=0.2)
    model = fit("uniformaly", coreset_ratio=0.2)
    assert model.metadata == plain.metadata
    assert (model.arrays["memory_bank"] == plain.arrays["memory_bank"]).all()


@pytest.mark.parametrize("made_by", ["uniformaly", "anomalydino"])
def test_the_model_of_another_method_is_refused(made_by: str, fit: Any) -> None:
    with pytest.raises(InputError, match=r"other method \(scoring\.method\) than this run's"):
        scorer_of("patchcore", fit(made_by), SearchSettings())


@pytest.mark.parametrize("method", METHODS)
def test_a_model_says_what_images_to_come_need(method: Any, fit: Any) -> None:
    from uniformaly_pipeline.ingestion.levels import Levels
    from uniformaly_pipeline.memory_bank.bank import bank_images, bank_levels

    levels = Levels((0, 4095))
    model = fit(method, seed=3, levels={"nut": levels})
    assert bank_levels(model, "nut") == levels
    assert bank_images(model) == [f"#{name}" for name in NORMAL]
    assert model.metadata["seed"] == 3
    assert (model.metadata["num_images"], model.metadata["num_patches"]) == (12, 240)
    assert model.metadata["bpm"]["mode"] == "off"
    assert len(model.arrays["image"]) == len(model.arrays["memory_bank"])


@pytest.mark.parametrize("method", METHODS)
def test_without_a_patch_that_counts_there_is_no_model(method: Any, fit: Any) -> None:
    from uniformaly_pipeline.features.masking import BackPatchMasking

    nothing = BackPatchMasking(kernel_size=1, threshold=1.0)
    with pytest.raises(InputError, match=r"no foreground patch .* lower bpm\.threshold"):
        fit(method, nothing)


def test_image_scores_are_the_methods_own_where_it_has_some() -> None:
    grids = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    own = np.array([5, 1, 2], np.float32)
    bundle = ArrayBundle({"patch_scores": grids, "image_scores": own}, {})
    assert (scores_of_images(bundle, 0.5) == own).all()
    plain = ArrayBundle({"patch_scores": grids}, {})
    assert (scores_of_images(plain, 0.5) == image_scores(grids, 0.5)).all()


def test_which_patch_scores_say_where() -> None:
    for name, method in METHODS.items():
        bundle = ArrayBundle({}, {"scoring": {"method": name}})
        assert localises(bundle) == method.localises == (name != "mean_patch_knn")
    assert localises(ArrayBundle({}, {"scoring": {}}))  # of an older version


def test_what_has_no_normal_patches_cannot_show_one() -> None:
    check_compares_patches("anomalydino", "predict")
    with pytest.raises(InputError, match=r"scoring\.method is padim, and predict compares .*"
                                         r"uniformaly, patchcore and anomalydino do"):  # fmt: skip
        check_compares_patches("padim", "predict")
