"""The book, built from the committed outputs without running a chapter: its pages, links and pictures."""

import os
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import jupytext
import pytest
import yaml
from bs4 import BeautifulSoup

ADDRESS = "someone/a-book"


def documents(root) -> list[str]:
    """The pages in the order of the table of contents, the front page first."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


@pytest.fixture(scope="module")
def pages(root, tmp_path_factory):
    """Build once; return the folder of the pages and each page, parsed, by its path."""
    folder = tmp_path_factory.mktemp("book")
    config = yaml.safe_load((root / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]  # by paths beside the configuration
    config["sphinx"]["local_extensions"] = {name: str(root / path) for name, path in extensions.items()}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", root]
    command += ["-W", "-n", "--keep-going", "--config", folder / "_config.yml", "--path-output", folder]
    environment = {**os.environ, "GITHUB_REPOSITORY": ADDRESS}
    built = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr[-8000:]
    html = folder / "_build" / "html"
    written = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    parsed = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in written}
    assert parsed.keys() >= {html / f"{name}.html" for name in documents(root)}
    return html, parsed


def test_the_table_of_contents_lists_what_is_there(root):
    listed = documents(root)
    assert len(listed) == len(set(listed))
    there = {f"{path.parent.name}/{path.stem}" for path in [*root.glob("book/*.md"), *root.glob("notebooks/*.ipynb")]}
    assert set(listed) == there


def test_every_page_has_one_title(root, pages):
    html, parsed = pages
    for name in documents(root):
        titles = parsed[html / f"{name}.html"].select("article h1")
        assert len(titles) == 1, name
        assert titles[0].get_text(strip=True).rstrip("#"), name


def test_the_front_page_opens_at_the_index(root, pages):
    html, parsed = pages
    index = parsed[html / "index.html"]
    refresh = index.find("meta", attrs={"http-equiv": lambda value: value and value.lower() == "refresh"})
    assert refresh["content"].endswith(f"{documents(root)[0]}.html")


def test_links_and_pictures_lead_somewhere(pages):
    html, parsed = pages
    places = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in parsed.items()}
    astray = []
    for path, page in parsed.items():
        for tag in page.select("[href], [src]"):
            link = tag.get("href") or tag.get("src") or "#"
            address = urlsplit(link)
            if address.scheme or address.netloc or link == "#":
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            place = unquote(address.fragment) if tag.name == "a" and target in parsed else ""
            if not target.exists() or (place and place not in places[target]):
                astray.append(f"{path.relative_to(html)} -> {link}")
    assert astray == []


def test_pictures_have_a_text_for_those_who_cannot_see_them(root, pages):
    """A chapter has it in the metadata of the cell, `mystnb: {image: {alt: ...}}`; else it is a file name."""
    html, parsed = pages
    for name in documents(root):
        texts = [image.get("alt", "") for image in parsed[html / f"{name}.html"].select("article img")]
        assert [text for text in texts if not text or text.endswith((".png", ".svg"))] == [], name


def test_chapters_open_in_colab_and_binder(root, pages):
    html, parsed = pages
    for name in documents(root):
        links = [link["href"] for link in parsed[html / f"{name}.html"].find_all("a", href=True)]
        if name.startswith("notebooks/"):
            assert f"https://colab.research.google.com/github/{ADDRESS}/blob/main/{name}.ipynb" in links
            assert f"https://mybinder.org/v2/gh/{ADDRESS}/main?urlpath=lab/tree/{name}.ipynb" in links
        else:
            assert not any("colab.research" in link or "mybinder" in link for link in links), name


def test_the_cells_of_the_pages_between_the_chapters_run(root, monkeypatch):
    """`make book` runs them, and the chapters' tests do not."""
    monkeypatch.chdir(root / "book")
    pages = {path.name: jupytext.read(path) for path in sorted(root.glob("book/*.md"))}
    cells = {name: [cell.source for cell in page.cells if cell.cell_type == "code"] for name, page in pages.items()}
    assert sum(map(bool, cells.values())) > 4
    for sources in cells.values():
        names = {}
        for source in sources:
            exec(source, names)
