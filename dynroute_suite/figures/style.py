"""The one style of every figure, and the one way a figure leaves: as a `Picture`, SVG with a text alternative.

Colours are Okabe and Ito's, told apart with any colour vision; a row has the same colour everywhere. Black stands for
the reader's text colour: it is written as `currentColor`, on a transparent ground, so that figures follow light and
dark pages.
The same figure gives the same bytes on every build.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape, unescape

import matplotlib
from matplotlib.figure import Figure

from dynroute_core.system.errors import UsageError
from dynroute_suite.figures.minified import minified

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
# Fixed networks: of Tol's muted scheme what is apart from the above; common networks, a darker tone of their source's.
TEAL, OLIVE, ROSE, WINE, INDIGO = "#44AA99", "#999933", "#CC6677", "#882255", "#5B4FB3"
DEEP_SKY, DEEP_BLUE, DEEP_GREEN = "#2E86B5", "#1B4F7A", "#0B6B50"
GREY = "#8A8A8A"  # not of the eight: the same contrast on white and on near-black

ROW_COLORS: Mapping[str, str] = {
    "dynamic-a": SKY,
    "dynamic-b": BLUE,
    "dynamic-c": GREEN,
    "dynamic-raw": VERMILION,
    "dynamic-raw-long": ORANGE,
    "dynamic-raw-imagenet": PURPLE,
    "dynamic-raw-l33-imagenet": BLACK,
    "network-fix": GREY,
    "static-fcn32s": TEAL,
    "static-deeplabv3": OLIVE,
    "static-unet": ROSE,
    "static-hrnetv2": WINE,
    "static-autodeeplab": INDIGO,
    "common-a": DEEP_SKY,
    "common-b": DEEP_BLUE,
    "common-c": DEEP_GREEN,
}
ROW_LABELS: Mapping[str, str] = {
    "dynamic-a": "A",
    "dynamic-b": "B",
    "dynamic-c": "C",
    "dynamic-raw": "Raw",
    "dynamic-raw-long": "Raw, long",
    "dynamic-raw-imagenet": "Raw, ImageNet",
    "dynamic-raw-l33-imagenet": "Raw, L33, ImageNet",
    "network-fix": "Fix",
    "static-fcn32s": "FCN-32s",
    "static-deeplabv3": "DeepLabV3",
    "static-unet": "U-Net",
    "static-hrnetv2": "HRNetV2",
    "static-autodeeplab": "Auto-DeepLab",
    "common-a": "Common A",
    "common-b": "Common B",
    "common-c": "Common C",
}

FONT_STACK = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
WIDTH_IN = 6.4  # 461 units of the SVG: 10-point text stays legible where a page shows the figure 400 pixels wide
MAX_WIDTH_PX = 760


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib's settings for a figure, for the time of a `with` block."""
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",  # text stays text: searchable, selectable, readable aloud
            "svg.hashsalt": "dynroute",
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.parse_math": False,  # names come from data: a dollar sign is a dollar sign
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": GREY,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "lines.linewidth": 1.6,
            "legend.frameon": False,
            "legend.fontsize": 9.5,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.transparent": True,
        }
    ):
        yield


@dataclass(frozen=True)
class Picture:
    """A figure. svg: one `<svg>` element, fit to stand inline in a page. alt: what it shows, in words (never empty)."""

    svg: str
    alt: str

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("a picture needs a text alternative: say in a sentence what it shows.")

    @property
    def html(self) -> str:
        """The figure as an element of a page."""
        return f'<figure class="dr-fig" role="img" aria-label="{escape(self.alt)}" style="margin:0">{self.svg}</figure>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.alt}


def picture(figure: Figure, *, alt: str) -> Picture:
    """A matplotlib figure as a `Picture`; the figure is closed. Raises ValueError for an empty text alternative."""
    from matplotlib import pyplot

    raw = io.StringIO()
    with figure_style():
        figure.savefig(raw, format="svg", metadata={"Date": None}, transparent=True)
    pyplot.close(figure)
    return Picture(_inline(raw.getvalue()), alt)


def svg_picture(body: str, *, width: float, height: float, alt: str) -> Picture:
    """SVG elements drawn on width × height units as a `Picture`. Text and black parts take the page's colour."""
    return Picture(_unique_ids(_root(body, f"0 0 {width:g} {height:g}")), alt)


_IN_A_PAGE = 'aria-hidden="true" focusable="false">'
_ALONE = 'role="img"><title>{}</title><style>{}</style>'
_SCHEMES = "svg{color:#1f2328}@media (prefers-color-scheme:dark){svg{color:#e6edf3}}"


def standalone(shown: Picture) -> str:
    """The figure as a file of its own, for pages that can only name one: with its text alternative as title, and in
    colours that follow the reader's light or dark scheme, since no page lends it any."""
    return shown.svg.replace(_IN_A_PAGE, _ALONE.format(escape(shown.alt), _SCHEMES), 1) + "\n"


def shown_in_page(file: str) -> Picture:
    """The figure that `standalone` made a file of. Raises UsageError for another file."""
    first, last = (re.escape(part) for part in _ALONE.format("\n", _SCHEMES).split("\n"))
    found = re.search(f"{first}([^<]*){last}", file)
    if found is None:
        raise UsageError("this SVG was not written by figures.style.standalone: it does not follow a page's colours.")
    return Picture(file.replace(found[0], _IN_A_PAGE, 1).rstrip("\n"), unescape(found[1]))


def data_uri(kind: str, content: bytes) -> str:
    """Bytes of a PNG or JPEG (`kind`: png, jpeg) as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _root(body: str, view_box: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view_box}" '
        f'width="100%" style="display:block;margin:0 auto;max-width:{MAX_WIDTH_PX}px;height:auto" fill="currentColor" '
        f'font-family="{FONT_STACK}" stroke-linejoin="round" aria-hidden="true" focusable="false">{body}</svg>'
    )


def _inline(document: str) -> str:
    """Matplotlib's SVG document as an element that cannot disturb the page around it."""
    opening = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', document)
    assert opening is not None, "matplotlib wrote no viewBox"
    body = document[opening.end() : document.rindex("</svg>")]
    # Its style sheet speaks of `*`, which inline means every element of the page.
    for unwanted in (r"<metadata>.*?</metadata>", r"<style[^>]*>.*?</style>", r"<!--.*?-->"):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    body = re.sub(r"'DejaVu Sans'(, sans-serif)?", "inherit", body)
    body = body.replace("#000000", "currentColor")
    return minified(_unique_ids(_root(body, opening[1])))


def _unique_ids(svg: str) -> str:
    """Drops the ids nobody refers to and prefixes the others by the content's hash: many figures share one page."""
    prefix = f"dr{hashlib.sha256(svg.encode()).hexdigest()[:10]}-"
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    short = {name: f"{prefix}{index}" for index, name in enumerate(used)}

    def rename(match: re.Match[str]) -> str:
        return f' id="{short[match[1]]}"' if match[1] in used else ""

    svg = re.sub(r' id="([^"]*)"', rename, svg)
    return re.sub(r'(url\(#|href="#)([^")]+)', lambda match: match[1] + short[match[2]], svg)


def figure_block(picture: Picture) -> str:
    """A figure as MyST Markdown, a block of its own."""
    return f"```{{raw}} html\n{picture.html}\n```"
