"""Which images come first where not all fit."""

from __future__ import annotations

from typing import Any

from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.page.choice import by_importance, choose_images, describe_choice


def image(name: str, error_margin: float, **changes: Any) -> GalleryImage:
    """An anomalous image; missed where its error_margin is positive."""
    arguments: dict[str, Any] = {
        "image": name,
        "category": "nut",
        "defect": "hole",
        "label": 1,
        "score": -error_margin,
        "decision": int(error_margin <= 0),
        "error_margin": error_margin,
        "views": {},
    }
    return GalleryImage(**(arguments | changes))


GALLERIES = {
    "nut": [
        image("a2", 2),
        image("a1", 1),
        image("near", -0.1),
        image("mid", -1),
        image("far", -3),
    ],
    "bolt": [image("b1", 3), image("scratch", -2, defect="scratch"), image("hole", -2.5)],
}


def names(images: list[GalleryImage]) -> str:
    return " ".join(image.image for image in images)


def test_mistakes_come_first_each_categorys_worst_before_any_second() -> None:
    ranking = names(by_importance(GALLERIES))
    assert ranking.startswith("a2 b1 a1 ")


def test_then_clear_cases_of_each_kind_and_near_misses_take_turns() -> None:
    ranking = names(by_importance(GALLERIES))
    assert ranking.endswith("a1 far hole near scratch mid")


def test_new_images_come_by_their_scores() -> None:
    new = [image(name, -score, label=None) for name, score in (("low", 1), ("high", 3))]
    assert names(by_importance({"nut": new})) == "high low"


def test_images_are_chosen_by_importance_and_shown_worst_first() -> None:
    choice = choose_images(GALLERIES, lambda image: "é" * 5, max_bytes=45)
    assert names(choice.images) == "b1 a2 a1 far"
    assert choice.num_left_out == 4
    assert all(card == "é" * 5 for _, card in choice.cards)


def test_no_room_is_no_images() -> None:
    choice = choose_images(GALLERIES, lambda image: "card", max_bytes=-1)
    assert (choice.images, choice.num_left_out) == ([], 8)


def test_what_is_left_out_is_said() -> None:
    choice = choose_images(GALLERIES, lambda image: "12345", max_bytes=20)
    assert describe_choice(choice, (30, 3), 15_000_000) == (
        "Shown are 4 of 30 test images, among them 3 of the 3 wrong ones; 4 more were drawn but "
        "left out, the least informative first, to keep this page below 15 MB."
    )
    assert "30 test images, none of which is wrong" in describe_choice(choice, (30, 0), 1)
    everything = choose_images(GALLERIES, lambda image: "", max_bytes=20)
    assert describe_choice(everything, None, 15_000_000) == "8 images are shown."
