"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

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
