"""The build notices what it has to notice: tried on a small book of two pages."""

import shutil

import build
import nbformat
import pytest

ONE = """\
# One

```{code-cell}
print("one")
```

```{code-cell}
2
```
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    for folder in ("book/md", "book/results", "scbtheory"):
        (tmp_path / folder).mkdir(parents=True)
    for file, text in {
        "_config.yml": "repository: {url: ''}",
        "constraints.txt": "numpy==2.4.6",
        "pyproject.toml": "",
        "book/md/one.md": ONE,
        "book/md/two.md": "# Two",
        "book/results/table.csv": "1",
        "scbtheory/scb.py": "N = 3",
    }.items():
        (tmp_path / file).write_text(text)
    shutil.copy(build.BOOK / "build.py", tmp_path / "book")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    return tmp_path


def changed(before):
    after = build.keys()
    return {name for name in after if after[name] != before[name]}


def test_keys_are_stable(house):
    assert changed(build.keys()) == set()


def test_change_of_text_makes_its_own_page_stale(house):
    before = build.keys()
    (house / "book/md/one.md").write_text(ONE.replace("one", "uno"))
    assert changed(before) == {"one"}


@pytest.mark.parametrize(
    "file",
    [
        "scbtheory/scb.py",
        "scbtheory/new.csv",
        "constraints.txt",
        "pyproject.toml",
        "book/build.py",
        "book/results/table.csv",
    ],
)
def test_change_around_the_text_makes_every_page_stale(house, file):
    before = build.keys()
    with (house / file).open("a") as stream:
        stream.write("# more")
    assert changed(before) == {"one", "two"}


def test_what_the_chapters_display_makes_no_page_stale(house):
    (house / build.DISPLAYED).parent.mkdir()
    before = build.keys()
    (house / build.DISPLAYED).write_text("{}")
    assert changed(before) == set()
    (house / build.DISPLAYED).with_name("other.json").write_text("{}")
    assert changed(before) == {"one", "two"}


def test_what_the_chapters_display_is_kept_for_the_package(house):
    (house / build.DISPLAYED).parent.mkdir()
    assert not build.displayed_is_current()
    text = "# Two\n\n```{math}\n:label: eq-two\nμ = 2\n```\n"
    (house / "book/md/two.md").write_text(text)
    (house / build.DISPLAYED).write_text(build.displayed(), "utf-8")
    expected = '{\n "two": {\n  "eq-two": "μ = 2"\n }\n}\n'
    assert (house / build.DISPLAYED).read_text("utf-8") == expected
    assert build.displayed_is_current()
    (house / "book/md/two.md").write_text(text.replace("2\n```", "3\n```"))
    assert not build.displayed_is_current()


def test_another_python_makes_every_page_stale(house, monkeypatch):
    before = build.keys()
    monkeypatch.setattr(build.sys, "version", "3.99.0")
    assert changed(before) == {"one", "two"}


def test_repository_address_adds_the_colab_cell(house):
    assert "colab" not in build.from_text("one").cells[1].source
    (house / "_config.yml").write_text("repository: {url: 'https://github.com/owner/name'}")
    assert (
        "clone -q --depth 1 https://github.com/owner/name" in build.from_text("one").cells[1].source
    )
    assert len(build.from_text("two").cells) == 1


def test_executed_notebook_agrees_with_its_text(house):
    notebook, problem, _ = build.execute("one")
    assert problem is None
    nbformat.write(notebook, house / "book/one.ipynb")
    assert build.disagreements("one") == []


def test_kernel_knows_where_the_text_is(house):
    line = "import os; print(os.environ['SCBTHEORY_PAGES'])"
    (house / "book/md/one.md").write_text(ONE.replace("2\n", line + "\n"))
    notebook, _, _ = build.execute("one")
    assert notebook.cells[2].outputs[0].text == f"{house / 'book' / 'md'}\n"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import warnings; warnings.warn('careful')", "careful"),
        ("import sys; print('noise', file=sys.stderr)", "noise"),
    ],
)
def test_cell_that_fails_or_is_not_silent_is_named(house, line, complaint):
    (house / "book/md/one.md").write_text(ONE.replace("2\n", line + "\n"))
    _, problem, _ = build.execute("one")
    assert problem.startswith("one, code cell 2") and complaint in problem


def edit(part, value):
    return lambda notebook: notebook.cells[1].update({part: value})


ERROR = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
NOISE = nbformat.v4.new_output("stream", name="stderr", text="hm")


@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (edit("source", "print('other')"), "source"),
        (edit("metadata", {"tags": ["hide-input"]}), "metadata"),
        (edit("execution_count", 7), "top to bottom"),
        (edit("outputs", []), "no cell has an output"),
        (edit("outputs", [ERROR]), "raised"),
        (edit("outputs", [NOISE]), "stderr"),
        (lambda notebook: notebook.cells.pop(0), "cells"),
        (lambda notebook: notebook.metadata.update(kernelspec={}), "metadata"),
    ],
)
def test_notebook_that_departs_from_its_text_is_seen(house, tamper, complaint):
    notebook = build.from_text("one")
    output = nbformat.v4.new_output("stream", name="stdout", text="one\n")
    notebook.cells[1].update(execution_count=1, outputs=[output])
    notebook.cells[2].update(execution_count=2)
    nbformat.write(notebook, house / "book/one.ipynb")
    assert build.disagreements("one") == []
    tamper(notebook)
    nbformat.write(notebook, house / "book/one.ipynb")
    assert any(complaint in problem for problem in build.disagreements("one"))


def test_notebook_without_text_is_seen(house):
    (house / "book/three.ipynb").touch()
    assert build.orphans() == ["three"]
