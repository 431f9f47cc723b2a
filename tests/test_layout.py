"""The house: imports go one way, and the README names what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ifcdsr_core.paths import ROOT

PACKAGE = ROOT / "ifcdsr_core"
FLOORS = ["core", "sources", "features", "runs", "analysis", "book"]  # each imports itself and those before it


def floor(module: str) -> str:
    """The wing of ``ifcdsr_core.<wing>.<module>``; what lies at the root, and the models, is the core."""
    wing = f"{module}..".split(".")[1]
    return wing if wing in FLOORS else "core"


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("ifcdsr_core.")}


def test_imports_go_one_way():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for other in imported(path) if path.name != "__main__.py" else ():
            if FLOORS.index(floor(other)) > FLOORS.index(floor(name)):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_the_readme_names_every_wing_and_every_module_of_the_core():
    layout = re.search(r"## Layout\n(.*?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    for path in [*PACKAGE.glob("*.py"), *(PACKAGE / wing for wing in FLOORS[1:])]:
        if not path.name.startswith("__"):
            assert path.stem in layout, f"the README's layout does not name {path.name}"
