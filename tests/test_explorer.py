"""The explorer of every mistake: what is put into its page, and the page in a browser without a network."""

import re
import shutil

import numpy as np
import pytest
from fixture_explorer import arrays
from script import load

from helpers import data, training
from helpers.results import weights

answers, page = load("docs/explorer/answers.py"), load("docs/explorer/page.py")


@pytest.fixture(scope="module")
def made():
    return arrays()


def wrong_of(made):
    return np.stack([made[f"{net}/predicted"] for net in page.TITLES]) != made["labels"]


# --- what is put into it


def test_every_mistake_comes_first_and_then_right_ones_in_turns():
    labels, wrong = np.arange(100) % 10, np.zeros(100, bool)
    wrong[[7, 8, 50]] = True
    shown = answers.chosen(wrong, labels, 33)
    assert list(shown[:3]) == [7, 8, 50] and len(set(shown)) == 33
    assert (np.bincount(labels[shown[3:]], minlength=10) == 3).all()


def test_the_page_has_all_mistakes_and_as_many_right_ones_as_fit(made):
    whole = page.fitting(made)
    mistakes = wrong_of(made).any(0).sum()
    assert whole == page.page(made, len(made["shown"])) == page.fitting(made)  # the same bytes
    smaller = page.fitting(made, len(whole) - 50_000)
    assert len(smaller) <= len(whole) - 50_000
    assert f'"mistakes":{mistakes}'.encode() in smaller and f'"mistakes":{mistakes}'.encode() in whole
    with pytest.raises(ValueError, match=f"all {mistakes} mistakes has"):
        page.fitting(made, 50_000)


def test_the_page_asks_for_nothing(made):
    text = page.fitting(made).decode()
    assert "default-src 'none'" in text and "{{" not in text
    assert re.findall(r"https?://[^\s\"']+|\bsrc=|\bimport\b|fetch\(", text.replace(page.text(b""), "")) == []


def test_the_matrix_counts_all_images(made):
    told = page.facts(made, 200)
    for net, wrong in zip(told["nets"], wrong_of(made)):
        matrix = np.array(net["matrix"])
        assert matrix.sum() == told["total"] == 600 and matrix.trace() == 600 - wrong.sum()


def test_cells_are_packed_two_in_a_byte():
    cells = np.arange(80, dtype=np.uint8)[None] % 16
    packed = page.halved(cells)
    assert packed.shape == (1, 40) and [packed[0, 0] >> 4, packed[0, 0] & 15, packed[0, 7] & 15] == [0, 1, 15]


def test_the_classes_and_nets_are_those_of_the_series():
    assert page.TITLES.keys() == answers.LAYERS.keys() == weights.index().keys()


@pytest.mark.slow
def test_the_published_nets_are_asked_and_their_maps_drawn(cifar10, monkeypatch):
    few, sample = cifar10.subset(100, 60), np.arange(60)
    monkeypatch.setattr(data, "load", lambda name: few)
    guessed = training.Answers(few.test.labels, np.linspace(0, 1, 60), few.test.labels)
    monkeypatch.setattr(answers, "recorded", lambda net: guessed)
    found = answers.made(50)
    assert tuple(cifar10.classes) == page.CLASSES and len(found["shown"]) == 50
    assert set(sample[guessed.confidence < answers.UNSURE]) <= set(found["shown"])
    for net in page.TITLES:
        said = found[f"{net}/probabilities"].argmax(1)
        assert (said == found[f"{net}/predicted"][found["shown"]]).all() and (
            said == few.test.labels[found["shown"]]
        ).mean() > 0.8
        cells = found[f"{net}/answer"]
        assert cells.shape == (50, 80) and (cells[:, :16].max(1) == 15).mean() > 0.9
        same = (found[f"{net}/truth"] == cells).all(1)
        assert same[said == few.test.labels[found["shown"]]].all()
    assert len(page.fitting(found)) < 200_000


# --- in a browser


@pytest.fixture(scope="module")
def browser():
    """Chromium without a network."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright axe-playwright-python")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "index.html"
    path.write_bytes(page.fitting(made))
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """Opens the page at a view; after the test, nothing was complained of and nothing was asked for."""
    told, contexts = [], []

    def opened(view="", width=1200):
        context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: told.append(message.text))
        tab.on("pageerror", lambda error: told.append(str(error)))
        tab.on("request", lambda request: told.append(request.url) if request.url[:4] == "http" else None)
        tab.goto(address + view)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert told == []


def shown_by(tab):
    return tab.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.getAttribute('aria-label'))")


@pytest.mark.slow
def test_a_number_of_the_matrix_shows_its_images(visit):
    tab = visit()
    assert len(shown_by(tab)) == 120 and tab.locator("#more").is_visible()  # the first of all its mistakes
    cell = tab.get_by_role("button", name=re.compile("^airplane called dog: "))
    count = int(cell.inner_text())
    cell.click()
    told = shown_by(tab)
    assert count > 0 and len(told) == count
    assert all("true airplane; DavidNet wrongly dog" in label for label in told)
    assert tab.locator("#count").inner_text().startswith(f"{count} image")
    assert cell.get_attribute("aria-pressed") == "true" and "true=airplane&said=dog" in tab.url
    tab.get_by_role("button", name=re.compile("^cat: .* right$")).click()
    assert shown_by(tab) and "Of " in tab.locator("#count").inner_text()


@pytest.mark.slow
def test_filters_of_net_class_verdict_and_confidence(visit):
    tab = visit()
    tab.get_by_label("Net", exact=True).select_option("resnet18")
    tab.get_by_label("It is", exact=True).select_option("alone")
    told = shown_by(tab)
    assert told and all("DavidNet rightly" in label and "ResNet18 wrongly" in label for label in told)
    tab.get_by_label("It is", exact=True).select_option("any")
    tab.get_by_label("True class", exact=True).select_option("frog")
    tab.get_by_label("Confidence from, in %").fill("90")
    tab.get_by_label("Confidence from, in %").press("Tab")
    told = shown_by(tab)
    sure = [int(re.search(r"ResNet18 \w+ \w+ (\d+)", label)[1]) for label in told]
    assert told and all("true frog" in label for label in told) and min(sure) >= 90 and sure == sorted(sure)[::-1]
    tab.get_by_role("button", name="All its mistakes").click()
    assert tab.url.endswith("#net=resnet18") and len(shown_by(tab)) > len(told)


@pytest.mark.slow
def test_a_link_opens_its_view(visit):
    first = visit("#net=resnet18&show=any&true=cat&said=cat&image=3")
    assert first.get_by_role("dialog").is_visible()
    assert first.locator("#detail-title").inner_text() == "Test image 3: cat"
    maps = first.locator(".maps canvas").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert maps[-1].startswith("Map of ResNet18 for cat, 8 by 8 cells: most in row ")
    drawn = "all => all.map(one => [...one.getContext('2d').getImageData(0, 0, 32, 32).data].some(value => value > 0))"
    first.wait_for_timeout(300)
    assert all(first.locator("dialog canvas").evaluate_all(drawn))
    first.get_by_role("button", name="Close").click()
    first.wait_for_function("!location.hash.includes('image')")
    told, view = shown_by(first), first.locator("#link").evaluate("link => link.getAttribute('href')")
    assert shown_by(visit(view)) == told
    odd = visit("#net=nothing&true=%3Cimg%3E&image=99999999&min=x&show=any&__proto__=1")
    assert len(shown_by(odd)) == 120 and not odd.get_by_role("dialog").is_visible()
    odd.evaluate("location.hash = '#true=frog'")
    odd.wait_for_function("document.getElementById('true').value === 'frog'")


@pytest.mark.slow
def test_it_is_used_without_a_mouse(visit):
    tab = visit()
    tab.get_by_label("airplane: ", exact=False).first.focus()
    for key in ("ArrowRight",) * 5:
        tab.keyboard.press(key)
    assert "airplane called dog" in tab.evaluate("document.activeElement.getAttribute('aria-label')")
    tab.keyboard.press("Enter")
    assert "true=airplane&said=dog" in tab.url
    assert "airplane called dog" in tab.evaluate("document.activeElement.getAttribute('aria-label')")
    tab.locator(".tile").first.focus()
    tab.keyboard.press("Enter")
    titles = [tab.locator("#detail-title").inner_text()]
    tab.keyboard.press("ArrowRight")
    titles.append(tab.locator("#detail-title").inner_text())
    assert titles[0] != titles[1] and all("airplane" in title for title in titles)
    tab.keyboard.press("Escape")
    tab.wait_for_function("!location.hash.includes('image')")
    assert not tab.get_by_role("dialog").is_visible()
    assert tab.evaluate("document.activeElement.className") == "tile"


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("view", ["", "#net=resnet18&image=1"])
def test_it_fits_a_phone_and_has_no_serious_fault(visit, view, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = visit(view, width)
    tab.wait_for_timeout(200)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
