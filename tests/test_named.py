from pathlib import Path

import pytest

from geomask.named import load_function


def test_a_function_is_found_where_python_finds_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text("def double(value):\n    return 2 * value\nnumber = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_function("my_parts:double")(21) == 42
    for absent in ("my_parts:number", "my_parts:nothing"):
        with pytest.raises(ImportError, match="my_parts has no function n"):
            load_function(absent)


@pytest.mark.parametrize("text", ["", "double", "my_parts:", ":double", "my parts:double", "os.:getcwd"])
def test_what_names_no_function_is_refused_before_anything_is_imported(text: str) -> None:
    with pytest.raises(ValueError, match="is no MODULE:FUNCTION"):
        load_function(text)
