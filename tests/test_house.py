"""The house: which folder imports which, drawn in CONTRIBUTING.md, and that arrows point down only."""

import ast
import re

import pytest

# From the roof down, each folder or file of the top level on its floor: it may import what is below it.
FLOORS = (
    ("__main__",), ("tryout",), ("lab",), ("training",), ("data", "models", "selection"), ("images", "sources"),
    ("scale",), ("backend", "files"), ("errors",),
)  # fmt: skip
UNKNOWN_TO = {"selection": {"backend", "images", "lab"}, "scale": {"selection", "images"}, "sources": {"backend"}}


def wing(module):
    """The folder or file of the top level that a dotted name under embsel belongs to."""
    return module.split(".")[1] if "." in module else ""


def imports(root):
    """Wing to the wings that it imports, here or there."""
    found = {}
    for path in sorted((root / "embsel").rglob("*.py")):
        own = path.relative_to(root / "embsel").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{name.name}" for name in node.names]
            found.setdefault(own, set()).update(wing(name) for name in names if name.startswith("embsel."))
    return {own: others - {own, ""} for own, others in found.items() if own != "__init__"}


def drawing(root):
    edges = imports(root)
    below = {own: [other for row in FLOORS for other in row if other in edges[own]] for row in FLOORS for own in row}
    return "\n".join(f"{own:9}  ──► {', '.join(others)}" if others else own for own, others in below.items())


def test_every_arrow_points_down(root):
    place = {own: number for number, floor in enumerate(FLOORS) for own in floor}
    edges = imports(root)
    assert edges.keys() == place.keys()
    assert [(own, other) for own, others in edges.items() for other in others if place[own] >= place[other]] == []
    assert {own: edges[own] & others for own, others in UNKNOWN_TO.items() if edges[own] & others} == {}


def test_the_drawing_is_of_these_imports(root):
    shown = re.search(r"(?s)<!-- house -->\n```text\n(.*?)\n```", (root / "CONTRIBUTING.md").read_text("utf-8"))
    assert shown, "CONTRIBUTING.md has no drawing"
    assert shown[1] == drawing(root), f"Draw it anew:\n{drawing(root)}"


@pytest.mark.parametrize(("own", "most"), [("selection", 550), ("sources", 550), ("scale", 600)])
def test_a_wing_keeps_to_its_size(root, own, most):
    """What outgrows it has a second idea in the room, or lacks a library."""
    assert sum(len(path.read_text("utf-8").splitlines()) for path in (root / "embsel" / own).glob("*.py")) <= most
