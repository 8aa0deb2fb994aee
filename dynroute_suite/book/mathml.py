"""A Sphinx extension that writes formulas as MathML while the book is built: readers need no script and no network.

Takes the LaTeX of `$…$` and `$$…$$ (label)`; gives MathML with the LaTeX as text alternative. Numbered equations get
the number and the link that Sphinx's own renderers give them. Raises ExtensionError for LaTeX it cannot read.
"""

from __future__ import annotations

import re
from html import escape

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator


def mathml(latex: str, *, block: bool) -> str:
    """One formula as a `<math>` element. Raises ExtensionError naming the formula."""
    try:
        made = convert(latex.strip(), display="block" if block else "inline")
    except Exception as error:  # latex2mathml raises a dozen unrelated kinds
        raise ExtensionError(f"cannot write {latex!r} as MathML: {type(error).__name__} {error}") from error
    if unknown := re.search(r">(\\[A-Za-z]+)<", made):  # latex2mathml shows a command it does not know as it stands
        raise ExtensionError(f"cannot write {latex!r} as MathML: {unknown[1]} is unknown")
    return made.replace("<math ", f'<math alttext="{escape(latex.strip())}" ', 1)


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """The formula in a box of its own; its number to the right, a link to itself on hover.

    Narrow windows scroll the box, so it can be reached with the keyboard.
    """
    translator.body.append(translator.starttag(node, "div", CLASS="dr-math", tabindex="0"))
    translator.body.append(mathml(node.astext(), block=True))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
