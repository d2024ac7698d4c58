"""``uniformaly export``: a detector for use elsewhere."""

from __future__ import annotations

import shlex

import click

from uniformaly_pipeline.commands import options
from uniformaly_pipeline.common.shell import runnable
from uniformaly_pipeline.common.storage import check_output
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.exported import ENCODER_FILES, describe_card


@click.command(no_args_is_help=True)
@click.argument("detector")
@click.argument("folder")
@click.option("--format", type=click.Choice(list(ENCODER_FILES)), default="safetensors",
              show_default=True, help="onnx and openvino need no torch where they are used; "
              "safetensors is one file for torch with the encoder's weights.")  # fmt: skip
@click.option("--images", metavar="FOLDER", help="Images to compare on, normal and anomalous ones "
              "best.  [default: the detector's pictures of normal images]")  # fmt: skip
@options.checkpoint
def export(
    detector: str, folder: str, format: str, images: str | None, checkpoint: str | None
) -> None:
    """Write DETECTOR into FOLDER for use elsewhere, once it is found to judge as before.

    Every command takes FOLDER in place of a detector's file. FOLDER/card.json says how it was
    checked; where features or a decision differ nothing is written.

    \b
    uniformaly export bolt.safetensors bolt_onnx --format onnx --images test_images/
    uniformaly export bolt.safetensors bolt_openvino --format openvino
    uniformaly predict bolt_onnx new/ --out results/
    """
    check_output(folder)
    loaded = Detector.load(detector, checkpoint=checkpoint, device="cpu")
    card = loaded.export(folder, format, images=images)  # type: ignore[arg-type]
    click.echo("\n".join(describe_card(card)))
    judge = runnable(f"uniformaly predict {shlex.quote(folder)} new/ --out results/")
    click.echo(f"\nJudge images:  {judge}")
