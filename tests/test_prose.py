"""The words of the book: no result is typed, every chapter is built alike, the README says what the records say."""

import importlib.util
import re

import jupytext
import nbformat
import pytest
from made_up import a_ladder

from embsel.lab import ladder, objections, report

LONGEST = 140  # characters of a line


def chapters(root):
    return sorted((root / "notebooks").glob("*.md"))


def pages(root):
    """The files in which a typed result would be a reader's first impression."""
    return [root / "README.md", root / "book" / "intro.md", *chapters(root)]


# --- results are computed from records, never typed ---

PAPERS = {  # the paper's own numbers, in a paragraph that names the paper: what book/paper.md says of them
    "83.3 %": "its baseline's test accuracy",
    "63.9 %": "its filter's subset alone (Figure 4)",
    "57.6 %": "a random subset alone (Figure 4)",
    "6.3 points": "the difference of these two",
    "63.5 %": "seven minutes, the subset first (Figure 5)",
    "10.4 %": "seven minutes, all images (Figure 5)",
    "8.64 %": "the share of the images that it keeps",
    "91.36 %": "the share that it leaves out",
    "86.40 %": "the share in the larger subset of Figure 6",
    "736 s": "its baseline's training time",
}
ALLOWED = {  # anywhere: no result is meant
    "95 % interval": "the level of the confidence intervals (Student's t)",
    "95 % confidence interval": "the same, in full",
}
# What a page will take is announced to the reader, and is no result.
ANNOUNCED = re.compile(r"\b(?:Reading|Running): [^.]*\.")
NUMBER = r"\d[\d,]*(?:\.\d+)?"
WORD = (
    r"(?:half|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty"
    r"|seventy|eighty|ninety)(?:-(?:one|two|three|four|five|six|seven|eight|nine))?"
)
SHARE = r"(?:%|per ?cent\b|percentage points?\b|points?\b(?! of view))"
UNIT = (
    rf"(?:{SHARE}|(?:images|samples|steps)(?:/s\b| (?:per|a|each) second\b)|m?s\b|secs?\b|(?:milli)?seconds?\b"
    r"|mins?\b|minutes?\b|h\b|hours?\b|nats?\b|times\b|x\b)"
)
TYPED = [
    re.compile(rf"(?:(?:±|\+/-)\s*)?{NUMBER}[\s-]*{UNIT}", re.IGNORECASE),
    re.compile(rf"\b{WORD}[\s-]+(?:{SHARE}|seconds?\b)", re.IGNORECASE),
    re.compile(rf"±\s*{NUMBER}"),
    re.compile(rf"\b(?:accuracy|accuracies|loss|error|speed-?up)\b[^.\d]{{0,40}}{NUMBER}", re.IGNORECASE),
]


def prose(text):
    """The paragraphs of a Markdown text: without code, without marks, each on one line; directives' own words stay."""
    kept, closing = [], None
    for line in text.splitlines():
        fence = re.match(r"\s*(`{3,}|~{3,})(.*)", line)
        if closing is None and fence and fence[2].strip() and not fence[2].strip().startswith("{"):
            closing = fence[1]  # code begins
        elif closing is not None:
            closing = None if line.strip() == closing else closing
        elif not fence:
            kept.append(line)
    plain = re.sub(r"&(?:nbsp|thinsp);|[\u00a0\u2009\u202f]", " ", re.sub("[*`]", "", "\n".join(kept)))
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", plain) if paragraph.strip()]


def typed_results(text):
    """What in `text` looks like a result that somebody typed."""
    found = []
    for paragraph in prose(text):
        checked = ANNOUNCED.sub(" ", paragraph)
        for phrase in ALLOWED:
            checked = re.sub(rf"(?<![\d.]){re.escape(phrase)}", " ", checked)
        if "paper" in paragraph.lower():
            for number in PAPERS:
                checked = re.sub(rf"(?<![\d.,+±-])(?<!± ){re.escape(number)}(?!\w)", " ", checked)
        found += [hit[0] for pattern in TYPED for hit in pattern.finditer(checked)]
    return found


def test_a_typed_result_is_caught():
    texts = [
        "The baseline reaches an accuracy of 61.5 % here.",
        "The baseline reaches an accuracy of\n61.5 %.",
        "It reaches 61.5% in the end.",
        "It reaches **61.5** % in the end.",
        "It reaches `61.5 %` in the end.",
        "It reaches 61.5&nbsp;% in the end.",
        "It reaches 61.5\u202f% in the end.",
        "It reaches 57.1 ± 2.0.",
        "The filter loses 5.8 points.",
        "The filter loses five points.",
        "The filter is ahead by 6 percentage points.",
        "About sixty percent are right, or 60 per cent.",
        "Twenty-two percent are dead.",
        "It makes 735 images/s.",
        "It makes 1,300 images per second.",
        "Making the embeddings took 297 s of the time.",
        "Making the embeddings took 297 seconds.",
        "A step takes 3.1 ms.",
        "It trains in 12 minutes.",
        "It is 2.8 times the cost.",
        "An accuracy of 0.615 is what we saw.",
        "The loss falls to 1.07 in the end.",
        "```{admonition} Note\nThe baseline reaches 61.5 %.\n```",
        "The paper's subset reaches 63.8 %.",  # not the paper's number
        "The subset reaches 63.9 %.",  # whose?
        "Ours is at 163.9 %, says the paper.",
        "In the paper, the spread is ± 57.6 %.",
        "The interval of 95 % holds.",
        "Running: 5 minutes. It reaches 61.5 %.",
    ]
    assert [text for text in texts if not typed_results(text)] == []


def test_what_is_no_result_may_be_typed():
    texts = [
        "The paper's subset reaches 63.9 %, and chance 57.6 %.",
        "The paper's baseline takes 736 s and reaches **83.3&nbsp;%**.",
        "Bars are 95 % intervals.",
        "10,000 steps of 1,024 images, 4,320 of 50,000.",
        "A weight decay of 0.004, and a learning rate of 0.1.",
        "Reading: 15 minutes. Running: about a minute (`tiny` profile), about 6 minutes on CIFAR-10.",
        "Crops of 24 × 24, shown twice.",
        "A split of 100/0 or 50/50.",
        "Python 3.11 to 3.13 and points of view; see Figure 3.",
        "```python\naccuracy = 61.5  # 61.5 %\n```",
        "```bash\nsleep 5 s\n```",
    ]
    assert {text: typed_results(text) for text in texts if typed_results(text)} == {}


def test_what_is_allowed_of_the_paper_stands_on_its_page(root):
    page = " ".join(prose((root / "book" / "paper.md").read_text("utf-8")))
    assert [number for number in PAPERS if number.split()[0] not in page] == []
    assert all([*PAPERS.values(), *ALLOWED.values()])


FINDINGS = re.compile(r"(?s)(<!-- findings -->\n)(.*)(?=<!-- end of findings -->)")


def markdown(path):
    """What a page types as prose: the markdown cells of a chapter, the README outside its findings."""
    text = path.read_text("utf-8")
    if path.name == "README.md":
        return FINDINGS.sub(r"\1", text)
    notebook = jupytext.reads(text, fmt="md:myst")
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_no_page_types_a_result(root):
    found = {path.name: typed_results(markdown(path)) for path in pages(root)}
    assert {name: results for name, results in found.items() if results} == {}


def test_every_page_has_prose_to_check(root):
    assert len(pages(root)) >= 6
    assert all(len(prose(markdown(path))) > 5 for path in pages(root))


# --- the README ---


@pytest.fixture(scope="module")
def refresh(root):
    """The module notebooks/refresh.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("refresh", root / "notebooks" / "refresh.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_records_say(root, refresh):
    (block,) = FINDINGS.finditer((root / "README.md").read_text("utf-8"))
    assert block[2] == refresh.readme_findings(report.recorded(), ladder.recorded()), "`make notebooks` writes it anew"


def test_the_readmes_figure_is_against_the_steps_once_a_pair_of_arms_is_there(refresh):
    recorded = report.recorded()
    for parts, scale, words in [((), "linear", "*Test accuracy after 600 steps"), (("R",), "log", "*Dots are seeds")]:
        climbed = a_ladder(*parts)
        figure, *_ = refresh.first_figure(recorded, climbed)
        assert figure.axes[0].get_xscale() == scale
        picture, caption, lead, listed, origin = refresh.readme_findings(recorded, climbed).strip().split("\n\n")
        assert picture.endswith("](book/figures/findings.png)")
        assert caption.startswith(words)
        assert [lead, *f"\n{listed}".split("\n- ")[1:], origin] == objections.front_page(recorded, climbed)


def test_the_readme_shows_its_figure(root):
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)\s]+)\)", (root / "README.md").read_text("utf-8"))
    assert "book/figures/findings.png" in [path for _, path in pictures]
    for text, path in pictures:
        assert text.strip()
        kind = (root / path).read_bytes()[:8]
        assert kind == b"\x89PNG\r\n\x1a\n" or path.endswith(".svg")


# --- the chapters' anatomy ---


def landmarks(cells):
    """The places, in order of appearance, that a reader finds again in every chapter."""
    for cell in cells:
        metadata, source = cell.metadata, cell.source
        if cell.cell_type == "code":
            if "parameters" in metadata.get("tags", []):
                yield "parameters", source
            if metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip():
                yield "picture", source
            yield ("check" if re.search(r"^notebook\.check\(", source, re.MULTILINE) else "code"), source
            continue
        pieces = r"^(#{1,6} .+|\*\*Next\*\*.*|[`~]{3,}\{.*|- .+)$"
        for piece in re.finditer(pieces, source, re.MULTILINE):
            line = piece[1]
            if directive := re.match(r"[`~]{3,}\{([\w-]+)\} ?(.*)", line):
                following = source[piece.end() :]
                options = re.match(r"(?:\n:[^\n]*)*", following)[0]
                body = following.split(line[:3], 1)[0]
                yield directive[1], f"{directive[2]}\n{options}\n{body}"
            elif line.startswith("#"):
                yield "h" + str(len(line) - len(line.lstrip("#"))), line.lstrip("# ")
            else:
                yield ("next" if line.startswith("**Next**") else "item"), line


def faults(notebook):
    """What a chapter lacks of the common anatomy, or has in another place."""
    marks = list(landmarks(notebook.cells))
    kinds, said = [kind for kind, _ in marks], []

    def demand(holds, message):
        if not holds:
            said.append(message)

    # the top: one title, what awaits the reader, the parameters, a picture
    demand(kinds.count("h1") == 1 and kinds[:1] == ["h1"], "one H1, at the top")
    opening = [place for place, (kind, text) in enumerate(marks) if kind == "admonition" and "In this chapter" in text]
    demand(len(opening) == 1 and opening[0] == 1, "an admonition 'In this chapter' under the title")
    told = marks[opening[0]][1] if opening else ""
    for words in ("**You will do**:", "**You will learn**:", "**You will need**:", "Reading:", "Running:"):
        demand(words in told, f"'{words}' in the admonition")
    demand(kinds.count("parameters") == 1, "one cell tagged parameters")
    if "parameters" in kinds:
        cell = marks[kinds.index("parameters")][1]
        names = re.findall(r"^(\w+) = None\b", cell, re.MULTILINE)
        demand(names[:2] == ["profile", "source"], "profile and source first in the parameters cell")
        demand("code" not in kinds[: kinds.index("parameters")], "no code above the parameters")
        demand("h2" not in kinds[: kinds.index("parameters")], "the parameters above the first section")

    # the end: three sections, in this order
    sections = [(place, text) for place, (kind, text) in enumerate(marks) if kind == "h2"]
    wanted = ["Check yourself", "What we found", "Further reading"]
    demand([text for _, text in sections][-3:] == wanted, f"the sections {wanted} at the end")
    demand(sum(text in wanted for _, text in sections) == 3, "each of these sections once")
    if said:
        return said
    check, found, reading = (place for place, _ in sections[-3:])
    demand("picture" in kinds[kinds.index("parameters") : check], "a picture between the parameters and the exercises")

    exercises, position = 0, check
    while position < found:
        kind, text = marks[position]
        if kind == "exercise-start":
            exercises += 1
            rest = kinds[position:found]
            order = ["exercise-start", "check", "exercise-end", "solution-start", "check", "solution-end"]
            demand([k for k in rest if k in order][:6] == order, "an exercise with its solution, a check in both")
            label = re.search(r":label: (\S+)", text)
            demand(label, "a label of the exercise")
            solutions = [t for k, t in marks[position:found] if k == "solution-start"][:1]
            demand(
                label and solutions and re.match(rf"{re.escape(label[1])}\s", solutions[0]), "a solution of that label"
            )
            demand(any(":class: dropdown" in text for text in solutions), "a folded solution")
        position += 1
    demand(exercises, "an exercise")
    demand(kinds.count("exercise-start") == exercises, "exercises nowhere else")
    demand(kinds.count("solution-start") == exercises, "as many solutions as exercises")
    demand("code" in kinds[found:reading], "a code cell under 'What we found'")
    demand("item" in kinds[reading:], "an entry under 'Further reading'")
    demand(kinds.count("next") == 1 and kinds[-1] == "next", "a line that begins with **Next** at the end")
    return said


def read(path):
    return jupytext.reads(path.read_text("utf-8"), fmt="md:myst")


def test_every_chapter_is_built_alike(root):
    assert {path.name: faults(read(path)) for path in chapters(root)} == {path.name: [] for path in chapters(root)}


def test_the_executed_pairs_are_built_alike(root):
    pairs = {path.stem: nbformat.read(path.with_suffix(".ipynb"), as_version=4) for path in chapters(root)}
    assert {name: faults(pair) for name, pair in pairs.items()} == {name: [] for name in pairs}


CHANGES = [  # what is changed, to what, and the fault that is then to be found
    (r"\A(?s:(---.*?---\n+))# ", r"\1## ", "one H1"),
    (r"^## What we found$", "# What we found", "one H1"),
    (r"In this chapter", "Overview", "'In this chapter'"),
    (r"\*\*You will learn\*\*", "You will learn", "**You will learn**"),
    (r"Reading: ", "", "'Reading:'"),
    (r"Running: ", "", "'Running:'"),
    (r":tags: \[parameters\]", ":tags: [hide-input]", "tagged parameters"),
    (r"^source = None", "data = None", "profile and source"),
    (r"^    alt: .*$", "    width: 80%", "a picture"),
    (r"^## Check yourself$", "## Exercises", "the sections"),
    (r"^## Further reading$", "## More", "the sections"),
    (r"^```\{exercise-start\}\n:label: ", "```{exercise-start}\n:name: ", "a label"),
    (r"^(`{3,})\{solution-start\} ", r"\1{solution-start} another-", "a solution of that label"),
    (r"^:class: dropdown$", ":class: tip", "a folded solution"),
    (r"^notebook\.check\(", "print(", "a check in both"),
    (r"^````\{solution-start\}(?s:.*?)\{solution-end\}\n````$", "", "its solution"),
    (r"(?s)(?<=## What we found\n)(.*?)```\{code-cell\}.*?```", r"\1Words.", "a code cell"),
    (r"(?s)(?<=## Further reading\n).*(?=\*\*Next)", "\n", "an entry"),
    (r"^\*\*Next\*\*.*", "The end.", "**Next**"),
    (r"(?s)(## Check yourself\n.*)(## What we found\n.*)(## Further)", r"\2\1\3", "the sections"),
]


def test_a_chapter_built_otherwise_is_noticed(root):
    path = root / "notebooks" / "01_classifier.md"
    for before, after, fault in CHANGES:
        text, changes = re.subn(before, after, path.read_text("utf-8"), flags=re.MULTILINE)
        assert changes, before
        said = faults(jupytext.reads(text, fmt="md:myst"))
        assert any(fault in message for message in said), (before, said)


# --- lines ---


def long_lines(text):
    """The numbers of the lines that an editor or a review would break; rows of tables and alt texts cannot be."""
    lines = enumerate(text.splitlines(), start=1)
    return [number for number, line in lines if len(line) > LONGEST and not re.match(r"\s*(\||:?alt:)", line)]


def test_lines_are_of_a_length_that_can_be_reviewed(root):
    files = [*root.glob("*.md"), *root.glob("book/*.md"), *chapters(root)]
    found = {path.name: long_lines(FINDINGS.sub(r"\1", path.read_text("utf-8"))) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_long_line_is_noticed():
    assert long_lines(f"{'a' * LONGEST}\n{'é' * LONGEST}\n{'b' * (LONGEST + 1)}\n| {'c' * LONGEST} |") == [3]
