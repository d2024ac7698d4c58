"""Species-60: the source, its split by class, and the tree that the split makes."""

from __future__ import annotations

import csv
import shutil
import uuid
from importlib import resources
from pathlib import Path

import pytest
from miniatures import SPECIES, levels, make_species60, pack, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import RemotePath
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.layouts.species60 import CLASSES, classes, read, write_tree
from uniformaly_pipeline.ingestion.roots import find_classes, locate

LIMI = "umbra_limi"


def split_of(root: ImageFolder, name: str, split: Split) -> dict[str, str]:
    """The split of every image of a class."""
    return {r.image: r.split for r in read(root, classes(root), split) if r.class_name == name}


def test_every_row_of_the_source(tmp_path: Path) -> None:
    folder = make_species60(tmp_path)
    root = ImageFolder(str(folder))
    assert classes(root) == sorted(SPECIES)
    found = rows(read(root, [LIMI], Split()))
    assert sorted(row[0] for row in found) == sorted(
        f"{LIMI}/{file.name}" for file in (folder / LIMI).iterdir()
    )
    assert [row[1] for row in found] == ["train"] * 8 + ["test"] * 2
    assert {row[2:] for row in found} == {(0, LIMI, "good", None)}
    every = read(root, classes(root), Split())
    assert [r.class_name for r in every] == [name for name in sorted(SPECIES) for _ in range(10)]


def test_every_row_of_the_tree(tmp_path: Path) -> None:
    source = ImageFolder(str(make_species60(tmp_path / "source")))
    records = read(source, [LIMI, "acris_gryllus"], Split())
    write_tree(source, records, tmp_path / "tree")
    tree = ImageFolder(str(tmp_path / "tree"))
    assert classes(tree) == ["acris_gryllus", LIMI]
    expected = [
        (f"one_class_{split}/{image}", split, label, name, defect, mask)
        for image, split, label, name, defect, mask in rows(records)
    ]
    assert (
        rows(read(tree, [LIMI, "acris_gryllus"], Split(seed=9, cap=1, min_images=99))) == expected
    )
    for record, (copy, *_) in zip(records, expected, strict=True):
        original = tmp_path / "source/species" / record.image
        assert (tmp_path / "tree" / copy).read_bytes() == original.read_bytes()


def test_the_source_is_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_species60(tmp_path / "data")
    for root in levels(folder, LIMI):
        assert locate("species60", root).root == str(folder)
        assert find_classes("species60", root) == sorted(SPECIES)


@pytest.mark.parametrize("child", ["one_class_train", "one_class_test"])
def test_the_tree_is_found_one_level_up_and_down(child: str, tmp_path: Path) -> None:
    source = ImageFolder(str(make_species60(tmp_path / "source")))
    folder = tmp_path / "data/tree"
    write_tree(source, read(source, list(SPECIES), Split()), folder)
    for root in levels(folder, child):
        assert locate("species60", root).root == str(folder)


def test_found_where_the_archive_was_unpacked(tmp_path: Path) -> None:
    archive = pack(make_species60(tmp_path / "made"), tmp_path / "species.tar")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    found = locate("species60", ImageFolder(str(tmp_path / "unpacked")))
    assert found.root == str(tmp_path / "unpacked/species")


def test_only_the_sixty_species_count(tmp_path: Path) -> None:
    folder = make_species60(tmp_path)
    shutil.copytree(folder / LIMI, folder / "umbra_pygmaea")
    (folder / LIMI).rename(folder / "Umbra limi")
    root = ImageFolder(str(folder))
    assert classes(root) == sorted(SPECIES)
    assert {Path(r.image).parent.name for r in read(root, [LIMI], Split())} == {"Umbra limi"}
    assert classes(ImageFolder(str(tmp_path / "nowhere"))) == []


def test_a_classes_split_follows_from_the_seed_alone(tmp_path: Path) -> None:
    folder = make_species60(tmp_path, images=20)
    root = ImageFolder(str(folder))
    first = split_of(root, LIMI, Split(seed=1))
    assert split_of(root, LIMI, Split(seed=1)) == first
    assert split_of(root, LIMI, Split(seed=2)) != first
    gryllus = split_of(root, "acris_gryllus", Split(seed=1))
    # The same file names, but another draw.
    drawn = [{Path(p).name for p, s in d.items() if s == "test"} for d in (first, gryllus)]
    assert drawn[0] != drawn[1]
    shutil.rmtree(folder / "acris_gryllus")
    next((folder / "octopus_tetricus").iterdir()).unlink()
    assert split_of(root, LIMI, Split(seed=1)) == first


def test_cap_and_share(tmp_path: Path) -> None:
    root = ImageFolder(str(make_species60(tmp_path, images=20)))
    parts = list(split_of(root, LIMI, Split(test_share=0.25, cap=12)).values())
    assert (parts.count("train"), parts.count("test")) == (9, 3)
    capped = set(split_of(root, LIMI, Split(cap=12)))
    assert capped != set(split_of(root, LIMI, Split(cap=12, seed=1)))
    assert capped != set(sorted(split_of(root, LIMI, Split()))[:12])
    assert len(split_of(root, LIMI, Split(cap=100))) == 20


def test_classes_with_too_few_images_are_all_named(tmp_path: Path) -> None:
    folder = make_species60(tmp_path)
    shutil.copy(next((folder / LIMI).iterdir()), folder / LIMI / "copy.jpg")
    root = ImageFolder(str(folder))
    with pytest.raises(InputError) as error:
        read(root, classes(root), Split(min_images=11))
    assert str(error.value) == (
        f"{folder}: 2 problems: class 'acris_gryllus' has 10 of 11 images; "
        "class 'octopus_tetricus' has 10 of 11 images: add images, or name the other classes in "
        "categories"
    )
    assert len(read(root, classes(root), Split(min_images=10))) == 31


def test_a_class_that_cannot_be_split_is_named(tmp_path: Path) -> None:
    folder = make_species60(tmp_path, images=1)
    (folder / "zelus_renardii").mkdir()
    with pytest.raises(InputError) as error:
        read(ImageFolder(str(folder)), [LIMI, "zelus_renardii"], Split())
    assert "class 'umbra_limi' has too few images to split: 1;" in str(error.value)
    assert "class 'zelus_renardii' has too few images to split: 0:" in str(error.value)


def test_the_tree_appears_in_one_step(tmp_path: Path) -> None:
    folder = make_species60(tmp_path / "source")
    root = ImageFolder(str(folder))
    records = read(root, [LIMI], Split())
    moved = folder / records[-1].image
    moved.rename(tmp_path / "kept")
    target = tmp_path / "tree"
    with pytest.raises(FileNotFoundError):
        write_tree(root, records, target)
    assert not target.exists()
    assert not (tmp_path / "tree.part").exists()
    (tmp_path / "kept").rename(moved)
    target.mkdir()
    write_tree(root, records, target)
    assert sorted(path.name for path in target.iterdir()) == ["one_class_test", "one_class_train"]
    assert not (tmp_path / "tree.part").exists()


def test_a_tree_elsewhere_is_the_same(tmp_path: Path) -> None:
    root = ImageFolder(str(make_species60(tmp_path / "source")))
    records = read(root, [LIMI], Split())
    target = RemotePath(f"memory://{uuid.uuid4().hex}/tree")
    write_tree(root, records, tmp_path / "tree")
    write_tree(root, records, target)
    here, there = ImageFolder(str(tmp_path / "tree")), ImageFolder(str(target))
    assert there.files_below() == here.files_below()
    assert [there.read_bytes(path) for path in there.files_below()] == [
        here.read_bytes(path) for path in here.files_below()
    ]
    with pytest.raises(InputError, match=f"{target} exists already"):
        write_tree(root, records, target)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    root = ImageFolder(str(make_species60(tmp_path)))
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=f"{target} exists already: remove it or choose another"):
        write_tree(root, read(root, [LIMI], Split()), target)
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]


def test_nested_images_keep_their_folders_and_none_is_overwritten(tmp_path: Path) -> None:
    folder = make_species60(tmp_path)
    (folder / LIMI / "2019").mkdir()
    same = sorted((folder / LIMI).glob("*.jpg"))[0]
    shutil.copy(same, folder / LIMI / "2019")
    root = ImageFolder(str(folder))
    write_tree(root, read(root, [LIMI], Split()), tmp_path / "tree")
    tree = ImageFolder(str(tmp_path / "tree"))
    assert len(tree.files_below()) == 11
    assert any("/2019/" in path for path in tree.files_below())
    shutil.copytree(folder / LIMI, folder / "Umbra limi")
    with pytest.raises(InputError, match="of class 'umbra_limi' have the same name"):
        write_tree(root, read(root, [LIMI], Split()), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_tree_can_be_copied_again(tmp_path: Path) -> None:
    source = ImageFolder(str(make_species60(tmp_path)))
    write_tree(source, read(source, [LIMI], Split()), tmp_path / "tree")
    tree = ImageFolder(str(tmp_path / "tree"))
    write_tree(tree, read(tree, [LIMI], Split()), tmp_path / "again")
    assert ImageFolder(str(tmp_path / "again")).files_below() == tree.files_below()


def test_the_classes_are_the_papers() -> None:
    table = resources.files("uniformaly_pipeline.evaluation.paper") / "results.csv"
    results = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    names = {row["category"] for row in results if row["source"] == "Table 18"}
    assert set(CLASSES) <= names
    assert list(CLASSES) == sorted(set(CLASSES))
    assert len(CLASSES) == 60
