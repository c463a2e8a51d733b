"""The report of a run as one web page, the picture inside."""

import html
import re

import markdown

from maelio.benchmarks.plot import to_inline_svg
from maelio.benchmarks.words import PLOT, to_markdown
from maelio.records import RunRecord

_STYLE = """
:root { color-scheme: light dark; --ink: #1d252b; --dim: #5c6870; --line: #dfe4e7; --paper: #ffffff; --wash: #f5f7f8;
  --accent: #2e7d9a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe5e8; --dim: #9aa6ad; --line: #323b41; --paper: #14191c; --wash: #1c2327; --accent: #6fb7d0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; }
h1 + p { color: var(--dim); margin-top: 0; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 600; white-space: nowrap; }
td[style] { white-space: nowrap; }
tbody tr:hover { background: var(--wash); }
svg { display: block; width: 100%; height: auto; margin: 1.25rem 0; padding: .75rem; border: 1px solid var(--line);
  border-radius: 8px; background: #ffffff; }
strong { color: var(--accent); }
li { margin: .35rem 0; }
@media print { body { max-width: none; padding: 0; } }
"""


def to_page(record: RunRecord) -> str:
    """One HTML file that needs nothing beside it, nor the network."""
    body = markdown.markdown(to_markdown(record), extensions=["tables"])
    picture = to_inline_svg(record)
    body = re.sub(f'<p><img [^>]*src="{re.escape(PLOT)}"[^>]*></p>', lambda found: picture, body)
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>maelio: {html.escape(record.name)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
