"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders import ClipzooError
from loaders.atomic import replacing, write_text


def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "model.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            assert partial.suffix == path.suffix
            assert path.read_text() == "old"
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == (tmp_path / "new folder").stat().st_mode & 0o666


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "file" / "x.json", "cannot be written")):
        with pytest.raises(ClipzooError, match=said) as error:
            write_text(path, "")
        assert str(path) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
