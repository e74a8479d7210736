"""Mutation testing: the mutants that no test kills are those that survivors.toml explains.

    python tests/survivors.py

runs mutmut on a copy below _build/mutants, then names, and fails on, survivors that are not listed
and listed ones that survive no more. A number is no name for a mutant, since it changes with every
edit: a mutant is its function and the lines that it changes.
"""

from __future__ import annotations

import ast
import difflib
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPY = ROOT / "_build" / "mutants"
LIST = ROOT / "tests" / "survivors.toml"
MUTMUT = Path(sys.executable).with_name("mutmut")


class Mutant(NamedTuple):
    """A function and the lines that differ, without their indentation."""

    function: str
    before: str
    after: str

    def as_toml(self) -> str:
        entry = ["[[survivor]]"]
        for name, value in self._asdict().items():
            quotes = "'''" if "\n" in value or "'" in value else "'"
            entry.append(f"{name} = {quotes}{value}{quotes}")
        return "\n".join(entry)


def run() -> None:
    """Run mutmut from scratch, where it leaves nothing in the working tree."""
    shutil.rmtree(COPY, ignore_errors=True)
    for folder in ("scbtheory", "tests"):
        shutil.copytree(ROOT / folder, COPY / folder)
    shutil.copy(ROOT / "pyproject.toml", COPY)
    environment = os.environ | {"MPLBACKEND": "agg"}
    subprocess.run([MUTMUT, "run", "--max-children=2"], cwd=COPY, env=environment, check=True)


def verdicts() -> dict[str, str]:
    """What became of each mutant, by the name that mutmut gives it."""
    command = [MUTMUT, "results", "--all=true"]
    answer = subprocess.run(command, cwd=COPY, capture_output=True, text=True, check=True)
    return dict(line.strip().split(": ") for line in answer.stdout.splitlines())


def plain(name: str) -> str:
    """The function as the module names it: mutmut writes x_function, and xǁClassǁmethod."""
    name = name.partition("__mutmut_")[0]
    return name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def bodies(module: str) -> dict[str, list[str]]:
    """The lines of each function that mutmut wrote for a module: the original and its mutants."""
    text = (COPY / "mutants" / f"{module.replace('.', '/')}.py").read_text("utf-8")
    lines = [line.strip() for line in text.splitlines()]
    return {
        node.name: [
            line.replace(node.name, plain(node.name))
            for line in lines[node.lineno - 1 : node.end_lineno]
        ]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }


def mutants(names: list[str]) -> list[Mutant]:
    """What the mutants of these names change."""
    written = {module: bodies(module) for module in {name.rpartition(".")[0] for name in names}}
    found = []
    for name in names:
        module, _, mutated = name.rpartition(".")
        original = mutated.partition("__mutmut_")[0] + "__mutmut_orig"
        lines = list(difflib.ndiff(written[module][original], written[module][mutated]))
        before, after = ("\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+")
        function = f"{module.removeprefix('scbtheory.')}.{plain(mutated)}"
        found.append(Mutant(function, before, after))
    return found


def main() -> int:
    run()
    found = verdicts()
    count = Counter(found.values())
    alive = [name for name, verdict in found.items() if verdict not in ("killed", "timeout")]
    survivors = Counter(mutants(alive))
    explained = Counter(
        Mutant(entry["function"], entry["before"], entry["after"])
        for entry in tomllib.loads(LIST.read_text("utf-8"))["survivor"]
        if entry["reason"].strip()
    )
    for title, surplus in (
        ("no test kills, and survivors.toml does not explain", survivors - explained),
        ("survivors.toml lists, but survive no more", explained - survivors),
    ):
        for number, mutant in enumerate(surplus.elements()):
            print("" if number else f"\nMutants that {title}:\n", mutant.as_toml(), sep="\n")
    caught = count["killed"] + count["timeout"]
    print(
        f"\n{len(found)} mutants: {count['killed']} killed, {count['timeout']} timed out, "
        f"{(survivors & explained).total()} survived and explained, "
        f"{(survivors - explained).total()} survived without; "
        f"score {caught / len(found):.1%}"
    )
    return int(survivors != explained)


if __name__ == "__main__":
    sys.exit(main())
