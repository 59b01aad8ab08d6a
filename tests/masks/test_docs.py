import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "masks.md"


def test_the_examples_run_as_written_one_after_the_other() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
