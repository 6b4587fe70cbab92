"""The book, built from a copy of the repository and looked at in a real browser, whose network ends at this machine."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import script

pytestmark = pytest.mark.slow
for needed in ("sphinx", "myst_nb", "sphinx_book_theme"):
    pytest.importorskip(needed, reason="make test-book installs what the book needs")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make test-book installs it").Axe
sync_playwright = pytest.importorskip("playwright.sync_api", reason="make test-book installs it").sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NAMES = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
in_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium; CHROMIUM may name one")
FORMULAS = "Of $\\mathbb{R}^n$:\n\n" r"$$\boldsymbol{w} \leftarrow \boldsymbol{w} - \eta\,\nabla_{\boldsymbol{w}} L$$"
PAGES = ["docs/index", *(f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb")))]
PAGES += [*(f"docs/{path.stem}" for path in sorted((ROOT / "docs").glob("*.md")) if path.stem != "index")]


def build(root, out, *options):
    """Run Sphinx as make book does; returns what it said."""
    command = [sys.executable, "-m", "sphinx", "-c", "docs", "-d", out / "doctrees", "--quiet", *options, ".", out]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stderr


def copied(root):
    """A copy of what the book is made from."""
    for name in ("docs", "helpers", "images", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("_build", "weights", "__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The book of ada/lesson, with a page of formulas in addition; a warning is an error."""
    root = copied(tmp_path_factory.mktemp("repository"))
    script.load("docs/stamp.py").stamp("ada/lesson", root)
    (root / "docs/formulas.md").write_text(f"# Formulas\n\n{FORMULAS}\n")
    build(root, root / "site", "--fail-on-warning", "--keep-going")
    return root / "site"


class Page(HTMLParser):
    """What a page points at, what can be pointed at in it, and its images."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.images = [], {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("href", "src") if found.get(name)]
        self.ids.add(found.get("id", ""))
        if tag == "img":
            self.images.append(found)


@pytest.fixture(scope="module")
def parsed(site):
    """All pages, by path."""
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_every_notebook_and_page_of_docs_is_there_with_its_outputs(site, parsed):
    assert {site / f"{name}.html" for name in PAGES} <= parsed.keys()
    for name in (name for name in PAGES if name.startswith("notebooks/")):
        node = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
        outputs = [out for cell in node.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
        described = {out.metadata["image/png"]["alt"].strip() for out in outputs}
        images = [image for image in parsed[site / f"{name}.html"].images if "/_images/" in image["src"]]
        shown = [image["alt"].strip() for image in images if image["src"].endswith(".png")]  # not the badge
        assert set(shown) == described and len(shown) == len(outputs)


def test_links_hold(site, parsed):
    broken = []
    for path, page in parsed.items():
        for link in filter(lambda link: not urlsplit(link).scheme, page.links):
            target = path.parent / unquote(urlsplit(link).path) if urlsplit(link).path else path
            known = parsed[target.resolve()].ids if target.resolve() in parsed else {""}
            in_page = target.suffix == ".html" and "search" not in link
            if not target.is_file() or (in_page and unquote(urlsplit(link).fragment) not in known):
                broken.append((path.name, link))
    assert broken == []


def test_buttons_open_the_notebook_in_colab_where_the_repository_has_an_owner(site, parsed):
    for name in (name for name in PAGES if name.startswith("notebooks/")):
        links = [link for link in parsed[site / f"{name}.html"].links if "colab.research" in link]
        assert set(links) == {f"https://colab.research.google.com/github/ada/lesson/blob/main/{name}.ipynb"}
        assert len(links) == 2  # the badge and the button at the top


def test_without_an_explorer_nothing_leads_there(site, parsed):
    assert [link for link in parsed[site / "docs/index.html"].links if "explorer" in link] == []


def test_without_an_owner_nothing_offers_colab_and_an_explorer_is_led_to(tmp_path):
    root = copied(tmp_path / "repository")
    explorer = root / "runs/site/explorer/index.html"
    explorer.parent.mkdir(parents=True)
    explorer.write_text("<!doctype html>")
    script.load("docs/stamp.py").stamp("OWNER/lesson", root)
    build(root, tmp_path / "site", "-D", "include_patterns=docs/index.md,notebooks/00*.ipynb")
    (page,) = tmp_path.glob("site/notebooks/00*.html")
    assert [link for link in Page(page).links if "colab" in link or "kaggle" in link or "github.com" in link] == []
    assert "../explorer/index.html" in Page(tmp_path / "site/docs/index.html").links
    assert (tmp_path / "site/explorer/index.html").exists()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served from."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def visit(browser, address):
    """A function that opens a page; afterwards there must have been no error and no request to elsewhere."""
    contexts, faults = [], []

    def open_page(name, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(120_000)  # ms; a busy machine is no failure
        context.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: route.abort())
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(f"{request.url}: {request.failure}"))
        page.on("response", lambda answer: answer.status >= 400 and faults.append(f"{answer.url}: {answer.status}"))
        page.goto(f"{address}/{name}", wait_until="networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@in_browser
@pytest.mark.parametrize("name", ["index", "search", *PAGES])
def test_a_page_asks_nobody_else_and_fits_a_phone(visit, name):
    page = visit(f"{name}.html", width=390)
    page.wait_for_url("**/docs/index.html" if name == "index" else f"**/{name}.html*")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@in_browser
@pytest.mark.parametrize(
    ("name", "scheme"),
    [(name, "light") for name in ("docs/formulas", "search", *PAGES)]
    + [(name, "dark") for name in ("docs/index", "docs/names", "notebooks/05_train_one_cycle")],
)
def test_axe_finds_no_serious_violation(visit, name, scheme):
    page = visit(f"{name}.html", scheme=scheme)
    found = Axe().run(page, options={"preload": False}).response["violations"]  # which would load styles anew
    grave = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:4]) for rule in grave] == []


@in_browser
def test_search_finds(visit):
    page = visit("search.html?q=patience")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any("03_train_resnet18_plateau" in link for link in found) and any("glossary" in link for link in found)


@in_browser
def test_formulas_are_set(visit):
    page = visit("docs/formulas.html")
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-container").count() == 2
    assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0
    assert all(page.locator("mjx-container svg").evaluate_all("all => all.map(svg => svg.getBBox().width > 0)"))


@in_browser
def test_a_figure_enlarges_by_keyboard_and_the_set_up_is_folded(visit):
    page = visit("notebooks/05_train_one_cycle.html")
    assert not page.get_by_text("# @title Set-up").is_visible()
    figure = page.locator("button.enlarge").first
    alternative = figure.locator("img").get_attribute("alt")
    figure.press("Enter")
    dialog = page.locator("dialog.enlarged")
    assert dialog.is_visible() and dialog.locator("img").get_attribute("alt") == alternative
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.className") == "enlarge"


@in_browser
def test_dark_mode_is_the_readers(visit):
    for scheme in ("light", "dark"):
        page = visit("docs/index.html", scheme=scheme)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
