"""The examples that a researcher copies first."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from scbtheory.sweeps import Table

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def test_the_first_example_learns_the_task():
    names = {}
    exec(EXAMPLES[0], names)
    assert ((names["run"].model.A != 0) == (names["task"].Q > 0)).all()
    assert names["run"].history["distance_V"][-1] < 0.02


def test_the_second_example_is_a_sweep_that_goes_on_where_it_was(tmp_path):
    """As a script, since it starts processes and its runs are known by their source."""
    script = tmp_path / "script.py"
    script.write_text(EXAMPLES[0] + EXAMPLES[1] + "print(len(table), table.cached)\n", "utf-8")
    for cached in (0, 20):
        end = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert end.stdout.split() == ["20", str(cached)]
    table = Table.load(tmp_path / "runs.csv")
    assert not table.failed and np.isfinite(table.column("settled")).mean() > 0.5
