"""The detector: fit on normal images, kept in one file, judges new ones."""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import chain, count
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.detector.arguments import check_fit, check_share, chosen_backbone
from uniformaly_pipeline.detector.conformal import (
    FALSE_ALARM_RATE,
    check_false_alarm_rate,
    conformal_p_values,
    images_needed,
)
from uniformaly_pipeline.detector.drift import DriftMonitor
from uniformaly_pipeline.detector.encoding import (
    BATCH_SIZE,
    EncodedImage,
    EncodedImages,
    PatchEncoder,
    Reading,
    TorchEncoder,
)
from uniformaly_pipeline.detector.export import export_detector
from uniformaly_pipeline.detector.exported import (
    ExportedDetector,
    Format,
    check_free,
    load_exported,
    load_translated,
    write_exported,
)
from uniformaly_pipeline.detector.finished_run import FinishedRun, normal_picture, read_run
from uniformaly_pipeline.detector.results import Evidence, Place, Result, Unreadable
from uniformaly_pipeline.detector.sources import (
    ImageLike,
    Images,
    Source,
    choose_levels_of,
    each_source_of,
    is_folder,
    is_one,
    normal_sources_of,
    region_of,
    sources_of,
    without_roi,
)
from uniformaly_pipeline.detector.state import (
    DetectorState,
    Scoring,
    Threshold,
    load_state,
    save_state,
    with_threshold,
)
from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import PatchFeatures
from uniformaly_pipeline.ingestion.regions import tell_misfits_once
from uniformaly_pipeline.memory_bank.bank import bank_images
from uniformaly_pipeline.memory_bank.growth import GROWN, grow_bank
from uniformaly_pipeline.scoring.methods.choice import (
    METHODS,
    check_compares_patches,
    fit_model,
    scorer_of,
    search_settings,
)
from uniformaly_pipeline.scoring.methods.interface import FitSettings, Scorer, default_mode

logger = logging.getLogger(__name__)

HELD_OUT = 0.2
"""Share of the normal images that is held out for calibration, at least."""

THUMBNAIL_PX = 256
"""Longest side of a normal image's picture in a detector's file."""

_THUMBNAIL_QUALITY = 80


class Detector:
    """Finds anomalous images from normal ones only, without training.

    A detector is made by :meth:`fit`, :meth:`load` or :meth:`from_run`, never by its constructor.
    Scores are those of the pipeline with the same settings (to a relative 1e-6). What an image
    scores does not depend on the images it is judged with. One detector serves many threads.

    Attributes:
        state: All it knows but its encoder, see :class:`.state.DetectorState`.
        device: Torch device of the encoder, ``auto`` for CUDA where there is one.

    Examples:
        >>> from uniformaly_pipeline import Detector
        >>> detector = Detector.fit("good/")  # doctest: +SKIP
        >>> result = detector.predict("new.png")  # doctest: +SKIP
        >>> result.is_anomalous, result.score, result.p_value  # doctest: +SKIP
        (True, 34.1, 0.1)
        >>> result.draw().save("judged.png")  # doctest: +SKIP
        >>> detector.save("bolt.safetensors")  # doctest: +SKIP
    """

    def __init__(
        self, state: DetectorState, encoder: PatchEncoder | None = None, device: str = "auto"
    ) -> None:
        """Put a detector together.

        Args:
            state: All it knows.
            encoder: The encoder; by default the state's own, loaded when it is needed: in torch,
                or as the folder that it is from was exported.
            device: Torch device of that encoder.
        """
        self.state = state
        self.device = device
        self._given = encoder

    # --- making one -------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        images: Images,
        *,
        calibration: Images | None = None,
        backbone: str | Backbone = "quickstart",
        false_alarm_rate: float | None = None,
        threshold: float | None = None,
        coreset_ratio: float = 0.1,
        preprocessing: Preprocessing | None = None,
        masking: BackPatchMasking | None = None,
        roi: ImageLike | None = None,
        scoring: Scoring | None = None,
        feature_dtype: Literal["float16", "float32"] = "float16",
        seed: int = 0,
        name: str | None = None,
        device: str = "auto",
        batch_size: int = BATCH_SIZE,
    ) -> Detector:
        """Make a detector from normal images.

        Some are held out: their scores tell which scores are normal. A seeded draw takes as many
        as the false-alarm rate needs, at least a fifth and at most half; or give ``calibration``.
        The features of all normal patches are held in memory until the bank is chosen.

        Args:
            images: Normal images: a folder, or paths, arrays and PIL images.
            calibration: Normal images to hold out, in place of some of ``images``.
            backbone: A backbone that ships, such as ``dino_vits8``, or any other.
            false_alarm_rate: Share of normal images that may be flagged, by split conformal
                prediction; by default 0.1, or more where the images held out are too few for it.
            threshold: The score strictly above which an image is anomalous, in place of a rate.
            coreset_ratio: Share of the normal patches that the memory bank keeps, 0..1.
            preprocessing: From image to input; by default all of every image is seen, its longer
                side resized to the pixels that suit the backbone, 224 where it says none.
            masking: Back Patch Masking; by default the paper's with the kernel that suits the
                backbone, none for another method.
            roi: The region of interest, a picture of the images' size: where it is 0 nothing
                counts, in these images and in all to come.
            scoring: From distances to scores; by default the paper's.
            feature_dtype: Type in which features are kept, as in the pipeline's feature store.
            seed: Seed of the draw, the coreset and untrained weights.
            name: What it is a detector of; by default the folder's name.
            device: Torch device.
            batch_size: Images that are encoded at a time.

        Raises:
            InputError: An image cannot be read or is not of the region's size, a folder is a data
                set's with its defects, the images are too few, the backbone cannot be loaded, no
                patch counts, or a number is out of its range or none.
        """
        if false_alarm_rate is not None and threshold is not None:
            raise InputError("give either a threshold or a false_alarm_rate")
        check_fit(coreset_ratio, seed, feature_dtype)
        if false_alarm_rate is not None:
            check_false_alarm_rate(false_alarm_rate)
        name = name or _name_of(images)
        sources = without_roi(normal_sources_of(images), roi)
        held_out = None
        if calibration is not None:
            held_out = without_roi(normal_sources_of(calibration), roi)
        if held_out is None:
            sources, held_out = _hold_out(sources, false_alarm_rate, threshold, seed)
        threshold_of = _threshold_rule(len(held_out), false_alarm_rate, threshold)
        chosen = chosen_backbone(backbone)
        fitting = preprocessing or Preprocessing(resize=chosen.input_side, crop=None)
        scoring = scoring or Scoring()
        check_compares_patches(scoring.method, "a detector")
        kernel = chosen.kernel_size_at(fitting.input_size)
        masking = masking or BackPatchMasking(default_mode(scoring.method), kernel)
        encoder = TorchEncoder(chosen, fitting.input_size, device=device, seed=seed)
        levels = choose_levels_of(sources)
        region = None
        if roi is not None:
            region = region_of(roi)
            fitting.check_region(region, encoder.grid)
        reading = Reading.of(encoder, chosen, fitting, masking, feature_dtype, levels, region)
        normal = _encode_normal(reading, encoder, sources, batch_size)
        bank = fit_model(
            scoring.method,
            EncodedImages(reading.header, normal),
            [each.opened.content_hash for each in normal],
            masking,
            FitSettings(
                coreset_ratio=coreset_ratio,
                seed=seed,
                device=device,
                levels={name: levels},
                regions={name: region} if region else {},
            ),
        )
        state = DetectorState(
            name=name,
            bank=bank,
            scoring=scoring,
            calibration_scores=np.zeros(0, np.float32),
            threshold=Threshold(0.0),
            normal_images=tuple(each.opened.name for each in normal),
            thumbnails=tuple(_jpeg(each.opened.image) for each in normal),
        )
        detector = cls(state, encoder, device)
        scores = detector._calibrate(held_out, batch_size)
        state = replace(state, calibration_scores=scores)
        detector.state = replace(state, threshold=threshold_of(scores))
        return detector

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, checkpoint: str | None = None, device: str = "auto"
    ) -> Detector:
        """Read a detector from its file, or from a folder that :meth:`export` wrote.

        Args:
            path: The file or folder, or its URL.
            checkpoint: Where the encoder's weights are now, if not where they were; they must be
                the same weights.
            device: Torch device.

        Raises:
            InputError: The file does not exist, is no detector, damaged, or of a newer version; or
                the folder's engine is not installed.
        """
        encoder = None
        if is_folder(fspath(path)):
            state, encoder = load_exported(path, device)
            if encoder is not None and checkpoint is not None:
                raise InputError(f"{fspath(path)} has its encoder: leave the checkpoint out")
        else:
            state = load_state(path)
        if checkpoint is not None:
            features = dict(state.bank.metadata["features"])
            features["backbone"] = {
                **features["backbone"],
                "checkpoint": fspath(checkpoint),
                "sha256": None,
            }
            bank = ArrayBundle(state.bank.arrays, {**state.bank.metadata, "features": features})
            state = replace(state, bank=bank, weights={})
        return cls(state, encoder, device)

    @classmethod
    def from_run(
        cls,
        data: str | PathLike[str],
        category: str,
        *,
        run: str | None = None,
        false_alarm_rate: float | None = None,
        threshold: float | None = None,
        images: str | None = None,
        device: str = "auto",
    ) -> Detector:
        """Take a category's detector from a finished run of the pipeline.

        Its memory bank is the run's; the scores of the category's normal test images calibrate it.

        Args:
            data: The project's folder ``data``, or its URL.
            category: The category.
            run: Which run, ``<pipeline>/<data set>/<backbone>/<run key>`` as in the paths of its
                results; it can be left out where only one has the category.
            false_alarm_rate: Share of normal images that may be flagged; by default as in
                :meth:`fit`.
            threshold: The score strictly above which an image is anomalous, in place of a rate.
            images: The data set's root, if the images have moved; they are needed for pictures
                of the normal patches alone, and left out where they are gone.
            device: Torch device.

        Raises:
            InputError: There is no such run, or several.
        """
        found = read_run(fspath(data), category, run, images)
        state = state_of_run(found, false_alarm_rate, threshold)
        return cls(with_pictures(state), device=device)

    def save(self, path: str | PathLike[str], *, embed_weights: bool = False) -> None:
        """Write the detector as one file.

        Args:
            path: The file, best named ``*.safetensors``, or its URL; an old one is replaced.
            embed_weights: Whether to put the encoder's weights into it, so that a machine needs
                nothing else. Otherwise it says their name and hash.

        Raises:
            InputError: It cannot be written.
        """
        state = self.state
        if embed_weights and not state.weights:
            encoder = self.encoder
            if not isinstance(encoder, TorchEncoder):
                raise InputError("only a detector whose encoder is in torch can embed its weights")
            state = replace(state, weights=encoder.weights())
        save_state(state, path)

    def export(
        self,
        folder: str | PathLike[str],
        format: Format = "safetensors",
        *,
        images: Images | None = None,
    ) -> dict[str, Any]:
        """Write the detector for use elsewhere, once it is found to judge as before.

        Its encoder and the translated one judge the same images. Where features differ by more than
        1e-4 of the largest, attention by more than 1e-4, or a decision, nothing is written.

        Args:
            folder: A new folder, or its URL; an older export there is replaced. :meth:`load` reads
                it.
            format: ``safetensors``: one file for torch with the encoder's weights; ``onnx`` and
                ``openvino`` need no torch where they are used.
            images: Images to judge, normal and anomalous ones best; by default the detector's
                pictures of normal images, each with and without a black middle.

        Returns:
            What ``card.json`` in the folder says: hashes, differences, decisions, milliseconds that
            encoding an image takes, versions.

        Raises:
            InputError: The two differ, the engine is not installed, an image cannot be read, or
                the folder holds something else.
        """
        check_free(folder)
        exported = self.exported(format, images=images)
        write_exported(exported, folder)
        return dict(exported.card)

    def exported(self, format: Format, *, images: Images | None = None) -> ExportedDetector:
        """What :meth:`export` writes.

        Raises:
            InputError: As there.
        """

        def judge(
            state: DetectorState, encoder: PatchEncoder, sources: Sequence[Source], batch_size: int
        ) -> list[Result]:
            return Detector(state, encoder).predict_all_of(sources, batch_size)

        sources = () if images is None else sources_of(images)
        return export_detector(self.state, self.encoder, format, judge, sources)

    # --- using it ---------------------------------------------------------------------------------

    def predict(self, images: Images, *, batch_size: int = BATCH_SIZE) -> Any:
        """Judge an image or several.

        Args:
            images: A path, an array (RGB uint8 [H, W, 3] or grey [H, W]), a PIL image; or several
                of them, or a folder.
            batch_size: Images that are encoded at a time; results do not depend on it.

        Returns:
            A :class:`.results.Result`, or a list of them in the order of the images; a folder's by
            path.

        Raises:
            InputError: An image cannot be read.
        """
        found = self.predict_all_of(sources_of(images), batch_size)
        return found[0] if is_one(images) else found

    def predict_all_of(
        self, sources: Sequence[Source], batch_size: int = BATCH_SIZE
    ) -> list[Result]:
        """:meth:`predict` of images that are already listed, see :mod:`.sources`.

        Raises:
            InputError: Some cannot be read; the line names them.
        """
        found = list(self.predict_each_of(sources, batch_size))
        problems = [each.reason for each in found if isinstance(each, Unreadable)]
        if problems:
            raise InputError(list_problems(problems))
        return [each for each in found if isinstance(each, Result)]

    def predict_each(
        self, images: Images, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Result | Unreadable]:
        """Judge images one after the other, in bounded memory, whatever some of them are like.

        Args:
            images: As :meth:`predict`.
            batch_size: Images that are encoded at a time.

        Yields:
            A result per image in order, or what is wrong with one that cannot be read.

        Raises:
            InputError: A folder does not exist or holds no images.
        """
        yield from self.predict_each_of(each_source_of(images), batch_size)

    def predict_each_of(
        self, sources: Iterable[Source], batch_size: int = BATCH_SIZE
    ) -> Iterator[Result | Unreadable]:
        """:meth:`predict_each` of images that are already listed, see :mod:`.sources`."""
        ahead: deque[Source] = deque()

        def taken() -> Iterator[Source]:
            for source in sources:
                ahead.append(source)
                yield source

        for each in self.state.reading.encode(self.encoder, taken(), batch_size):
            source = ahead.popleft()
            if isinstance(each, InputError):
                yield Unreadable(source.name, str(each))
            else:
                yield self._judge(each, source)

    def warm_up(self) -> Detector:
        """Load the encoder and build the search now rather than for the first image.

        Raises:
            InputError: The encoder's weights cannot be had, or are not those of :meth:`fit`.
        """
        height, width = self.state.reading.preprocessing.input_size
        self.encoder(np.zeros((1, 3, height, width), np.float32))
        _ = self._scorer
        return self

    def add(
        self,
        images: Images,
        *,
        calibration: Images | None = None,
        coreset_ratio: float | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Detector:
        """Add normal images to the memory bank, without the old ones; :meth:`save` keeps it.

        Every old vector stays, so scores can only fall, those of the held-out images too: a
        false-alarm rate still holds, though it may then be stricter than needed. Give
        ``calibration`` to take the threshold anew. Do not call it while another thread predicts.

        Args:
            images: Normal images, as :meth:`fit` takes them; those of the bank are left out.
            calibration: Normal images that are in no bank, to take the place of the held-out ones.
            coreset_ratio: Share of the new patches to keep; by default as in :meth:`fit`.
            batch_size: Images that are encoded at a time.

        Returns:
            The detector itself; ``state.bank.metadata["covering_radius"]`` is how far a normal
            patch is at most from its nearest vector, and ``["additions"]`` what was added.

        Raises:
            InputError: An image cannot be read, a folder is a data set's with its defects, no
                patch of them counts, or an image of ``calibration`` is in the bank.
        """
        if coreset_ratio is not None:
            check_share(coreset_ratio)
        state, reading = self.state, self.state.reading
        sources = normal_sources_of(images)
        held_out = None if calibration is None else normal_sources_of(calibration)
        known = set(bank_images(state.bank))
        encoded = _encode_normal(reading, self.encoder, sources, batch_size)
        new = list({e.opened.content_hash: e for e in encoded}.values())
        new = [each for each in new if each.opened.content_hash not in known]
        if len(new) < len(encoded):
            known_before = number_of(len(encoded) - len(new), "image")
            logger.warning("%s left out: in the bank already", known_before)
        if new:
            hashes = [each.opened.content_hash for each in new]
            source = METHODS[state.scoring.method].view(EncodedImages(reading.header, new))
            bank = grow_bank(state.bank, source, hashes, reading.masking, coreset_ratio)
            bank = ArrayBundle(bank.arrays, {**bank.metadata, GROWN: held_out is None})
            thumbnails = state.thumbnails
            if thumbnails:
                thumbnails += tuple(_jpeg(each.opened.image) for each in new)
            names = _told_apart(state.normal_images, [each.opened.name for each in new])
            state = replace(state, bank=bank, normal_images=names, thumbnails=thumbnails)
        grown = Detector(state, self.encoder, self.device)
        if held_out is not None:
            state = replace(state, calibration_scores=grown._calibrate(held_out, batch_size))
            if state.threshold.false_alarm_rate is not None:
                state = with_threshold(state, None, state.threshold.false_alarm_rate)
        self.state = state
        self.__dict__["_scorer"] = grown._scorer
        return self

    def monitor(self) -> DriftMonitor:
        """What tells whether the scores of the images to come drift from the calibration scores.

        After :meth:`add` without new calibration images these are of a smaller memory bank: scores
        fall, and only higher ones are a drift.
        """
        is_older = bool(self.state.bank.metadata.get(GROWN, False))
        return DriftMonitor(self.calibration_scores, only_higher=is_older)

    def set_threshold(
        self, value: float | None = None, *, false_alarm_rate: float | None = None
    ) -> Detector:
        """Choose another threshold, by hand or by false-alarm rate; :meth:`save` keeps it.

        Args:
            value: The score strictly above which an image is anomalous.
            false_alarm_rate: Share of normal images that may be flagged.

        Returns:
            The detector itself.

        Raises:
            InputError: Not exactly one is given, or the held-out images are too few for the rate.
        """
        self.state = with_threshold(self.state, value, false_alarm_rate)
        return self

    @property
    def threshold(self) -> Threshold:
        """When an image is anomalous, and where that is from."""
        return self.state.threshold

    @property
    def calibration_scores(self) -> np.ndarray:
        """Scores of the held-out normal images: float32 [n]."""
        return self.state.calibration_scores

    @cached_property
    def encoder(self) -> PatchEncoder:
        """The encoder, loaded when it is first asked for.

        Raises:
            InputError: Its weights cannot be had, or are not those that made the bank.
        """
        if self._given is not None:
            return self._given
        state, header = self.state, self.state.reading.header
        if state.translated is not None:
            return load_translated(state.translated, self.device)
        encoder = TorchEncoder(
            state.backbone,
            state.reading.preprocessing.input_size,
            precision=header.precision,
            device=self.device,
            seed=int(state.bank.metadata["seed"]),
            weights=state.weights or None,
        )
        if encoder.weights_sha256 != header.weights_sha256:
            raise InputError(
                f"the detector '{state.name}' was made with other weights of "
                f"'{state.backbone.model}' than {state.backbone.checkpoint or 'timm has now'}: "
                "give those as checkpoint"
            )
        return encoder

    @cached_property
    def _scorer(self) -> Scorer:
        scoring = self.state.scoring
        in_torch = isinstance(self.encoder, TorchEncoder)
        settings = search_settings(asdict(scoring), loads_torch=in_torch)
        return scorer_of(scoring.method, self.state.bank, settings)

    def _calibrate(self, held_out: Sequence[Source], batch_size: int) -> np.ndarray:
        """Scores of normal images that are not in the memory bank: float32 [n].

        Raises:
            InputError: An image is one of the bank's, whose scores are those of no new image; the
                line names both. Or one cannot be read.
        """
        state = self.state
        in_bank = dict(zip(bank_images(state.bank), state.normal_images, strict=True))
        scores, same = [], []
        for each in _encode_each(
            state.reading, self.encoder, held_out, batch_size, "Encoding held-out images"
        ):
            if each.opened.content_hash in in_bank:
                same.append(f"{each.opened.name} is {in_bank[each.opened.content_hash]}")
            scores.append(self._judge(each).score)
        if same:
            raise InputError(
                "the threshold must come from images that are not in the memory bank: "
                f"{list_problems(same)}"
            )
        return np.array(scores, np.float32)

    def _judge(self, encoded: EncodedImage, source: Source | None = None) -> Result:
        state, reading = self.state, self.state.reading
        grid = reading.header.grid
        places = np.flatnonzero(encoded.foreground)
        features = encoded.features.astype(np.float32)
        loaded = PatchFeatures(features, np.zeros_like(places), places, 1, grid)
        distances, indices = self._scorer.patches(loaded)
        patches = np.zeros(reading.header.num_patches, np.float32)
        patches[places] = distances
        if reading.masking.weighs_distances:
            patches *= encoded.weights
        patches[~encoded.counted] = np.nan
        score = self._scorer.images(patches[None], loaded, indices)[0]
        place = evidence = None
        if encoded.foreground.any():
            strangest = int(np.nanargmax(patches))
            place = self._place(strangest, encoded.opened.image.size)
            rank = int(np.count_nonzero(encoded.foreground[:strangest]))
            if encoded.foreground[strangest]:
                evidence = self._evidence(int(indices[rank]), float(patches[strangest]))
        calibration = state.calibration_scores
        opened = encoded.opened
        return Result(
            name=opened.name,
            score=float(score),
            threshold=state.threshold.value,
            is_anomalous=float(score) > state.threshold.value,
            p_value=(float(conformal_p_values(calibration, score)) if len(calibration) else None),
            patch_scores=patches.reshape(grid),
            foreground=encoded.foreground.reshape(grid),
            place=place,
            evidence=evidence,
            image_size=opened.image.size,
            preprocessing=reading.preprocessing,
            _reopen=partial(_read_again, source, reading, opened.content_hash)
            if source
            else (lambda: opened.image),
            remarks=opened.remarks,
        )

    def _place(self, patch: int, image_size: tuple[int, int] | None = None) -> Place:
        """A patch's centre in the image, or in the encoder's view where no size is given."""
        fitting, grid = self.state.reading.preprocessing, self.state.reading.header.grid
        row, column = divmod(patch, grid[1])
        height, width = fitting.input_size
        x, y = (column + 0.5) * width / grid[1], (row + 0.5) * height / grid[0]
        if image_size is not None:
            x, y = fitting.image_point(x, y, image_size)
        return Place(x, y, row, column)

    def _evidence(self, vector: int, distance: float) -> Evidence:
        state = self.state
        image = int(state.bank.arrays["image"][vector])
        return Evidence(
            distance=distance,
            normal_image=state.normal_images[image],
            place=self._place(int(state.bank.arrays["patch"][vector])),
            thumbnail=state.thumbnails[image] if state.thumbnails else None,
        )

    def __repr__(self) -> str:
        """What it is, at a glance."""
        bank = self.state.bank
        return (
            f"Detector('{self.state.name}', {self.state.backbone.model}, "
            f"{len(bank.arrays['memory_bank']):,} vectors of {bank.metadata['num_images']} images, "
            f"threshold {self.threshold})"
        )


def state_of_run(
    found: FinishedRun, false_alarm_rate: float | None = None, threshold: float | None = None
) -> DetectorState:
    """What a finished run knows, as a detector's state, without pictures of normal images.

    Raises:
        InputError: The held-out images are too few for the rate.
    """
    scores = found.calibration_scores
    return DetectorState(
        name=found.category,
        bank=found.bank,
        scoring=found.scoring,
        calibration_scores=scores,
        threshold=_threshold_rule(len(scores), false_alarm_rate, threshold)(scores),
        normal_images=found.normal_images,
        root=found.root,
    )


def with_pictures(state: DetectorState) -> DetectorState:
    """The same detector with pictures of its normal images, where these still lie at its root.

    Raises:
        InputError: One of them cannot be read.
    """
    if state.thumbnails or not state.root:
        return state
    reading, thumbnails = state.reading, []
    images = list(zip(state.normal_images, bank_images(state.bank), strict=True))
    for path, key in track(images, len(images), "Reading normal images", "images"):
        picture = normal_picture(state.root, path, key, reading.levels)
        if picture is None:
            return state
        thumbnails.append(_jpeg(_small(reading.preprocessing, picture)))
    return replace(state, thumbnails=tuple(thumbnails))


def _hold_out(
    sources: Sequence[Source], rate: float | None, threshold: float | None, seed: int
) -> tuple[list[Source], list[Source]]:
    """Divide normal images into those of the bank and those of the calibration."""
    wanted = images_needed(rate or FALSE_ALARM_RATE) if threshold is None else 0
    count = min(max(wanted, round(HELD_OUT * len(sources))), len(sources) // 2)
    if rate is not None and count < wanted:
        raise InputError(
            f"false_alarm_rate is {rate:g}, which takes {wanted} held-out normal images and as "
            f"many for the memory bank, but there are {len(sources)} in all: add images, raise it "
            "or give calibration images of their own"
        )
    if count == 0 and threshold is None:
        raise InputError(
            f"{len(sources)} normal image is too few to hold one out: add images or give a "
            "threshold"
        )
    drawn = set(np.random.default_rng(seed).permutation(len(sources))[:count].tolist())
    kept = [source for i, source in enumerate(sources) if i not in drawn]
    return kept, [source for i, source in enumerate(sources) if i in drawn]


def _threshold_rule(num_held_out: int, rate: float | None, threshold: float | None) -> Any:
    """From calibration scores to the threshold; refuses before any work what cannot be had."""
    if threshold is not None:
        by_hand = Threshold.by_hand(threshold)
        return lambda _: by_hand
    if rate is None:
        rate = FALSE_ALARM_RATE
        if num_held_out and 1 / (num_held_out + 1) > rate:
            rate = 1 / (num_held_out + 1)
            logger.warning(
                "The false-alarm rate is %.3g: %d held-out normal images keep no lower one, and "
                "%g takes %d", rate, num_held_out, FALSE_ALARM_RATE,
                images_needed(FALSE_ALARM_RATE),
            )  # fmt: skip
    Threshold.conformal(np.zeros(num_held_out, np.float32), rate)
    return lambda scores: Threshold.conformal(scores, rate)


def _encode_each(
    reading: Reading,
    encoder: PatchEncoder,
    sources: Sequence[Source],
    batch_size: int,
    description: str,
) -> Iterator[EncodedImage]:
    """Encode images that must all be good, one after the other.

    Raises:
        InputError: Some cannot be read; the line, after the last image, names them.
    """
    encoded = reading.encode(encoder, sources, batch_size)
    problems = []
    for each in track(encoded, len(sources), description, "images"):
        if isinstance(each, InputError):
            problems.append(each)
        else:
            yield each
    if problems:
        raise InputError(list_problems(tell_misfits_once(problems)))


def _encode_normal(
    reading: Reading, encoder: PatchEncoder, sources: Sequence[Source], batch_size: int
) -> list[EncodedImage]:
    """Encode images for a memory bank; of their pixels a small view is kept, see :func:`_small`.

    Raises:
        InputError: As :func:`_encode_each`.
    """
    return [
        replace(
            each,
            opened=replace(each.opened, image=_small(reading.preprocessing, each.opened.image)),
        )
        for each in _encode_each(reading, encoder, sources, batch_size, "Encoding normal images")
    ]


def _read_again(source: Source, reading: Reading, content_hash: str) -> Image.Image:
    """The image that was judged, as RGB.

    Raises:
        InputError: It cannot be read any more, or is another one by now.
    """
    again = source.open(reading.levels, reading.region)
    if again.content_hash != content_hash:
        raise InputError(f"{source.name} is another image by now than the one that was judged")
    return again.image


def _told_apart(known: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """Names of a bank's images and of further ones, each of which stands for one image.

    >>> _told_apart(["a.png"], ["a.png", "b.png"])
    ('a.png', 'a.png (2)', 'b.png')
    """
    names = list(known)
    for name in new:
        again = (f"{name} ({number})" for number in count(2))
        names.append(next(each for each in chain([name], again) if each not in names))
    return tuple(names)


def _small(preprocessing: Preprocessing, image: Image.Image) -> Image.Image:
    """An image with no more pixels than its picture in the detector's file needs."""
    view = preprocessing.fit_image(image)
    view.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return view


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_THUMBNAIL_QUALITY)
    return buffer.getvalue()


def _name_of(images: Images) -> str:
    """What a detector is called: the category's folder, or the folder of the images."""
    if not isinstance(images, str | PathLike):
        return "detector"
    place = fspath(images)
    whole = Path(place) if "://" in place else Path(place).expanduser().resolve()
    parts = [part for part in whole.parts if part != whole.anchor]
    named = [part for part in parts if part not in ("good", "ok", "train", "normal")]
    return (named or ["detector"])[-1]


__all__ = ["Detector", "ImageLike", "Images"]
