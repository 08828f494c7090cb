"""Rules of the repository: one list of dependencies, targets that exist, nothing large, nothing astray."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import embsel

TOP_LEVEL = {
    ".ci", ".gitattributes", ".github", ".gitignore", ".pre-commit-config.yaml",
    "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "LICENSE-text", "Makefile", "README.md",
    "_config.yml", "_toc.yml", "book", "embsel", "environment.yml", "notebooks", "pyproject.toml", "tests",
}  # fmt: skip
LARGEST = 3_000_000  # bytes


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def targets(root):
    return set(re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.MULTILINE)[1].split())


def test_nothing_is_large_or_stands_astray_at_the_top(root):
    if shutil.which("git") is None or not (root / ".git").exists():  # as in an archive of the sources
        pytest.skip("not a git checkout")
    command = ["git", "-c", f"safe.directory={root}", "-C", root, "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    tracked = [name for name in names if name and (root / name).exists()] or pytest.skip("nothing is committed yet")
    assert {name.split("/")[0] for name in tracked} == TOP_LEVEL
    assert {name for name in tracked if (root / name).stat().st_size > LARGEST} == set()


def test_conda_lists_no_dependency_a_second_time(root, project):
    python, pip, extra = yaml.safe_load((root / "environment.yml").read_text())["dependencies"]
    assert (python.split("=")[0], pip) == ("python", "pip")
    assert python.split("=")[1] in SpecifierSet(project["requires-python"])
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", *extra["pip"])[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_help_lists_every_target(root, targets):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(["make", "-C", root, "-s"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([\w-]+) +\S", shown, re.MULTILINE)) == targets


def test_workflows_call_targets_that_exist(root, targets):
    called = {}
    for path in root.glob(".github/workflows/*.yml"):
        steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
        called[path.name] = {name for step in steps for name in re.findall(r"\bmake ([\w-]+)", step.get("run", ""))}
    assert called
    assert all(names and names <= targets for names in called.values()), called


def test_ci_runs_the_command_of_the_readme(root):
    script = root / ".ci" / "run"
    assert script.read_text().split("\n") == ["#!/usr/bin/env bash", "set -eo pipefail", "make test", ""]
    assert script.stat().st_mode & 0o111, ".ci/run is not executable"
    assert "make test" in (root / "README.md").read_text()


def test_other_settings_are_valid_yaml(root):
    others = [*root.glob(".github/*.yml"), *root.glob(".github/ISSUE_TEMPLATE/*.yml"), root / ".pre-commit-config.yaml"]
    assert all(yaml.safe_load(path.read_text()) for path in others)


def test_the_citation_matches_the_package_and_the_book(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == project["version"] == embsel.__version__
    assert citation["license"] == project["license"]
    assert citation["title"] == yaml.safe_load((root / "_config.yml").read_text())["title"]
