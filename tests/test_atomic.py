import os
import stat
from pathlib import Path

import pytest

from geomask.atomic import atomic_path, write_text
from geomask.errors import RunError


def test_a_file_appears_when_the_block_ends_with_its_parents(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(target) as draft:
        draft.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"


def test_the_draft_lies_beside_the_file_and_has_its_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "image.tif") as draft:
        assert (draft.parent, draft.suffix) == (tmp_path, ".tif")
        draft.write_text("")


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_an_old_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a much longer old text")
    write_text(tmp_path / "a.txt", "ü")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == "ü".encode()


def test_the_file_may_be_read_by_those_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("target", ["file/a.txt", "folder", "x" * 300])
def test_a_place_that_cannot_be_written_to_is_an_error_of_ours(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / target, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    write_text(tmp_path / "link.txt", "through")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "through"
