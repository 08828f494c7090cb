"""Sphinx extension: Colab and Binder buttons on every chapter, when it is known where the book lives.

The address comes from the environment variable GITHUB_REPOSITORY (``owner/name``, set in GitHub's workflows)
or from the git remote `origin`. With neither, the pages carry no buttons rather than dead ones.
"""

import os
import re
import subprocess
from pathlib import Path

GITHUB = re.compile(r"(?:https://(?:[^/@]+@)?|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?")
BUTTONS = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"}


def from_remote(remote: str) -> str | None:
    """Return ``https://github.com/owner/name`` for a remote there, over https or ssh; None for any other."""
    found = GITHUB.fullmatch(remote)
    return f"https://github.com/{found[1]}" if found else None


def repository(folder: Path) -> str | None:
    """Return the address of the repository on GitHub that `folder` belongs to, or None."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{name}"
    try:
        command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
        return from_remote(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError):
        return None


def add_buttons(app, config):
    """Fill in the theme's options, before any page is written."""
    if address := repository(Path(app.srcdir)):
        config.html_theme_options["repository_url"] = address
        config.html_theme_options["launch_buttons"].update(BUTTONS)


def only_on_chapters(app, pagename, templatename, context, doctree):
    """Take the buttons from pages that run but are no notebooks: Colab cannot open those."""
    if not pagename.startswith("notebooks/"):
        buttons = context.get("header_buttons", [])
        context["header_buttons"] = [button for button in buttons if button.get("label") != "launch-buttons"]


def setup(app):
    """Connect the extension."""
    app.connect("config-inited", add_buttons)
    app.connect("html-page-context", only_on_chapters, priority=502)  # after the theme, which adds them at 501
    return {"parallel_read_safe": True, "parallel_write_safe": True}
