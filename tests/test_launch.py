"""The Colab and Binder buttons: there when the book's address is known, absent when it is not."""

import importlib.util
import shutil
import subprocess
from types import SimpleNamespace

import pytest

ADDRESS = "https://github.com/someone/a-book"
REMOTES = dict.fromkeys((
    ADDRESS, f"{ADDRESS}.git", "https://token@github.com/someone/a-book.git/", "git@github.com:someone/a-book.git",
    "ssh://git@github.com/someone/a-book.git",
), ADDRESS) | dict.fromkeys((
    "", "/srv/git/a-book.git", "https://gitlab.com/someone/a-book", "https://notgithub.com/someone/a-book",
    "https://github.com/someone",
))  # fmt: skip


@pytest.fixture
def launch(root):
    spec = importlib.util.spec_from_file_location("launch", root / "book" / "_ext" / "launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_addresses_on_github_and_others(launch):
    assert {remote: launch.from_remote(remote) for remote in REMOTES} == REMOTES


@pytest.mark.parametrize("named", ["by the workflow", "by the remote", ""])
def test_there_are_buttons_where_the_repository_is_named(named, launch, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if named == "by the workflow":
        monkeypatch.setenv("GITHUB_REPOSITORY", "someone/a-book")
    elif named == "by the remote":
        if not shutil.which("git"):
            pytest.skip("git is not installed")
        for command in (["init", "-q"], ["remote", "add", "origin", "git@github.com:someone/a-book.git"]):
            subprocess.run(["git", "-C", tmp_path, *command], check=True)
    usual = {"notebook_interface": "jupyterlab"}
    config = SimpleNamespace(html_theme_options={"repository_url": "", "launch_buttons": dict(usual)})
    launch.add_buttons(SimpleNamespace(srcdir=tmp_path), config)
    buttons = usual | launch.BUTTONS if named else usual
    assert config.html_theme_options == {"repository_url": ADDRESS if named else "", "launch_buttons": buttons}


def test_without_git_there_are_no_buttons(launch, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.repository(tmp_path) is None
