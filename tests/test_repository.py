"""Rules of the repository: one list of dependencies, targets that exist, nothing large, nothing astray."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

TOP_LEVEL = {
    ".ci", ".gitattributes", ".github", ".gitignore", ".pre-commit-config.yaml",
    "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "LICENSE-text", "Makefile", "README.md",
    "_config.yml", "_toc.yml", "book", "embsel", "environment.yml", "notebooks", "pyproject.toml", "tests",
}  # fmt: skip
LARGEST = 3_000_000  # bytes


@pytest.fixture(scope="module")
def tracked(root):
    """The files that git keeps; skips where git or its folder is missing, as in an archive of the sources."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", f"safe.directory={root}", "-C", root, "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (root / name).exists()] or pytest.skip("nothing is committed yet")


@pytest.fixture(scope="module")
def targets(root):
    found = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.MULTILINE)
    return set(found[1].split())


def workflows(root):
    return sorted((root / ".github" / "workflows").glob("*.yml"))


def test_nothing_stands_astray_at_the_top(tracked):
    assert {name.split("/")[0] for name in tracked} == TOP_LEVEL


def test_no_file_is_large(root, tracked):
    assert {name for name in tracked if (root / name).stat().st_size > LARGEST} == set()


def test_dependencies_are_listed_once(root):
    conda = yaml.safe_load((root / "environment.yml").read_text())["dependencies"]
    plain = [re.split(r"[=<> ]", entry)[0] for entry in conda if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert plain == ["python", "pip"]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", *pip)[1].split(",")
    with open(root / "pyproject.toml", "rb") as file:
        assert set(extras) <= set(tomllib.load(file)["project"]["optional-dependencies"])


def test_conda_takes_a_python_that_the_package_supports(root):
    from packaging.specifiers import SpecifierSet

    python = re.search(r"python=([\d.]+)", (root / "environment.yml").read_text())[1]
    with open(root / "pyproject.toml", "rb") as file:
        assert python in SpecifierSet(tomllib.load(file)["project"]["requires-python"])


def test_help_lists_every_target(root, targets):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(["make", "-C", root, "-s"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([\w-]+) +\S", shown, re.MULTILINE)) == targets


def test_workflows_call_targets_that_exist(root, targets):
    assert workflows(root)
    for path in workflows(root):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        called = {found for command in commands for found in re.findall(r"\bmake ([\w-]+)", command)}
        assert called, path.name
        assert called <= targets, path.name


def test_ci_runs_the_command_of_the_readme(root):
    script = root / ".ci" / "run"
    assert script.read_text().split("\n") == ["#!/usr/bin/env bash", "set -eo pipefail", "make test", ""]
    assert script.stat().st_mode & 0o111, ".ci/run is not executable"
    assert "make test" in (root / "README.md").read_text()


def test_other_settings_are_valid_yaml(root):
    for path in [
        *root.glob(".github/*.yml"),
        *root.glob(".github/ISSUE_TEMPLATE/*.yml"),
        root / ".pre-commit-config.yaml",
    ]:
        assert yaml.safe_load(path.read_text()), path.name


def test_the_citation_matches_the_package(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    with open(root / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    import embsel

    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == project["version"] == embsel.__version__
    assert citation["license"] == project["license"]


def test_the_book_and_the_citation_share_a_title(root):
    title = yaml.safe_load((root / "_config.yml").read_text())["title"]
    assert title == yaml.safe_load((root / "CITATION.cff").read_text())["title"]
