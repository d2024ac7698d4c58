"""``uniformaly fit``, ``from-run``, ``threshold`` and ``info``: detectors made and looked at."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click

from uniformaly_pipeline.commands import options
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.storage import check_output
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.state import DetectorState, load_state, save_state, with_threshold
from uniformaly_pipeline.features.backbone import named_backbone
from uniformaly_pipeline.features.preprocessing import Preprocessing


@click.command(no_args_is_help=True)
@click.argument("good")
@click.option("-o", "--output", required=True, metavar="FILE", help="The detector's file.")
@click.option("--calibration", metavar="FOLDER", help="Normal images to hold out, in place of "
              "some of GOOD: their scores tell which scores are normal.")  # fmt: skip
@click.option("--backbone", default="quickstart", show_default=True, metavar="NAME",
              help="dino_vits8, dino_vitb8, dinov3_vitb16, ...")  # fmt: skip
@click.option("--model", metavar="NAME", help="A ViT of timm, in place of --backbone; give "
              "--checkpoint too, or timm's own weights are taken.")  # fmt: skip
@click.option("--checkpoint", metavar="FILE", help="The backbone's weights: a path or URL.")
@options.decision
@click.option("--coreset-ratio", type=click.FloatRange(0, 1, min_open=True), default=0.1,
              show_default=True, help="Share of the normal patches that are kept.")  # fmt: skip
@click.option("--resize", type=click.IntRange(1),
              help="Longer side of the images in pixels; with --crop the shorter one.  [default: "
              "what suits the backbone, 224 for most]")  # fmt: skip
@click.option("--crop", type=click.IntRange(1),
              help="Look at a centre crop of this side only.  [default: all is seen]")  # fmt: skip
@click.option("--roi", metavar="FILE", help="A picture of the images' size: what is 0 in it does "
              "not count.  [default: all counts]")  # fmt: skip
@click.option(
    "--embed-weights",
    is_flag=True,
    help="Put the backbone's weights into the file, so that nothing else is needed.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@options.device
def fit(
    good: str,
    output: str,
    calibration: str | None,
    backbone: str,
    model: str | None,
    checkpoint: str | None,
    false_alarm_rate: float | None,
    threshold: float | None,
    coreset_ratio: float,
    resize: int | None,
    crop: int | None,
    roi: str | None,
    embed_weights: bool,
    seed: int,
    device: str,
) -> None:
    """Make a detector from GOOD, a folder of normal images.

    \b
    uniformaly fit good/ -o bolt.safetensors
    uniformaly fit good/ -o bolt.safetensors --backbone dino_vits8 --false-alarm-rate 0.02
    uniformaly fit good/ -o bolt.safetensors --calibration more_good/ --embed-weights
    uniformaly fit good/ -o bolt.safetensors --roi roi.png
    """
    chosen = named_backbone(backbone)
    if model is not None:
        chosen = replace(chosen, model=model, model_kwargs={}, checkpoint=None)
    if checkpoint is not None:
        chosen = replace(chosen, checkpoint=checkpoint)
    _require_folder(output)
    detector = Detector.fit(
        good,
        calibration=calibration,
        backbone=chosen,
        false_alarm_rate=false_alarm_rate,
        threshold=threshold,
        coreset_ratio=coreset_ratio,
        preprocessing=Preprocessing(resize=resize or chosen.input_side, crop=crop),
        roi=roi,
        seed=seed,
        device=device,
    )
    detector.save(output, embed_weights=embed_weights)
    _describe(load_state(output))
    click.echo(f"\nJudge images:  uniformaly predict {shlex.quote(output)} new/ --out results/")


@click.command("from-run", no_args_is_help=True)
@click.argument("data")
@click.argument("category")
@click.option("-o", "--output", required=True, metavar="FILE", help="The detector's file.")
@click.option("--run", metavar="P/D/B/R", help="Which run, as in the paths of its results.")
@click.option("--images", metavar="ROOT", help="The data set's root, if the images have moved.")
@options.decision
@click.option(
    "--embed-weights",
    is_flag=True,
    help="Put the backbone's weights into the file, so that nothing else is needed.",
)
@options.device
def from_run(
    data: str,
    category: str,
    output: str,
    run: str | None,
    images: str | None,
    false_alarm_rate: float | None,
    threshold: float | None,
    embed_weights: bool,
    device: str,
) -> None:
    """Take the detector of CATEGORY from a finished run in DATA, the project's data folder.

    \b
    uniformaly from-run data bolt -o bolt.safetensors
    uniformaly from-run data bolt --run defect/demo/quickstart/default -o bolt.safetensors
    """
    _require_folder(output)
    detector = Detector.from_run(
        data,
        category,
        run=run,
        images=images,
        false_alarm_rate=false_alarm_rate,
        threshold=threshold,
        device=device,
    )
    detector.save(output, embed_weights=embed_weights)
    _describe(load_state(output))


@click.command(no_args_is_help=True)
@click.argument("detector")
@click.argument("good")
@click.option("-o", "--output", metavar="FILE", help="Where to write it.  [default: DETECTOR]")
@click.option("--calibration", metavar="FOLDER", help="Normal images that are in no bank, to take "
              "the threshold anew.")  # fmt: skip
@options.checkpoint
@options.device
def add(
    detector: str,
    good: str,
    output: str | None,
    calibration: str | None,
    checkpoint: str | None,
    device: str,
) -> None:
    """Add GOOD, a folder of normal images, to the memory bank of DETECTOR.

    The images that it was made from are not needed, and all that it knows stays.

    \b
    uniformaly add bolt.safetensors more_good/
    uniformaly add bolt.safetensors more_good/ --calibration other_good/ -o bolt2.safetensors
    """
    written = output or detector
    _require_folder(written)
    loaded = Detector.load(detector, checkpoint=checkpoint, device=device)
    before = loaded.state.bank.metadata["covering_radius"]
    loaded.add(good, calibration=calibration)
    loaded.save(written)
    _describe(load_state(written))
    after = loaded.state.bank.metadata["covering_radius"]
    click.echo(f"covering radius {before:.4g} before, {after:.4g} now")


@click.command(no_args_is_help=True)
@click.argument("detector")
@click.argument("score", type=float, required=False)
@click.option("--false-alarm-rate", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              metavar="SHARE", help="Share of normal images that may be flagged.")  # fmt: skip
def threshold(detector: str, score: float | None, false_alarm_rate: float | None) -> None:
    """Write another threshold into DETECTOR: images that score above it are anomalous.

    \b
    uniformaly threshold bolt.safetensors 31.5
    uniformaly threshold bolt.safetensors --false-alarm-rate 0.02
    """
    state = with_threshold(load_state(detector), score, false_alarm_rate)
    save_state(state, detector)
    click.echo(f"threshold of {detector}: {state.threshold}")


@click.command(no_args_is_help=True)
@click.argument("detector")
def info(detector: str) -> None:
    """Say what DETECTOR is, and what it was made with.

    \b
    uniformaly info bolt.safetensors
    """
    _describe(load_state(detector))


def _describe(state: DetectorState) -> None:
    """What a detector is, a line each."""
    facts = state.describe()
    width = max(map(len, facts))
    for name, fact in facts.items():
        click.echo(f"{name:>{width}}  {fact}")


def _require_folder(output: str) -> None:
    """Refuse before any work a file whose folder is not there, or that is a folder itself.

    Raises:
        InputError: It is so, or as :func:`.storage.check_output` has it.
    """
    check_output(output)
    if "://" not in output and Path(output).expanduser().is_dir():
        raise InputError(f"{output} is a folder: give a file such as bolt.safetensors")
    if "://" not in output and not Path(output).expanduser().parent.is_dir():
        raise InputError(f"the folder of {output} does not exist: make it")
