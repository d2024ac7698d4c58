"""Where the published data sets come from, under which terms, and what has to be done by hand."""

from __future__ import annotations

from dataclasses import dataclass

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.ingestion.download.archives import archive_fault
from uniformaly_pipeline.ingestion.download.fetch import Source
from uniformaly_pipeline.ingestion.layouts.cifar import CIFAR10, CIFAR100, HOME, CifarLayout


@dataclass(frozen=True)
class Publication:
    """How a data set was published: its terms, and where to get it.

    Attributes:
        licence: The terms, in a few words.
        page: The publishers' own page.
        sources: Files that may be fetched automatically.
        by_hand: What to fetch by hand instead, and under which name; empty if nothing.
    """

    licence: str
    page: str
    sources: tuple[Source, ...] = ()
    by_hand: str = ""


def _cifar(layout: CifarLayout) -> Publication:
    archive = layout.packing.archive
    return Publication(
        "none stated; cite Krizhevsky, Learning multiple layers of features from tiny images",
        HOME,
        (Source(HOME.replace("cifar.html", archive), archive, md5=layout.packing.md5),),
    )


PUBLICATIONS = {
    "mvtec": Publication(
        "CC BY-NC-SA 4.0, no commercial use",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad",
        (
            Source(
                "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/"
                "420938113-1629952094/mvtec_anomaly_detection.tar.xz",
                "mvtec_anomaly_detection.tar.xz",
                sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            ),
        ),
    ),
    "btad": Publication(
        "CC BY-NC-SA 4.0, no commercial use",
        "https://github.com/pankajmishra000/VT-ADL",
        (
            Source(
                "https://avires.dimi.uniud.it/papers/btad/btad.zip",
                "btad.zip",
                sha256="461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
            ),
        ),
    ),
    "mtd": Publication(
        "none stated; cite Huang, Qiu and Yuan, Surface defect saliency of magnetic tile",
        "https://github.com/abin24/Magnetic-tile-defect-datasets.",
        (
            Source(
                "https://github.com/abin24/Magnetic-tile-defect-datasets./archive/refs/heads/"
                "master.zip",
                "magnetic_tile.zip",
                find_fault=archive_fault,  # GitHub packs it anew: no checksum lasts
            ),
        ),
    ),
    "cpd": Publication(
        "CC BY-NC-ND 4.0, no commercial use",
        "https://www.kaggle.com/datasets/ravirajsinh45/"
        "real-life-industrial-dataset-of-casting-product",
        by_hand="log in to Kaggle and download the archive (its casting_data folder is used)",
    ),
    "cifar10": _cifar(CIFAR10),
    "cifar100": _cifar(CIFAR100),
    "imagenet30": Publication(
        "ImageNet's terms: research and education only",
        "https://github.com/hendrycks/ss-ood",
        by_hand="download one_class_train.tar and one_class_test.tar, which the page above links "
        "to on Google Drive",
    ),
    "visa": Publication(
        "CC BY 4.0",
        "https://github.com/amazon-science/spot-diff",
        (
            Source(
                "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
                "VisA_20220922.tar",
            ),
        ),
    ),
    "mvtec_ad2": Publication(
        "CC BY-NC-SA 4.0, no commercial use",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        by_hand="accept the terms on the page above and download the archive, or those of single "
        "categories into one folder",
    ),
    "mvtec_loco": Publication(
        "CC BY-NC-SA 4.0, no commercial use",
        "https://www.mvtec.com/company/research/datasets/mvtec-loco",
        by_hand="accept the terms on the page above and download the archive",
    ),
    "real_iad": Publication(
        "on request, for research",
        "https://realiad4ad.github.io/Real-IAD/",
        by_hand="ask for access on the page above, download the images of one size "
        "(realiad_1024) and the splits (realiad_jsons) and unpack both into one folder",
    ),
    "mpdd": Publication(
        "none stated; cite Jezek et al., Deep learning-based defect detection of metal parts",
        "https://github.com/stepanje/MPDD",
        by_hand="download the archive that the page above links to on OneDrive",
    ),
    "kolektor_sdd2": Publication(
        "CC BY-NC-SA 4.0, no commercial use",
        "https://www.vicos.si/resources/kolektorsdd2/",
        by_hand="download KolektorSDD2.zip from the page above",
    ),
    "species60": Publication(
        "of each photographer, on iNaturalist",
        "https://github.com/hendrycks/anomaly-seg",
        by_hand="download the Species data set (Hendrycks et al., Scaling out-of-distribution "
        "detection for real-world settings) and put the folders of the 60 species of "
        "docs/datasets.md there",
    ),
}


def find_publication(layout: str) -> Publication:
    """How to get the data set of a layout.

    Raises:
        InputError: It is not a published one.
    """
    if layout not in PUBLICATIONS:
        raise InputError(
            f"there is nothing to download for the layout '{layout}': name a published data set "
            f"with --params=dataset=NAME{did_you_mean(layout, list(PUBLICATIONS))}"
        )
    return PUBLICATIONS[layout]
