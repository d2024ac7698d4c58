"""MTD as published, its split, and what is reported where it is not complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures import MTD_DEFECTS, levels, make_mtd, pack, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.layouts.mtd import CLASS, PUBLISHED, classes, read
from uniformaly_pipeline.ingestion.manifest import ImageRecord
from uniformaly_pipeline.ingestion.roots import find_classes, locate

KINDS = {"Blowhole": 115, "Break": 85, "Crack": 57, "Fray": 32, "Uneven": 103}


def normal(records: list[ImageRecord], split: str) -> list[str]:
    return [r.image for r in records if r.split == split and not r.label]


def test_every_row(tmp_path: Path) -> None:
    folder = make_mtd(tmp_path, free=5)
    free = sorted(path.name for path in (folder / "MT_Free/Imgs").glob("*.jpg"))
    found = rows(read(ImageFolder(str(folder)), [CLASS], Split()))
    assert [row[1] for row in found[:5]] == ["train"] * 4 + ["test"]
    assert sorted(row[0] for row in found[:5]) == [f"MT_Free/Imgs/{name}" for name in free]
    assert {row[2:] for row in found[:5]} == {(0, "magnetic_tile", "good", None)}
    expected = []
    for kind in MTD_DEFECTS:
        for file in sorted((folder / f"MT_{kind}/Imgs").glob("*.jpg")):
            stem = f"MT_{kind}/Imgs/{file.stem}"
            row = (f"{stem}.jpg", "test", 1, "magnetic_tile", kind.lower(), f"{stem}.png")
            expected.append(row)
    assert found[5:] == expected
    assert len(expected) == 10


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_mtd(tmp_path / "data")
    for root in levels(folder, "MT_Fray"):
        assert locate("mtd", root).root == str(folder)
        assert find_classes("mtd", root) == ["magnetic_tile"]


def test_the_split_is_the_same_wherever_the_data_set_lies(tmp_path: Path) -> None:
    folder = make_mtd(tmp_path / "made")
    archive = pack(folder, tmp_path / "mtd.zip")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    found = locate("mtd", ImageFolder(str(tmp_path / "unpacked")))
    here = read(ImageFolder(str(folder)), [CLASS], Split())
    assert read(found, [CLASS], Split()) == here


def test_the_published_number_of_images(tmp_path: Path) -> None:
    for kind, count in {"Free": 952, **KINDS}.items():
        images = tmp_path / f"MT_{kind}/Imgs"
        images.mkdir(parents=True)
        for i in range(count):
            (images / f"exp1_num_{i}.jpg").touch()
            (images / f"exp1_num_{i}.png").touch()
    records = read(ImageFolder(str(tmp_path)), [CLASS], Split())
    train, test = normal(records, "train"), normal(records, "test")
    assert list(PUBLISHED) == ["magnetic_tile"]
    assert (len(train), len(test)) == (761, 191)
    assert Counts(761, 191, sum(record.label for record in records)) == PUBLISHED[CLASS]
    assert not set(train) & set(test)
    # A seeded draw takes from everywhere, not from either end.
    numbers = [int(Path(path).stem.rpartition("_")[2]) for path in test]
    assert 380 < sum(numbers) / len(numbers) < 570


def test_the_seed_alone_decides_the_split(tmp_path: Path) -> None:
    folder = make_mtd(tmp_path, free=20)
    root = ImageFolder(str(folder))
    first = read(root, [CLASS], Split(seed=3))
    assert read(root, [CLASS], Split(seed=3)) == first
    assert normal(read(root, [CLASS], Split(seed=4)), "test") != normal(first, "test")
    for file in (folder / "MT_Fray/Imgs").glob("*"):
        file.rename(file.with_stem(f"{file.stem}_renamed"))
    again = read(root, [CLASS], Split(seed=3))
    assert normal(again, "test") == normal(first, "test")
    assert normal(again, "train") == normal(first, "train")


@pytest.mark.parametrize(
    ("share", "free", "held_out"),
    [(0.2, 10, 2), (0.2, 9, 2), (0.2, 11, 3), (0.5, 10, 5), (0.9, 10, 9), (0.3, 10, 3)],
)
def test_the_share_that_is_held_out(share: float, free: int, held_out: int, tmp_path: Path) -> None:
    root = ImageFolder(str(make_mtd(tmp_path, free=free, defective=1)))
    records = read(root, [CLASS], Split(test_share=share))
    assert len(normal(records, "test")) == held_out
    assert len(normal(records, "train")) == free - held_out


def test_other_folders_and_files_do_not_count(tmp_path: Path) -> None:
    folder = make_mtd(tmp_path)
    root = ImageFolder(str(folder))
    before = read(root, [CLASS], Split())
    shutil.copytree(folder / "MT_Fray", folder / "MT_Rust")
    (folder / "MT_Free/Imgs/notes.txt").write_text("not an image")
    assert read(root, [CLASS], Split()) == before
    assert read(root, [], Split()) == []
    assert classes(ImageFolder(str(folder / "MT_Free"))) == []
    assert classes(ImageFolder(str(tmp_path / "nowhere"))) == []


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_mtd(tmp_path, free=1)
    shutil.rmtree(folder / "MT_Crack")
    lost = next((folder / "MT_Break/Imgs").glob("*.png"))
    lost.unlink()
    with pytest.raises(InputError) as error:
        read(ImageFolder(str(folder)), [CLASS], Split())
    message = str(error.value)
    assert message.startswith(f"{folder}: 3 problems: ")
    assert "MT_Free/Imgs has too few .jpg images to split" in message
    assert "MT_Crack/Imgs has no .jpg images" in message
    assert f"MT_Break/Imgs/{lost.stem}.jpg has no .png mask beside it: unpack" in message
    assert "\n" not in message
