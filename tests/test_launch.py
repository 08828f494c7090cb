"""The Colab and Binder buttons: there when the book's address is known, absent when it is not."""

import importlib.util
import subprocess
from types import SimpleNamespace

import pytest


@pytest.fixture
def launch(root):
    spec = importlib.util.spec_from_file_location("launch", root / "book" / "_ext" / "launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(launch, folder):
    config = SimpleNamespace(
        html_theme_options={"repository_url": "", "launch_buttons": {"notebook_interface": "jupyterlab"}}
    )
    launch.add_buttons(SimpleNamespace(srcdir=folder), config)
    return config.html_theme_options


def test_addresses_on_github_and_others(launch):
    for remote in (
        "https://github.com/someone/a-book",
        "https://github.com/someone/a-book.git",
        "https://token@github.com/someone/a-book.git/",
        "git@github.com:someone/a-book.git",
        "ssh://git@github.com/someone/a-book.git",
    ):
        assert launch.from_remote(remote) == "https://github.com/someone/a-book", remote
    for remote in (
        "",
        "/srv/git/a-book.git",
        "https://gitlab.com/someone/a-book",
        "https://notgithub.com/someone/a-book",
        "https://github.com/someone",
    ):
        assert launch.from_remote(remote) is None, remote


def test_a_workflow_on_github_names_the_repository(launch, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/a-book")
    found = options(launch, tmp_path)
    assert found["repository_url"] == "https://github.com/someone/a-book"
    assert found["launch_buttons"] == {"notebook_interface": "jupyterlab", **launch.BUTTONS}


def test_the_remote_names_the_repository(launch, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    try:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    except OSError:
        pytest.skip("git is not installed")
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", "git@github.com:someone/a-book.git"], check=True)
    assert options(launch, tmp_path)["repository_url"] == "https://github.com/someone/a-book"


def test_without_an_address_there_are_no_buttons(launch, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert options(launch, tmp_path) == {
        "repository_url": "",
        "launch_buttons": {"notebook_interface": "jupyterlab"},
    }


def test_without_git_there_are_no_buttons(launch, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.repository(tmp_path) is None
