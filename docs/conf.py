"""The book: Sphinx makes a site from the committed notebooks and docs/*.md, without executing anything (make book).

The source folder is the repository, so that a relative link between notebooks and pages leads to the same place on
GitHub and in the book. Nothing in the site asks another host: badges and MathJax are files of its own.
"""

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

from myst_nb.core.render import NbElementRenderer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import colab  # noqa: E402

REPOSITORY = colab.repository()
PUBLISHED = not REPOSITORY.startswith("OWNER/")  # else there is nothing that a button could open
PICTURES = {  # of badges: theirs, and the site's own
    "https://colab.research.google.com/assets/colab-badge.svg": "/docs/_static/colab.svg",
    "https://kaggle.com/static/images/open-in-kaggle.svg": "/docs/_static/kaggle.svg",
}

project = "Train an image classifier, and understand it"
author = copyright = "the authors"
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*.ipynb"]
exclude_patterns = [".*", "data", "helpers", "images", "runs", "tests", "docs/_build", "docs/_static"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no output is a live widget (a test sees to that); the scripts would come from another host
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show the set-up", "Hide the set-up"  # no other cell is folded
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]  # a notebook may skip a level
copybutton_selector = ".cell_input div.highlight pre"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
default_role = "code"  # of docstrings: `name` as Markdown means it

html_theme = "sphinx_book_theme"
html_title = project
html_baseurl = "https://{}.github.io/{}/".format(*REPOSITORY.split("/")) if PUBLISHED else ""
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_js_files = [("enlarge.js", {"defer": "defer"})]
html_extra_path = [str(path) for path in [ROOT / "runs/site"] if path.exists()]  # pages that other commands made
if (ROOT / "runs/site/explorer/index.html").exists():
    tags.add("explorer")  # noqa: F821 (Sphinx's own); what docs/index.md says of it `only` then
html_copy_source = html_show_sourcelink = html_use_index = html_domain_indices = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the sidebar has the search
}
if PUBLISHED:
    html_theme_options |= {
        "repository_url": f"https://github.com/{REPOSITORY}",
        "repository_branch": "main",
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }

MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"
html_static_path.append(str(distribution("sphinx-mathjax-offline").locate_file(MATHJAX)))
mathjax_path = "tex-svg-full.js"


def described(self, data, render=NbElementRenderer.render_image):
    """An output's image with the alternative text that the notebook keeps beside it; MyST-NB leaves that out."""
    (image,) = render(self, data)
    image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
    return [image]


NbElementRenderer.render_image = described


def local_badges(app, docname, source):
    """Badges become the site's own pictures; while they lead nowhere they are left out."""
    source[0] = colab.BADGE.sub(r"\1" if PUBLISHED else "", source[0])
    for theirs, ours in PICTURES.items():
        source[0] = source[0].replace(theirs, ours)


def as_text(app, what, name, thing, options, lines):
    """A star in a docstring is a star, as in (N, *size), and emphasises nothing."""
    lines[:] = [re.sub(r"(`[^`]*`)|\*", lambda found: found[1] or r"\*", line) for line in lines]


def finish(app, exception):
    """The site's address itself leads to the first page; maps of the theme's sources, a quarter of the site, go."""
    if not exception and app.builder.name == "html":
        for path in (app.outdir / "_static").rglob("*.map"):
            path.unlink()
        page = '<!doctype html><html lang="en"><title>{0}</title><meta http-equiv="refresh" content="0; url={1}">'
        page += '<a href="{1}">{0}</a></html>\n'
        (app.outdir / "index.html").write_text(page.format(project, f"{root_doc}.html"), encoding="utf-8")


def setup(app):
    """Connect the above to Sphinx."""
    app.connect("source-read", local_badges)
    app.connect("autodoc-process-docstring", as_text)
    app.connect("build-finished", finish)
