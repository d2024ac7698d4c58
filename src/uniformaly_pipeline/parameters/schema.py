"""The run's parameters as one typed schema: everything is checked before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.detector.exported import Format
from uniformaly_pipeline.evaluation.clustering import FeatureChoice
from uniformaly_pipeline.features.backbone import PAPER_RESOLUTION, Backbone
from uniformaly_pipeline.features.masking import Keep, MaskingMode
from uniformaly_pipeline.features.preprocessing import Preprocessing, height_width
from uniformaly_pipeline.ingestion.decoding import MAX_PIXELS
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.scoring.methods.choice import METHODS
from uniformaly_pipeline.scoring.methods.interface import UNIFORMALY, MethodName, default_mode

PositiveInt = Annotated[int, Field(ge=1)]
OWN_IMAGES = ("folder", "classes")
"""Layouts of the user's own images."""

WHOLE = {"resize": "224/224", "crop": None}
"""Preprocessing by which all of an image is seen."""

Ratio = Annotated[float, Field(gt=0, le=1)]
Pixels = PositiveInt | tuple[PositiveInt, PositiveInt]
IN_PROPORTION = re.compile(r"[1-9]\d{0,4}/[1-9]\d{0,4}")


def _size(value: Any) -> Any:
    """Pixels, or ``256/224``: 256 for a backbone of 224 pixels, for another in proportion."""
    if not isinstance(value, str) or IN_PROPORTION.fullmatch(value):
        return value
    if value.isdecimal():  # the command line leaves it as it was written
        return int(value)
    raise ValueError(f"{value!r} is no size: give pixels, or 256/224 for a size in proportion")


def _split_at_plus(value: Any) -> Any:
    """A list from the command line, where commas separate parameters: ``1+5+all``, or one value."""
    if isinstance(value, str):
        return value.split("+") if value else []
    return [value] if isinstance(value, (int, float)) else value


def _without_repeats(values: list[Any]) -> list[Any]:
    if len(set(map(repr, values))) < len(values):
        raise ValueError("the same value is listed twice")
    return values


def _odd(kernel_size: int) -> int:
    if kernel_size % 2 == 0:
        raise ValueError(f"{kernel_size} must be odd")
    return kernel_size


def _off_is_a_word(mode: Any) -> Any:
    """YAML and the command line read a bare "off" as false."""
    return "off" if mode is False else mode


def _name(value: Any) -> Any:
    """A name that YAML took for a number, where nobody can doubt what stood there."""
    if isinstance(value, (bool, float)):
        raise ValueError(
            f"{value!r} is what YAML makes of names such as off, yes and 1e5: put the name into "
            "quotes"
        )
    return str(value) if isinstance(value, int) else value


def _names(value: Any) -> Any:
    """One name, or a list of them."""
    if value is None:
        raise ValueError("null is no name: put it into quotes where it is one")
    if isinstance(value, list):
        return [_name(item) for item in value]
    return [_name(value)] if isinstance(value, int) else _name(value)


Item = TypeVar("Item")
Distinct = Annotated[list[Item], BeforeValidator(_split_at_plus), AfterValidator(_without_repeats)]
"""A list without repeats; the command line writes it as ``a+b+c``."""

Name = Annotated[str, BeforeValidator(_name)]
NameOrNone = Annotated[str | None, BeforeValidator(_name)]
Masking = Annotated[MaskingMode, BeforeValidator(_off_is_a_word)]
Threshold = Annotated[float, Field(ge=0, lt=1)]
KernelSize = Annotated[PositiveInt, AfterValidator(_odd)]
Size = Annotated[Pixels | str | None, BeforeValidator(_size)]
Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class _Section(BaseModel):
    # The text below a field is its description: tools/docs/parameters.py makes the page of them.
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _in_pixels(size: Any, resolution: int) -> Any:
    """A size for a backbone of this resolution; one in pixels, or none, stays what it is."""
    if not isinstance(size, str):
        return size
    pixels, _, of = size.partition("/")
    return max(1, round(int(pixels) * resolution / int(of)))


def _exceeds(inner: Any, outer: Any) -> bool:
    """Whether one size is larger than another in height or width; ``None`` fits anywhere."""
    if inner is None or outer is None or isinstance(inner, str) or isinstance(outer, str):
        return False
    return any(a > b for a, b in zip(height_width(inner), height_width(outer), strict=True))


class TilesParameters(_Section):
    """``datasets.<name>.preprocessing.tiles``, see :class:`.tiles.Tiles`."""

    size: PositiveInt
    """Side of a tile in pixels of the image; an image that fits into one is not cut."""
    overlap: Annotated[int, Field(ge=0)] = 0
    """Pixels that neighbouring tiles share at least."""

    @model_validator(mode="after")
    def _leaves_a_step(self) -> TilesParameters:
        if self.overlap >= self.size:
            raise ValueError(f"overlap {self.overlap} is not below size {self.size}")
        return self


class PreprocessingParameters(_Section):
    """``datasets.<name>.preprocessing``, see :class:`.preprocessing.Preprocessing`."""

    resize: Size = "256/224"
    """Shorter side in pixels, the longer one where neither crop nor pad is given and the whole
    image is seen; or [height, width]; `256/224`: 256 for a backbone of 224 pixels, for another
    in proportion; null keeps the size."""
    crop: Size = "224/224"
    """Centre crop, likewise; null does not crop: images that are not square are padded, and the
    padding never counts."""
    pad: Size = None
    """Black padding up to this size, likewise; null does not pad."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """Filter that resizes images; masks are always resized bilinearly."""
    tiles: TilesParameters | None = None
    """`{size: 512, overlap: 64}` cuts images that do not fit into so many pixels into overlapping
    tiles, each resized to `resize` and encoded as an image is; null cuts none. Without crop and
    pad."""

    @model_validator(mode="after")
    def _cuts_whole_images(self) -> PreprocessingParameters:
        whole = isinstance(self.resize, (int, str)) and self.crop is None and self.pad is None
        if self.tiles is not None and not whole:
            raise ValueError("tiles need a resize of one number, and neither crop nor pad")
        return self

    def for_resolution(self, resolution: int) -> PreprocessingParameters:
        """The same with all sizes in pixels, for a backbone of this resolution in pixels."""
        values = self.model_dump()
        sizes = {name: _in_pixels(values[name], resolution) for name in ("resize", "crop", "pad")}
        return PreprocessingParameters(**{**values, **sizes})

    @model_validator(mode="after")
    def _fixes_a_size(self) -> PreprocessingParameters:
        if self.resize is None and self.crop is None and self.pad is None:
            raise ValueError("set one of resize, crop and pad")
        crop = self.crop
        if isinstance(self.resize, int) and isinstance(crop, tuple):
            crop = min(crop)  # resize is the shorter side: the other one may hold a longer crop
        if _exceeds(crop, self.resize):
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        name, inner = ("resize", self.resize) if self.crop is None else ("crop", self.crop)
        if _exceeds(inner, self.pad):
            raise ValueError(f"pad {self.pad} is smaller than {name} {inner}")
        return self


class ImagesParameters(_Section):
    """``datasets.<name>.images``: how files are read."""

    levels: Literal["auto"] | tuple[float, float] = "auto"
    """Values that are black and white in images deeper than 8 bits, [low, high]; auto: decided once
    for each category from its normal images."""
    max_pixels: PositiveInt = MAX_PIXELS
    """Most pixels of an image; larger files are refused, for they may be made to fill the
    memory."""

    @field_validator("levels")
    @classmethod
    def _rises(cls, levels: Any) -> Any:
        if levels != "auto" and not levels[0] < levels[1]:
            raise ValueError(f"black {levels[0]:g} must be below white {levels[1]:g}")
        return levels


class SplitParameters(_Section):
    """``datasets.<name>.split``, see :class:`.ingestion.layouts.interface.Split`."""

    seed: int = Field(default=0, ge=0)
    """Seed of the draw."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the normal images that are held out for the test."""
    cap: PositiveInt | None = None
    """Most images of a class to use; null: all."""
    min_images: int = Field(default=0, ge=0)
    """Classes with fewer images are refused."""


class DatasetParameters(_Section):
    """``datasets.<name>``: where a data set is, how it is laid out and prepared."""

    layout: str
    """`folder` (MVTec AD's layout), `classes` (`one_class_train`, `one_class_test`), or a published
    data set's."""
    root: str = Field(min_length=1)
    """Path or URL of the data set, or of its published archive."""
    name: Annotated[Annotated[str, Field(pattern=r"\w")] | None, BeforeValidator(_name)] = None
    """What paths, titles and MLflow call it; null: for your own images (layouts `folder` and
    `classes`) the root folder's own name, otherwise its key."""
    credentials: NameOrNone = None
    """A key of `conf/local/credentials.yml`, for a URL."""
    split: SplitParameters = SplitParameters()
    """How images are split where the data set has no split of its own."""
    images: ImagesParameters = ImagesParameters()
    """How image files are read."""
    roi: str | None = None
    """Path below the root of a picture of the region of interest, of the images' size: what is 0 in
    it does not count. It is of the categories that have no `roi.png` of their own."""
    tree: str | None = None
    """`ingestion` copies the split to this new folder, by split and class."""
    preprocessing: PreprocessingParameters = PreprocessingParameters()
    """From image to the encoder's input; of the user's own images (layouts `folder` and `classes`)
    what is not given is `resize: 224/224, crop: null`: all of every image is seen."""
    coreset_ratio: Ratio = 0.1
    """Share of the patches in a memory bank, where `memory_bank.coreset_ratio` is null."""
    multiclass_coreset_ratio: Ratio | None = None
    """The same for `multiclass`; null: `coreset_ratio`."""
    splits: dict[Name, Annotated[list[Name], Field(min_length=1)]] | None = None
    """`multiclass`: the normal classes of each memory bank, by the name of the split."""

    @model_validator(mode="before")
    @classmethod
    def _own_images_are_seen_whole(cls, raw: Any) -> Any:
        """What is not said of the preprocessing of the user's own images is no paper's crop."""
        if not isinstance(raw, Mapping) or raw.get("layout") not in OWN_IMAGES:
            return raw
        given = raw.get("preprocessing", {})
        return {**raw, "preprocessing": {**WHOLE, **given}} if isinstance(given, Mapping) else raw

    @model_validator(mode="after")
    def _known_layout(self) -> DatasetParameters:
        if self.layout not in LAYOUTS:
            raise ValueError(f"unknown layout '{self.layout}'{did_you_mean(self.layout, LAYOUTS)}")
        return self


class IngestionParameters(_Section):
    """``ingestion``: how the manifest is brought up to date."""

    verify: bool = False
    """Whether files that look unchanged are read too, and those that are not are named; without
    it size, time and the server's tag tell."""


class BackboneParameters(_Section):
    """``backbones.<name>``, see :class:`.backbone.Backbone`."""

    model: str = Field(min_length=1)
    """Name of a ViT in timm."""
    checkpoint: str | None = None
    """Weights: a path or URL of a `.safetensors` or `.pth` file; null: timm's; `untrained`: random
    ones."""
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None
    """Checksum of the checkpoint, 64 hexadecimal digits; null: not checked."""
    model_kwargs: dict[StrictStr, JsonValue] = {}
    """Arguments of `timm.create_model`."""
    layers: Layers
    """Blocks whose outputs are averaged into patch features, counted from 0."""
    attention_layer: int = Field(ge=0)
    """Block whose class-token attention Back Patch Masking reads, from 0."""
    norm: bool = False
    """Whether the model's final norm is applied to each block's output before the mean."""
    resolution: PositiveInt | None = None
    """Side of the input in pixels that suits it: sizes of preprocessing such as `256/224` are in
    proportion to it; null: 224, as in the paper."""
    kernel_size: KernelSize = 7
    """What `bpm.kernel_size: auto` stands for: patches of an input of `resolution` pixels, of
    other inputs in proportion; where `resolution` is null, of every input."""


class EncoderParameters(_Section):
    """``encoder``: how the model computes."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """`auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1` and so on, or `mps`."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Type of the computation; `auto`: float32 on the CPU; on a GPU float16 or bfloat16 where a few
    of the images show that scores stay the same; for `predict` the memory bank's."""
    batch_size: PositiveInt = 8
    """Images in a batch; changes speed only."""
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Decoding processes, 0 decodes in the main one; changes speed only."""
    compile: bool = False
    """Whether torch.compile translates the model first: pays from some thousand images on."""
    engine: Literal["auto", "torch", "openvino", "onnx"] = "auto"
    """What computes on a CPU, to 1e-4 the same; `auto`: torch, or OpenVINO where it is installed
    and pays for its translation."""

    @model_validator(mode="after")
    def _compiles_torch(self) -> EncoderParameters:
        if self.compile and self.engine not in ("auto", "torch"):
            raise ValueError(
                f"compile is of torch, and engine is {self.engine}: set engine to torch, or "
                "compile to false"
            )
        return self


class FeaturesParameters(_Section):
    """``features``: what is stored of each image."""

    dtype: Literal["float16", "float32"] = "float16"
    """Type of the features on disk."""
    keep: Keep = "foreground"
    """`all` keeps background patches too, to try other maskings without encoding again."""


class BpmParameters(_Section):
    """``bpm``, see :class:`.masking.BackPatchMasking`."""

    mode: Annotated[Literal["auto", "binary", "soft", "off"], BeforeValidator(_off_is_a_word)] = (
        "auto"
    )
    """`binary` keeps foreground patches, `soft` keeps all and multiplies the distances of test
    patches by their smoothed attention, `off` keeps all as they are; `auto`: `binary` for the
    method `uniformaly`, `off` for the others, as they were published."""
    kernel_size: Literal["auto"] | KernelSize = "auto"
    """Side of the box that smooths the attention, in patches, odd; `auto`: the backbone's own, in
    proportion to the input, see `backbones.<name>.kernel_size`."""
    threshold: Threshold = 0.1
    """Smoothed attention, 0 to 1, above which a patch is foreground."""


class MemoryBankParameters(_Section):
    """``memory_bank``: the coreset; null ratios are the data set's."""

    coreset_ratio: Ratio | None = None
    """Share of the patches kept; 1 keeps all; null: the data set's."""
    multiclass_coreset_ratio: Ratio | None = None
    """The same for `multiclass`."""
    projection_dim: PositiveInt = 128
    """Dimensions in which the coreset is chosen."""
    num_starts: PositiveInt = 10
    """Random patches that the first distances are taken to."""
    coreset_parts: PositiveInt = 1
    """Above 1 the coreset is chosen in two rounds from so many parts, where a GPU holds no more;
    saves memory with fewer parts than 1 / ratio."""


class ScoringParameters(_Section):
    """``scoring``: the method, its nearest neighbours and top-k-ratio."""

    method: MethodName = UNIFORMALY
    """`uniformaly`, or to compare on the same features `patchcore`, `anomalydino`, `padim`
    (a Gaussian for each place), `mean_patch_knn` (whole images): see
    [other methods](methods.md)."""
    top_k_ratio: Ratio = 0.05
    """Share of an image's patches whose scores `uniformaly` averages, k; the other methods have
    rules of their own."""
    num_neighbors: PositiveInt = 1
    """A patch's score is the mean over this many neighbours."""
    search: str = Field(default="Flat", min_length=1)
    """A faiss index: `Flat` is exact, `IVF64,Flat` or `HNSW32` approximate."""


class EvaluationParameters(_Section):
    """``evaluation``: METHOD "Evaluation"."""

    mask_threshold: Ratio = 1.0
    """Value of the resized mask from which on a pixel is anomalous: 1.0 is the paper's protocol,
    0.5 follows the mask's outline."""
    aupro_limit: Ratio = 0.3
    """False-positive rate up to which AUPRO integrates."""


class ReportingParameters(_Section):
    """``reporting``: how much the report shows."""

    gallery_images: Annotated[int, Field(ge=0)] = 24
    """Images shown per category."""


class ClusteringParameters(_Section):
    """``clustering``: which patches stand for an image (section 5.4.1, Table 8)."""

    features: FeatureChoice = "top_k"
    """Patches that stand for an image: the highest-scoring, the single highest, or all."""
    compared_ratios: Distinct[Ratio] = [0.05, 0.01]
    """Top-k ratios in the report's comparison."""


class LowshotParameters(_Section):
    """``lowshot``: numbers of normal images, each drawn several times (section 5.3, Fig. 6)."""

    shots: Annotated[Distinct[PositiveInt | Literal["all"]], Field(min_length=1)] = [1, 5, "all"]
    """Numbers of normal images."""
    num_draws: PositiveInt = 3
    """Times that each number is drawn."""
    rotations: PositiveInt = 1
    """Views of each image that is drawn, turned all around in equal steps; 8 is AnomalyDINO's, 1
    turns none. Of `all` none is turned."""


class AblationParameters(_Section):
    """``ablation``: values to try, one parameter at a time (section 5.4)."""

    top_k_ratio: Distinct[Ratio] = []
    """Values of `scoring.top_k_ratio`."""
    kernel_size: Distinct[KernelSize] = []
    """Values of `bpm.kernel_size`."""
    threshold: Distinct[Threshold] = []
    """Values of `bpm.threshold`."""
    mode: Distinct[Masking] = []
    """Values of `bpm.mode`."""
    features: Distinct[FeatureChoice] = []
    """Values of `clustering.features`."""
    coreset_ratio: Distinct[Ratio] = []
    """Values of `memory_bank.coreset_ratio`."""
    method: Distinct[MethodName] = []
    """Values of `scoring.method`, each with its own masking where `bpm.mode` is `auto`."""
    layers: Distinct[Layers] = []
    """Values of `backbones.<name>.layers`, in a parameter file."""


class PredictParameters(_Section):
    """``predict``: new images, the memory bank to use and how often to raise a false alarm."""

    images: str | None = None
    """Folder or URL of new images, or a single one."""
    task: Literal["defect", "semantic", "multiclass"] = "defect"
    """The pipeline that made the memory bank."""
    category: NameOrNone = None
    """The memory bank's category; null where there is only one."""
    detector: str | None = None
    """A detector's file, a folder that was exported, whose encoder judges, or a finished run's
    category (its folder below `06_models`): to judge by in place of this run's data set and
    settings."""
    false_alarm_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of normal images that may be flagged; null: the detector's own threshold, or 0.1."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Score above which an image is flagged, in place of a rate."""


class ExportParameters(_Section):
    """``export``: a finished run's category, or a detector, written for use elsewhere."""

    category: NameOrNone = None
    """The category of a finished run."""
    task: Literal["defect", "semantic", "multiclass"] = "defect"
    """The pipeline that made its memory bank."""
    detector: str | None = None
    """A detector's file, or a finished run's category (its folder below `06_models`), in place of
    `category`."""
    format: Format = "safetensors"
    """`onnx` and `openvino` need no torch where they are used; `safetensors` has the encoder's
    weights in the detector's file."""
    images: str | None = None
    """Folder or URL of images that both encoders must judge alike; null: the detector's pictures
    of normal images."""
    false_alarm_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of normal images that may be flagged; null: the detector's own threshold, or 0.1."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Score above which an image is flagged, in place of a rate."""


class MlflowParameters(_Section):
    """``mlflow``: what a run leaves in MLflow beside its metrics; `mlflow.yml` says where."""

    log_detector: bool = False
    """Whether each category's detector is logged and registered as a model, as `export` does."""


class RayParameters(_Section):
    """``ray``: what a run asks of a Ray cluster, with `--env=ray`."""

    encoders: Literal["auto"] | PositiveInt = "auto"
    """Processes with the model; `auto`: one for each GPU that the cluster has, or for each machine
    where it has none. A number is for a cluster that grows."""
    gpus: Literal["auto"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = "auto"
    """GPUs of each; a share such as 0.5 for small models; `auto`: 1 where there are any."""


class Parameters(_Section):
    """All parameters of a run."""

    dataset: Name
    """A key of `datasets`."""
    backbone: Name
    """A key of `backbones`."""
    seed: int = Field(ge=0)
    """Fixes the coreset's projection and starts, draws, and random weights."""
    seeds: Distinct[Annotated[int, Field(ge=0)]] = []
    """`0+1+2+3+4`: metrics of `defect`, `semantic` and `multiclass` are means over memory banks of
    these seeds on the same features, with their deviation; empty: of `seed` alone, by which
    images, pictures and decisions go in any case."""
    categories: Annotated[str | list[str], BeforeValidator(_names)] = "all"
    """`all`, one name, names joined by `+`, or a list in a file."""
    datasets: dict[Name, DatasetParameters]
    backbones: dict[Name, BackboneParameters]
    ingestion: IngestionParameters = IngestionParameters()
    encoder: EncoderParameters
    features: FeaturesParameters
    bpm: BpmParameters
    memory_bank: MemoryBankParameters
    scoring: ScoringParameters
    evaluation: EvaluationParameters
    clustering: ClusteringParameters
    lowshot: LowshotParameters
    ablation: AblationParameters
    predict: PredictParameters
    export: ExportParameters = ExportParameters()
    mlflow: MlflowParameters = MlflowParameters()
    ray: RayParameters = RayParameters()
    reporting: ReportingParameters

    @model_validator(mode="after")
    def _known_names(self) -> Parameters:
        for key, name, known in [
            ("dataset", self.dataset, list(self.datasets)),
            ("backbone", self.backbone, list(self.backbones)),
        ]:
            if name not in known:
                raise ValueError(f"{key}: unknown {key} '{name}'{did_you_mean(name, known)}")
        return self

    @model_validator(mode="after")
    def _takes_what_suits_the_backbone(self) -> Parameters:
        """Settle the kernel, and have sizes in proportion refused here where they do not fit."""
        own = Backbone(**self.chosen_backbone.model_dump()).kernel_size_at(self.input_size)
        if self.bpm.kernel_size == "auto":
            self.bpm = self.bpm.model_copy(update={"kernel_size": own})
        return self

    @model_validator(mode="after")
    def _fits_the_method(self) -> Parameters:
        """Settle the masking that a method comes with; refuse what it cannot do."""
        method = self.scoring.method
        if self.bpm.mode == "auto":
            self.bpm = self.bpm.model_copy(update={"mode": default_mode(method)})
        tried = [
            ("scoring.method", method),
            *(("ablation.method", m) for m in self.ablation.method),
        ]
        for key, name in tried:
            if METHODS[name].needs_one_grid and self.chosen_dataset.preprocessing.tiles is not None:
                raise ValueError(
                    f"{key}: {name} needs the same grid of patches for all images; set "
                    f"datasets.{self.dataset}.preprocessing.tiles to null"
                )
            if not METHODS[name].localises and self.bpm.mode == "soft":
                raise ValueError(
                    f"{key}: {name} scores whole images, and bpm.mode soft weighs patches; set it "
                    "to binary or off"
                )
        return self

    @property
    def chosen_dataset(self) -> DatasetParameters:
        """Settings of the data set of this run, all sizes in pixels.

        Raises:
            ValueError: A size in proportion does not fit another; the line names the key.
        """
        entry = self.datasets[self.dataset]
        try:
            prepared = entry.preprocessing.for_resolution(
                self.chosen_backbone.resolution or PAPER_RESOLUTION
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"datasets.{self.dataset}.preprocessing: {reason}") from error
        return entry.model_copy(update={"preprocessing": prepared})

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the encoder's input in pixels."""
        return Preprocessing(**self.chosen_dataset.preprocessing.model_dump()).input_size

    @property
    def chosen_backbone(self) -> BackboneParameters:
        """Settings of the backbone of this run."""
        return self.backbones[self.backbone]

    def coreset_ratio(self, *, multiclass: bool = False) -> float:
        """Share of the patches to keep: the user's, or what the data set's protocol says."""
        dataset, bank = self.chosen_dataset, self.memory_bank
        one_class = bank.coreset_ratio or dataset.coreset_ratio
        if not multiclass:
            return one_class
        if bank.multiclass_coreset_ratio is None and bank.coreset_ratio is not None:
            return bank.coreset_ratio
        return bank.multiclass_coreset_ratio or dataset.multiclass_coreset_ratio or one_class

    @property
    def layer_choices(self) -> list[list[int]] | None:
        """Blocks to average that the ablation compares, the backbone's own first; None: no others.

        Several choices are features of their own, which one pass of the backbone gives.
        """
        own = sorted(set(self.chosen_backbone.layers))
        others = [sorted(set(layers)) for layers in self.ablation.layers]
        choices = [own, *(layers for layers in others if layers != own)]
        return choices if len(choices) > 1 else None

    def resolved(self) -> dict[str, Any]:
        """What this run uses, nested: other data sets and backbones left out."""
        values = self.model_dump()
        values["datasets"] = {self.dataset: self.chosen_dataset.model_dump()}
        values["backbones"] = {self.backbone: values["backbones"][self.backbone]}
        values["memory_bank"] |= {
            "coreset_ratio": self.coreset_ratio(),
            "multiclass_coreset_ratio": self.coreset_ratio(multiclass=True),
        }
        return values


def parse_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Check parameters as Kedro's configuration gives them.

    Raises:
        InputError: Unknown keys (with the closest match), wrong types or impossible values; one
            line that names each key.
    """
    if odd := next(_untold(raw), None):
        raise InputError(f"parameters: {odd} holds characters that no name or path can have")
    try:
        return Parameters.model_validate(dict(raw))
    except ValidationError as error:
        faults = dict.fromkeys(_describe(fault) for fault in _telling(error.errors()))
        raise InputError(f"parameters: {'; '.join(faults)}") from error


def _untold(value: Any, key: str = "") -> Iterator[str]:
    """Keys whose text no file system or table can hold: with NUL, or not UTF-8."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            inside = f"{key}.{name}" if key else str(name)
            yield from (inside.encode("ascii", "backslashreplace").decode() for _ in _untold(name))
            yield from _untold(inner, inside)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _untold(inner, key)
    else:
        is_untold = isinstance(value, str) and re.search("[\x00\ud800-\udfff]", value)
        # YAML's !!binary passes for text.
        if is_untold or (isinstance(value, bytes) and b"\0" in value):
            yield key or "a key"


def _telling(faults: Sequence[Any]) -> Iterator[Any]:
    """Leave out that a number is not the word that may stand in its place, where it is too small.

    Of a union pydantic tells what each of its kinds would have.
    """
    keys = [tuple(_without_types(tuple(map(str, fault["loc"])))) for fault in faults]
    for fault, key in zip(faults, keys, strict=True):
        wants_a_word = fault["type"] in ("literal_error", "string_type")
        if wants_a_word and not isinstance(fault["input"], str) and keys.count(key) > 1:
            continue
        yield fault


def _describe(fault: Any) -> str:
    location = tuple(str(part) for part in fault["loc"])
    key = ".".join(_without_types(location))
    if fault["type"] == "extra_forbidden":
        prefix = "".join(f"{part}." for part in location[:-1])
        siblings = _fields_at(location[:-1])
        return f"unknown key '{key}'{did_you_mean(location[-1], siblings, prefix)}"
    if fault["type"] == "missing":
        return f"'{key}' is missing"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, not {fault['input']!r}"


def _without_types(location: tuple[str, ...]) -> list[str]:
    """Leave out what pydantic adds for the branches of a union: these are no keys."""
    branch = re.compile(r"[\[\]()]|^(constrained-)?(int|float|str|list|literal)$")
    return [part for part in location if not branch.search(part)]


def _fields_at(location: tuple[str, ...]) -> list[str]:
    """Keys of the section at ``location``."""
    section: Any = Parameters
    for part in location:
        if get_origin(section) is dict:
            section = get_args(section)[1]
        else:
            section = section.model_fields[part].annotation
    return list(getattr(section, "model_fields", {}))
