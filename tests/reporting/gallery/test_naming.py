"""Names of pictures."""

from __future__ import annotations

import pytest

from uniformaly_pipeline.reporting.gallery.naming import file_names


def test_file_names_keep_folders_and_drop_suffixes() -> None:
    assert file_names(["a.png", "line 1/b.tar.jpg", "line 2/a.png"]) == [
        "a",
        "line_1/b.tar",
        "line_2/a",
    ]


def test_no_name_leads_out_of_the_folder() -> None:
    paths = ["../a.png", "../../a.png", "/a.png", "x/../../b.png", "//host/c.png", "..a/d.png"]
    assert file_names(paths) == ["a", "a-2", "a-3", "x/b", "host/c", "..a/d"]


def test_file_names_keep_letters_of_any_language_and_no_signs() -> None:
    assert file_names(["größe/ä$(b)*.png"]) == ["größe/ä_b_"]


def test_paths_that_differ_in_their_suffix_get_different_names() -> None:
    """It stays, so that a name tells which file is meant."""
    names = file_names(["x/a.png", "x/a.jpg", "x/b.png", "a.png"])
    assert names == ["x/a.png", "x/a.jpg", "x/b", "a"]
    assert file_names(["x.bmp", "x.gif", "x.bmp.png"]) == ["x.bmp", "x.gif", "x.bmp.png"]
    assert file_names(["A.PNG", "a.bmp"]) == ["A.PNG", "a.bmp"]


def test_paths_that_their_suffix_does_not_tell_apart_are_numbered() -> None:
    assert file_names(["a.png", "a.png", "A.png"]) == ["a", "a-2", "A-3"]
    assert file_names(["a.png", "../a.png", "a.gif"]) == ["a.png", "a-2.png", "a.gif"]


def test_no_images_have_no_names() -> None:
    assert file_names([]) == []


@pytest.mark.parametrize(
    "paths",
    [
        ["a b.png", "a_b.png"],
        ["x/a.png", "x/a.jpg", "x/a.png.bmp"],
        ["a-2.b", "a.b", "../a.b", "a.c"],
    ],
)
def test_names_are_unique_even_where_altered_paths_collide(paths: list[str]) -> None:
    assert len(set(file_names(paths))) == len(paths)
