"""The example that a researcher copies first."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_learns_the_task():
    code = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[1]
    names = {}
    exec(code, names)
    assert ((names["run"].model.A != 0) == (names["task"].Q > 0)).all()
    assert names["run"].history["distance_V"][-1] < 0.02
