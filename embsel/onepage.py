"""A page that needs nothing but itself: every word is escaped, every picture is inside, all style is at the top."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from string import Template

from matplotlib.figure import Figure

# The policy keeps out whatever would come from elsewhere, should a name ever get past the escaping.
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light; }
body { background: #fff; color: #1a1a1a; font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 52rem;
  overflow-wrap: anywhere; padding: 1rem; }
h1, h2 { line-height: 1.2; }
h2 { border-top: 1px solid #ddd; font-size: 1.15rem; margin-top: 1.5rem; padding-top: 1rem; }
strong { border-left: 0.3rem solid #0072b2; display: block; font-size: 1.1rem; padding-left: 0.8rem; }
img { height: auto; max-width: 100%; }
div, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9em; overflow-wrap: normal; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.8rem 0.2rem 0; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
@page { margin: 1.2cm; }
@media print {
  body { font-size: 7.5pt; line-height: 1.25; max-width: none; padding: 0; }
  h1 { font-size: 14pt; margin: 0; }
  h2 { break-after: avoid; font-size: 9.5pt; margin: 0.5rem 0 0; padding-top: 0.3rem; }
  p, pre { margin: 0.3rem 0; }
  th, td { padding-bottom: 0; padding-top: 0; }
  strong { font-size: 9pt; }
  img { max-height: 3.2cm; max-width: 49%; width: auto; }
  p:has(img) { display: inline; }
  img, tr { break-inside: avoid; }
}
</style>
</head>
<body>
$body
</body>
</html>
""")


def page(title: str, parts: Iterable[str]) -> str:
    """Return the page of these `parts`, each made by a function below."""
    return PAGE.substitute(title=html.escape(title), body="\n".join(parts))


def text(tag: str, words: str) -> str:
    """Return `words` as an element: "h1", "h2", "p", "strong" (set off from the rest) or "pre"."""
    return f"<{tag}>{html.escape(words)}</{tag}>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of words, its header first; one that is too wide for the page can be moved sideways."""
    lines = ["".join(text("td" if number else "th", cell) for cell in row) for number, row in enumerate(rows)]
    return f"<div><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"


def image(figure: Figure, words: str) -> str:
    """Return a picture of `figure`, with `words` for those who cannot see it."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    code = base64.b64encode(picture.getvalue()).decode()
    return f'<p><img alt="{html.escape(words)}" src="data:image/png;base64,{code}"></p>'
