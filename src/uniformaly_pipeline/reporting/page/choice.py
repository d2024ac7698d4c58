"""Which images the report shows, so that it says the most within a given size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from uniformaly_pipeline.reporting.gallery.selection import GalleryImage

WRONG = frozenset({"missed", "false alarm"})


@dataclass(frozen=True)
class GalleryChoice:
    """The images that fit.

    Attributes:
        cards: Each image with its piece of the page, worst mistake first; of new images, which
            nobody has judged, the highest score first.
        num_left_out: Images that the galleries hold, but for which there was no room.
    """

    cards: list[tuple[GalleryImage, str]]
    num_left_out: int

    @property
    def images(self) -> list[GalleryImage]:
        """The images alone."""
        return [image for image, _ in self.cards]


def choose_images(
    galleries: Mapping[str, Sequence[GalleryImage]],
    draw: Callable[[GalleryImage], str],
    max_bytes: int,
) -> GalleryChoice:
    """Choose images by :func:`by_importance` until there is no more room.

    Args:
        galleries: Images of each category.
        draw: Gives an image's piece of the page.
        max_bytes: Size of all pieces together, as UTF-8.
    """
    cards: list[tuple[GalleryImage, str]] = []
    left = max_bytes
    ranking = by_importance(galleries)
    for image in ranking:
        card = draw(image)
        left -= len(card.encode())
        if left < 0:
            break
        cards.append((image, card))
    shown = {id(image): card for image, card in cards}
    ordered = [(image, shown[id(image)]) for image in in_order(image for image, _ in cards)]
    return GalleryChoice(ordered, len(ranking) - len(cards))


def by_importance(galleries: Mapping[str, Sequence[GalleryImage]]) -> list[GalleryImage]:
    """The images of all categories, those that a reader needs most first.

    First come the mistakes, each category's worst before any category's second; then, turn about,
    the clearest image of each kind and those nearest to a mistake. New images, which nobody has
    judged, come by their scores.
    """
    wrong, right = [], []
    for images in galleries.values():
        ordered = in_order(images)
        wrong.append([image for image in ordered if image.verdict in WRONG])
        right.append(_clear_and_near([image for image in ordered if image.verdict not in WRONG]))
    return [*_in_turn(wrong), *_in_turn(right)]


def in_order(images: Iterable[GalleryImage]) -> list[GalleryImage]:
    """Worst mistakes first; of new images, which nobody has judged, the highest scores."""
    images = list(images)
    if any(image.label is not None for image in images):
        return sorted(images, key=lambda image: (-image.error_margin, image.verdict == "right"))
    return sorted(images, key=lambda image: -image.score)


def describe_choice(choice: GalleryChoice, totals: tuple[int, int] | None, max_bytes: int) -> str:
    """Say in a sentence how many images are shown and what was left out.

    Args:
        choice: The images shown.
        totals: Test images, and wrong ones among them; None where that is not known.
        max_bytes: Size of the page at most.
    """
    shown = choice.images
    text = f"{len(shown):,} images are shown"
    if totals is not None:
        wrong = sum(image.verdict in WRONG for image in shown)
        mistakes = f"among them {wrong:,} of the {totals[1]:,} wrong ones"
        text = f"Shown are {len(shown):,} of {totals[0]:,} test images, " + (
            mistakes if totals[1] else "none of which is wrong"
        )
    if choice.num_left_out:
        text += (
            f"; {choice.num_left_out:,} more were drawn but left out, the least informative "
            f"first, to keep this page below {max_bytes / 1e6:.0f} MB"
        )
    return text + "."


def _clear_and_near(images: Sequence[GalleryImage]) -> list[GalleryImage]:
    """Images that are right, turn about the clearest of a kind and the nearest to a mistake."""
    if any(image.label is None for image in images):
        return list(images)
    # Later entries overwrite earlier ones: the last of a kind is its clearest.
    clearest = {image.defect: image for image in images}
    clear = [image for image in images if image is clearest[image.defect]][::-1]
    near = [image for image in images if image is not clearest[image.defect]]
    return _in_turn([clear, near])


def _in_turn(lists: Iterable[Sequence[GalleryImage]]) -> list[GalleryImage]:
    """The first of each list, then the second of each, and so on."""
    return [image for row in zip_longest(*lists) for image in row if image is not None]
