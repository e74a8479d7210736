"""Text into notebooks, notebooks into pages.

python book/build.py notebooks         execute book/md/*.md and write book/*.ipynb
python book/build.py html              execute what is out of date and build _build/html
python book/build.py html --committed  build _build/test-html from the committed notebooks
python book/build.py check             do the committed notebooks agree with the text?
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import distributions
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError

# A chapter runs alike in every shell: with inline figures, its own packages, and warnings shown.
for name in ("MPLBACKEND", "MATPLOTLIBRC", "PYTHONPATH", "PYTHONWARNINGS"):
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
# What chapters display, for readers who have the package alone. Written from the text, so that no
# output depends on it but that of the page itself.
DISPLAYED = Path("scbtheory/claims/displayed.json")

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ON_COLAB = """\
# Colab starts without this book's package and tables; elsewhere this cell does nothing.
import sys
if "google.colab" in sys.modules:
    !git clone -q --depth 1 {url} book-source
    %cd -q book-source/book
    %pip install -q "..[notebooks]"
"""
SECONDS_PER_CELL = 600
COLOUR = re.compile(r"\x1b\[[\d;]*m")


# ------------------------------------------------------------------------------- text -> notebook


def names():
    """Name the pages: each is a file book/md/<name>.md."""
    return sorted(path.stem for path in (BOOK / "md").glob("*.md"))


def from_text(name):
    """Return the page as a notebook without outputs."""
    notebook = jupytext.read(BOOK / "md" / f"{name}.md", fmt="md:myst")
    cells = notebook.cells
    url = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]
    code = [index for index, cell in enumerate(cells) if is_code(cell)]
    if url and code:
        source = ON_COLAB.format(url=url).rstrip()
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["remove-cell"]})
        cells.insert(code[0], cell)
    # Ids made from the text: the same text gives the same file, an edit changes only its own id.
    seen = {}
    for cell in cells:
        text = hashlib.sha256(cell.source.encode()).hexdigest()[:10]
        seen[text] = seen.get(text, 0) + 1
        cell.id = f"{text}-{seen[text]}"
    # nbval compares text but not pictures: a notebook says which package and tables drew them.
    made_with = digest(*(path for path in (ROOT / "scbtheory", BOOK / "results") if path.exists()))
    return nbformat.v4.new_notebook(cells=cells, metadata={**METADATA, "made_with": made_with})


def execute(name):
    """Run a page; return its notebook, the problem met (or None), and the seconds it took."""
    start = time.perf_counter()
    notebook = from_text(name)
    problem = run_cells(notebook) if any(map(is_code, notebook.cells)) else None
    return notebook, problem and f"{name}, {problem}", time.perf_counter() - start


def is_code(cell):
    return cell.cell_type == "code"


def run_cells(notebook):
    """Fill in the outputs; stop at the first cell that fails or does not run silently."""
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": BOOK}},  # the folder in which Jupyter and nbval run it
        timeout=SECONDS_PER_CELL,
        coalesce_streams=True,  # how prints are cut into messages depends on timing
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # the kernel's own notices are not the chapter's
    )
    # While the book is built, checks read the text of their page, not the notebook made before.
    with client.setup_kernel(env={**os.environ, "SCBTHEORY_PAGES": str(BOOK / "md")}):
        count = 0
        for index, cell in enumerate(notebook.cells):
            if not is_code(cell):
                continue
            count += 1
            try:
                client.execute_cell(cell, index, execution_count=count)
            except (CellControlSignal, DeadKernelError) as error:
                return f"code cell {count}:\n{COLOUR.sub('', str(error))}"
            if noise := complaints(cell):
                return f"code cell {count} wrote to stderr:\n{cell.source}\n\n{noise}"
    return None


def complaints(cell):
    """Return what a cell wrote to stderr, a warning for instance, unless its tags allow that."""
    if {"allow-stderr", "raises-exception"} & set(cell.metadata.get("tags", [])):
        return ""
    return "".join(output.text for output in cell.outputs if output.get("name") == "stderr")


# --------------------------------------------------------------------------------------- validity


def digest(*parts):
    """Hash strings and files; a folder stands for every file in it, `DISPLAYED` apart."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            state.update(part.encode() + b"\0")
            continue
        files = sorted(part.rglob("*")) if part.is_dir() else [part]
        for file in files:
            name = file.relative_to(ROOT)
            if file.is_file() and "__pycache__" not in file.parts and name != DISPLAYED:
                state.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return state.hexdigest()


def surroundings():
    """Hash all that a page's outputs may depend on besides its own text."""
    installed = sorted(f"{d.name}=={d.version}" for d in distributions())
    pins = [ROOT / "constraints.txt", ROOT / "pyproject.toml"]
    code = [BOOK / "build.py", ROOT / "scbtheory"]
    data = [folder for folder in (BOOK / "results", ROOT / "benchmarks") if folder.exists()]
    return digest(sys.version, *installed, *pins, *code, *data)


def keys():
    """Map each page to what its executed notebook is valid for."""
    around = surroundings()
    return {name: digest(nbformat.writes(from_text(name)), around) for name in names()}


def execute_all():
    """Bring _build/executed up to date; exit if a page fails, after the others have run."""
    EXECUTED.mkdir(parents=True, exist_ok=True)
    package = subprocess.check_output(
        [sys.executable, "-c", "import scbtheory; print(scbtheory.__file__)"], cwd=BUILD, text=True
    )
    if ROOT not in Path(package.strip()).resolve().parents:
        sys.exit(f"The environment imports {package.strip()}, not this checkout: rm -r .venv")
    wanted = keys()
    stale = [name for name, key in wanted.items() if not is_valid(name, key)]
    problems = []
    print(f"{len(wanted)} pages, {len(stale)} to execute", flush=True)
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        running = {pool.submit(execute, name): name for name in stale}
        for future in as_completed(running):
            name = running[future]
            notebook, problem, seconds = future.result()
            print(f"  {name:<16}{seconds:6.1f} s{'  FAILED' if problem else ''}", flush=True)
            if problem:
                problems.append(problem)
                continue
            stamp = EXECUTED / f"{name}.key"
            stamp.unlink(missing_ok=True)
            nbformat.write(notebook, EXECUTED / f"{name}.ipynb")
            stamp.write_text(wanted[name])
    if keys() != wanted:
        problems.append("Text, package or pins changed while the chapters ran: run it again.")
        shutil.rmtree(EXECUTED)
    if problems:
        sys.exit("\n" + "\n\n".join(problems))


def is_valid(name, key):
    stamp, notebook = EXECUTED / f"{name}.key", EXECUTED / f"{name}.ipynb"
    return stamp.exists() and notebook.exists() and stamp.read_text() == key


# ----------------------------------------------------------------------------------------- pages


def build_html(notebooks, out):
    """Build the notebooks of a folder into `out`, strictly and from cold.

    Cold, because Sphinx would not read again, and so would pass, a page that failed before.
    """
    stage = BUILD / f"{out.name}-source"
    for folder in (stage, out):
        shutil.rmtree(folder, ignore_errors=True)
    not_pages = shutil.ignore_patterns("md", "*.ipynb", "__pycache__", "build.py")
    shutil.copytree(BOOK, stage / "book", ignore=not_pages)
    for name in names():
        shutil.copy(notebooks / f"{name}.ipynb", stage / "book")
    for file in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / file, stage)

    start = time.perf_counter()
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", stage, "-q", "-W", "-n", "--keep-going"]
    result = subprocess.run(
        command,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        # Sphinx counts 10000 lines a cell.
        where = re.compile(r"\S*/(book/\w+\.ipynb):(\d+)")
        output = where.sub(lambda m: f"{m[1]}, cell {int(m[2]) // 10000}", result.stdout)
        sys.exit(f"{output}\nThe pages do not build: see the warnings above.")
    (stage / "_build" / "html").rename(out)
    print(f"  {'pages':<16}{time.perf_counter() - start:6.1f} s", flush=True)


def html(committed):
    if committed:
        return build_html(BOOK, BUILD / "test-html")
    execute_all()
    out, stamp = BUILD / "html", BUILD / "html.key"
    ingredients = [p for p in BOOK.iterdir() if p.name != "md" and p.suffix != ".ipynb"]
    key = digest(
        surroundings(),
        *(ROOT / file for file in ("_config.yml", "_toc.yml")),
        *sorted(ingredients),
        *(EXECUTED / f"{name}.ipynb" for name in names()),
    )
    if not ((out / "index.html").exists() and stamp.exists() and stamp.read_text() == key):
        stamp.unlink(missing_ok=True)
        build_html(EXECUTED, out)
        stamp.write_text(key)
    print(f"\nThe book: {(out / 'index.html').as_uri()}\n(or `make serve`)")


def write_notebooks():
    execute_all()
    for name in names():
        shutil.copyfile(EXECUTED / f"{name}.ipynb", BOOK / f"{name}.ipynb")
    (ROOT / DISPLAYED).write_text(displayed(), "utf-8")


def displayed():
    """Return the displayed equations of each page that has some, as JSON."""
    from scbtheory.claims import displayed as equations  # the package must be that of the checkout

    found = {name: equations((BOOK / "md" / f"{name}.md").read_text("utf-8")) for name in names()}
    found = {name: by_label for name, by_label in found.items() if by_label}
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def displayed_is_current():
    path = ROOT / DISPLAYED
    return path.exists() and path.read_text("utf-8") == displayed()


# ----------------------------------------------------------------------------------------- checks


def pages_in_toc():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [Path(toc["root"]).name, *(Path(chapter["file"]).name for chapter in chapters)]


def orphans():
    """Name the committed notebooks that no text stands behind."""
    return sorted({path.stem for path in BOOK.glob("*.ipynb")} - set(names()))


def disagreements(name):
    """List where a committed notebook departs from its text, or was not executed as a whole."""
    path = BOOK / f"{name}.ipynb"
    if not path.exists():
        return ["there is no committed notebook"]
    notebook, text = nbformat.read(path, as_version=4), from_text(name)
    found = []
    if notebook.metadata != text.metadata:
        found.append("its metadata is not what book/build.py writes")
    if len(notebook.cells) != len(text.cells):
        found.append(f"it has {len(notebook.cells)} cells, the text has {len(text.cells)}")
    for number, (cell, wanted) in enumerate(zip(notebook.cells, text.cells, strict=False), start=1):
        parts = ("cell_type", "id", "metadata", "source")
        if differing := [part for part in parts if cell[part] != wanted[part]]:
            found.append(f"cell {number} is the first to differ from the text: {differing}")
            break
    code = [cell for cell in notebook.cells if is_code(cell)]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"it was not run once from top to bottom: {counts}")
    if code and not any(cell.outputs for cell in code):
        found.append("no cell has an output, so nbval would compare nothing")
    for number, cell in enumerate(code, start=1):
        raised = any(output.output_type == "error" for output in cell.outputs)
        if raised and "raises-exception" not in cell.metadata.get("tags", []):
            found.append(f"code cell {number} raised an error")
        if complaints(cell):
            found.append(f"code cell {number} wrote to stderr")
    return found


def check():
    problems = [f"{name}: {text}" for name in names() for text in disagreements(name)]
    problems += [f"{name}: a notebook without a text" for name in orphans()]
    strays = sorted(set(names()) ^ set(pages_in_toc()))
    problems += [f"{name}: in _toc.yml or in book/md, not in both" for name in strays]
    if not displayed_is_current():
        problems.append(f"{DISPLAYED} is not what the chapters display")
    if problems:
        sys.exit("\n".join([*problems, "`make notebooks` writes the notebooks anew."]))
    print(f"{len(names())} notebooks agree with their text")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["notebooks", "html", "check"])
    parser.add_argument("--committed", action="store_true", help="do not execute anything")
    arguments = parser.parse_args()
    if arguments.what == "notebooks":
        write_notebooks()
    elif arguments.what == "html":
        html(arguments.committed)
    else:
        check()


if __name__ == "__main__":
    main()
