"""The pages of a study in a real browser: the report, DVC's plots, MLflow, two studies compared."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import environment, shell, table

from docs import pictures
from glassbox.core import files
from glassbox.explainers.catalog import UNITS

WINDOW = {"width": 1600, "height": 1000}
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def project(tutorial) -> Path:
    """A clone in which the tutorial was followed: with two studies, and the experiment "slow" in its folder."""
    return tutorial[0]


@contextlib.contextmanager
def opened(browser, address: str, **options) -> Iterator:
    """A page in a context of its own. An error in its scripts, or a request to another machine, fails the test; for
    pages of this project so does every other error of the console."""
    context = browser.new_context(**{"viewport": WINDOW} | options)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    if address.startswith("file:"):
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: errors.append(request.url))

    def refuse(route) -> None:
        errors.append(route.request.url)
        route.abort()

    context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), refuse)
    page.goto(address)
    try:
        yield page
        assert errors == []
    finally:
        context.close()


@pytest.fixture
def report(browser, project) -> Iterator:
    """The report's page."""
    with opened(browser, (project / "reports/index.html").as_uri()) as page:
        yield page


def violations(page) -> list[str]:
    """The page's violations of accessibility rules, found by axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    rules = Axe().run(page).response["violations"]
    return [f"{rule['id']} ({rule['impact']}): {rule['nodes'][0]['html']}" for rule in rules]


SCREENS = {
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
    "laptop": {"viewport": {"width": 1440, "height": 900}},
    "monitor": {"viewport": {"width": 1920, "height": 1080}},
}
LOOKS = {
    f"{screen}, {scheme}": {**options, "color_scheme": scheme}
    for screen, options in SCREENS.items()
    for scheme in ("light", "dark")
}
# Elements of which some line is so narrow that a word of it is broken up, letter by letter.
BROKEN = """
() => [...document.querySelectorAll("th, td, dt, dd, p, li, h1, h2, h3, h4, label, figcaption")].filter((element) => {
  const text = element.innerText.trim();
  if (!element.checkVisibility() || text.length < 4 || !element.clientWidth) return false;
  const size = parseFloat(getComputedStyle(element).fontSize);
  const longest = Math.max(...text.split(/\\s+/).map((word) => word.length));
  return longest > 2 && element.clientWidth < 2 * size;
}).map((element) => element.outerHTML.slice(0, 200))
"""


@pytest.mark.parametrize("file", ["index.html", "report/classes.html"])
@pytest.mark.parametrize("look", LOOKS)
def test_the_report_is_accessible_and_fits(browser, project, look, file):
    with opened(browser, (project / "reports" / file).as_uri(), **LOOKS[look]) as page:
        assert violations(page) == []
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate(BROKEN) == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        assert dark == look.endswith("dark")


@pytest.mark.parametrize("look", LOOKS)
def test_the_first_screen_has_the_three_answers_and_the_picture(browser, project, look):
    """In words, before anything is moved or opened."""
    summary = files.read_json(project / "reports/summary.json")
    predictions = table(project, "evaluate/predictions.csv").astype({"true_class": str, "predicted_class": str})
    wrong = predictions[predictions["true_class"] != predictions["predicted_class"]]
    with opened(browser, (project / "reports/index.html").as_uri(), **LOOKS[look]) as page:
        height = LOOKS[look]["viewport"]["height"]
        answers = page.locator(".answers > div")
        assert answers.count() == 3
        for answer in answers.all():
            box = answer.bounding_box()
            assert box["y"] + box["height"] <= height
        good, which, fails = answers.all_inner_texts()
        assert f"{100 * summary['test_accuracy']:.2f} % of {len(predictions):,} test images" in good
        best = summary["best_explainer"]
        words = {"Not tested": "Not tested.", "No explainer": "Undecided: none of "}
        expected = next((said for start, said in words.items() if best.startswith(start)), best.removesuffix("."))
        assert " ".join(expected.split()) in " ".join(which.split())
        counts = wrong.groupby(["true_class", "predicted_class"]).size()
        truth, guess = re.search(r"(\S+) is taken for (\S+)", fails).groups()
        assert counts[truth, guess] == counts.max()
        pictures = page.locator(".evidence img")
        assert pictures.count() >= 2
        if not look.startswith("phone"):
            box = pictures.first.bounding_box()
            assert box["y"] + box["height"] <= height


def test_the_report_is_short_until_it_is_unfolded(report):
    visible = report.evaluate("document.body.innerText.split(/\\s+/).length")
    assert visible < 3000


def test_the_navigation_stays_and_marks_the_section(report):
    report.locator("nav a", has_text="Which to believe").click()
    report.wait_for_function("document.querySelector('nav [aria-current]')?.hash === '#scorecard'")
    assert report.locator("nav").bounding_box()["y"] == 0


def test_every_term_shows_its_meaning(report, browser, project):
    for term in report.locator("a.term:visible").all()[:12]:
        term.hover()
        meaning = report.locator("#tip").inner_text()
        assert meaning
        assert term.get_attribute("aria-describedby") == "tip"
    report.keyboard.press("Escape")
    assert report.locator("#tip:visible").count() == 0
    with opened(browser, (project / "reports/index.html").as_uri(), **SCREENS["phone"]) as page:
        page.locator("a.term:visible").first.tap()
        box = page.locator("#tip").bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.parametrize("screen", SCREENS)
def test_a_figure_opens_at_full_size(browser, project, screen):
    with opened(browser, (project / "reports/index.html").as_uri(), **SCREENS[screen]) as page:
        button = page.locator("#results .enlarge").first
        button.scroll_into_view_if_needed()
        button.click()
        picture = page.locator("#full img")
        widths = picture.evaluate("image => [image.width, image.naturalWidth]")
        assert widths[0] == widths[1] > 400
        page.keyboard.press("Escape")
        assert page.locator("#full:visible").count() == 0


def test_an_image_is_picked_and_shown_by_every_explainer(report, project):
    index, scored = table(project, "explain/index.csv"), table(project, "score/maps.csv")
    images, shown = report.locator("#choices button"), report.locator(".case:visible")
    assert images.count() == len({*index["image"], *scored["image"].unique()[:60]})
    assert shown.count() == 1
    first = shown.get_attribute("id")
    images.last.click()
    assert shown.count() == 1
    assert shown.get_attribute("id") != first
    assert images.last.get_attribute("aria-pressed") == "true"
    report.keyboard.press("ArrowLeft")  # by the keyboard alone
    assert images.last.get_attribute("aria-pressed") == "false"
    assert images.nth(images.count() - 2).get_attribute("aria-pressed") == "true"

    before = images.first.locator("img").get_attribute("src")
    report.get_by_label("shown as").select_option(label="Grad-CAM's map")
    after = images.first.locator("img").get_attribute("src")
    assert after != before
    assert after == report.locator(".case [data-explainer=grad_cam] img").first.get_attribute("src")
    report.locator("#group").select_option("mistake")
    mistakes = index[index["group"] == "mistake"]["image"].nunique()
    assert report.locator("#choices button:visible").count() == mistakes
    assert ", taken for " in shown.locator("h4").inner_text()
    report.locator("#group").select_option("")
    number = scored["image"].iloc[-1]
    report.get_by_label("number or file").fill(f"image {number}:")
    assert report.locator("#choices button:visible").count() == 1
    assert shown.get_attribute("id") == f"case-{number}"
    report.get_by_label("number or file").fill("no such image")
    assert report.locator("#found").inner_text() == "no image is like this"
    report.get_by_label("number or file").fill("")
    report.get_by_label("order").select_option("disagreement")
    orders = report.locator("#choices button:visible").evaluate_all("all => all.map(one => one.title)")
    title = "one.querySelector('h4').firstChild.textContent.trim()"
    pair = f"all => all.map(one => [{title}, Number(one.dataset.disagreement)])"
    known = dict(report.locator(".case[data-disagreement]").evaluate_all(pair))
    values = [known[title] for title in orders if title in known]
    assert values == sorted(values, reverse=True)
    assert all(title in known for title in orders[: len(known)])


@pytest.mark.parametrize("look", LOOKS)
def test_the_large_map_is_explored(browser, project, look):
    index, regions = table(project, "explain/index.csv"), table(project, "explain/regions.csv")
    removal = np.load(project / "reports/explain/attributions.npz")["removal"]
    with opened(browser, (project / "reports/index.html").as_uri(), **LOOKS[look]) as page:
        page.locator("#canvas").scroll_into_view_if_needed()
        shown = files.read_json(project / "reports/summary.json")["best_explainer"]
        title = page.locator("#explainer option:checked").inner_text()
        assert shown.startswith(f"{title} is ") or not re.search(" is better than every control", shown)
        case = page.locator(".case:visible")
        row = int(case.get_attribute("id").removeprefix("case-"))
        name, of_class = page.locator("#explainer").input_value(), page.locator("#class").input_value()
        about = index[(index["image"] == row) & (index["explainer"] == name)].astype({"explained_class": str})
        about = about[about["explained_class"] == of_class].iloc[0]
        canvas, said = page.locator("#canvas"), page.locator("#probability")
        box = canvas.bounding_box()
        assert box["width"] >= 256
        regions = regions[(regions["image"] == row) & (regions["explained_class"].astype(str) == of_class)]
        whole = f"{100 * regions['probability'].iloc[0]:.1f} %"
        assert said.inner_text() == f"Nothing is hidden: the probability of {of_class} is {whole}."

        place = {"x": box["width"] / 2, "y": box["height"] / 2}
        canvas.tap(position=place) if look.startswith("phone") else canvas.click(position=place)
        region = int(re.search(r"Without region (\d+)", said.inner_text()).group(1))
        without = regions.set_index("region").loc[region, "probability_without"]
        assert said.inner_text().endswith(f"is {100 * without:.1f} %.")
        canvas.focus()
        page.keyboard.press("Enter")  # the pointer is still there
        assert said.inner_text().startswith("Nothing is hidden")
        page.keyboard.press("ArrowRight")
        assert f"({UNITS[name]})" in page.locator("#reading").inner_text()

        page.locator("#removal").fill("4")
        steps = removal.shape[1] - 1
        expected = f"strongest {100 * 4 / steps:.1f} % of the pixels the probability of {of_class} is "
        assert expected.replace(".0 %", " %") in said.inner_text()
        assert said.inner_text().endswith(f"is {100 * removal[about['map'], 4]:.1f} %.")
        page.get_by_role("button", name="show everything").click()
        assert said.inner_text().startswith("Nothing is hidden")

        before = canvas.evaluate("canvas => canvas.toDataURL()")
        for control, value in (("#opacity", "30"), ("#opacity", "100")):
            page.locator(control).fill(value)
        assert canvas.evaluate("canvas => canvas.toDataURL()") == before
        page.locator("#outlines").check()
        assert canvas.evaluate("canvas => canvas.toDataURL()") != before
        other = case.locator("td[data-values]").last
        other.click()
        assert page.locator("#explainer").input_value() == other.get_attribute("data-explainer")
        assert page.locator("#class").input_value() == other.get_attribute("data-class")


def test_a_cell_of_the_confusion_matrix_shows_its_images(report, project):
    predictions = table(project, "evaluate/predictions.csv").astype({"true_class": str, "predicted_class": str})
    wrong = predictions[predictions["true_class"] != predictions["predicted_class"]]
    truth, guess = wrong.iloc[0][["true_class", "predicted_class"]]
    rows = wrong[(wrong["true_class"] == truth) & (wrong["predicted_class"] == guess)]
    report.get_by_role("button", name=f"{truth} taken for {guess}: {len(rows)}", exact=True).hover()
    cell = report.locator("#cell")
    assert f"{truth} taken for {guess}: " in cell.inner_text()
    seen = {int(text.split(" · ")[0]) for text in cell.locator("li > span").all_inner_texts()}
    assert seen
    assert seen <= set(rows["image"])


def test_the_table_of_explainers_sorts(report):
    scores = report.locator("#scorecard .sortable").first
    header = scores.locator("thead th", has_text="insertion AUC")
    for order in ("ascending", "descending"):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        column = header.evaluate("element => element.cellIndex")
        texts = scores.locator("tbody tr").evaluate_all(f"rows => rows.map(row => row.cells[{column}].innerText)")
        values = [float(text.split()[0]) for text in texts]
        assert values == sorted(values, reverse=order == "descending")


def test_the_printed_report_is_complete(report, project):
    report.emulate_media(media="print")
    assert report.locator(".case:visible").count() == table(project, "explain/index.csv")["image"].nunique()
    assert report.locator("nav:visible, #choices:visible, #picker:visible").count() == 0
    assert len(report.pdf()) > 100_000


def test_the_report_without_scripts_is_complete(browser, project):
    with opened(browser, (project / "reports/index.html").as_uri(), java_script_enabled=False) as page:
        assert page.locator(".case:visible").count() == table(project, "explain/index.csv")["image"].nunique()
        assert page.locator(".with-script:visible").count() == 0


def test_dvcs_plots_are_drawn_without_a_network(browser, project):
    for command in (("show",), ("diff", "HEAD", "slow")):
        shell("dvc", "plots", *command, "--out", "dvc_plots", cwd=project)
        for look in LOOKS.values():
            with opened(browser, (project / "dvc_plots/index.html").as_uri(), **look) as page:
                page.wait_for_function("document.querySelectorAll('canvas.marks').length === 4")
                assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
                tops = page.evaluate("[...document.querySelectorAll('main > div')].map(part => part.innerText)")
                assert not any(part.startswith("reports/") for part in tops[:4])  # scores, confusion, two curves
                assert violations(page) == []
                if look["viewport"] != PHONE:
                    assert page.evaluate("document.documentElement.scrollHeight") < 12_000
                picture = page.locator("img").last
                small = picture.bounding_box()["height"]
                page.locator("main button").last.press("Enter")
                assert picture.bounding_box()["height"] > small
                picture.click()
                assert picture.bounding_box()["height"] == small


def test_two_studies_side_by_side(browser, project):
    untracked = {"PYTHONPATH": "src", "GLASSBOX_TRACKING": "off"}  # so that the experiment comes from DVC
    output = shell("python", "-m", "glassbox", "compare", "HEAD~0", "slow", cwd=project, **untracked).stdout
    file = project / output.splitlines()[-1].split()[-1]
    for look in LOOKS.values():
        with opened(browser, file.as_uri(), **look) as page:
            assert violations(page) == []
            assert "slow" in page.locator("h1").inner_text()
            assert page.locator(".case .maps img").count() >= 10  # of an image that only one recognises


@pytest.fixture(scope="module")
def mlflow(tutorial) -> Iterator[str]:
    """`make ui`'s address."""
    with pictures.mlflow(tutorial[0], environment(PYTHONPATH="src")) as address:
        yield address


@contextlib.contextmanager
def runs(browser, address: str, **options) -> Iterator:
    """The table of runs, without the assistant that MLflow opens beside it."""
    with opened(browser, address, **options) as page:
        page.set_default_timeout(60_000)
        pictures.wait_for_runs(page)
        yield page


def test_mlflows_table_begins_with_the_main_results(browser, mlflow, project):
    with runs(browser, mlflow) as page:
        expected = ["Run Name", "Created", "test_accuracy", "test_macro_f1", "test_ece", "best_explainer", "changed"]
        places = "cells => cells.map(cell => [cell.getBoundingClientRect().x, cell.innerText])"
        for _ in range(300):  # MLflow orders them after it has drawn them
            headers = [text for _, text in sorted(page.locator(".ag-header-cell").evaluate_all(places)) if text]
            if headers[:7] == expected:
                break
            page.wait_for_timeout(100)
        assert headers[:7] == expected
        names = page.locator(".ag-row [col-id*='Run Name'] a").all_inner_texts()
        assert len(names) >= 2
        assert any(re.fullmatch(r"digits \([0-9a-f]{7}\)", name) for name in names)
        assert any(re.match(r"slow: train\.learning_rate=0\.0003\b.* \([0-9a-f]{7}\)$", name) for name in names)
        assert all(re.search(r"\([0-9a-f]{7}\)$", name) for name in names)  # rows are studies, nothing else


def test_mlflows_charts(browser, mlflow, project):
    """Metrics, and the same image of two runs side by side."""
    row = int(table(project, "explain/index.csv")["image"].min())
    with runs(browser, mlflow) as page:
        page.locator("label:has(input[value=CHART])").click()
        sections = page.get_by_test_id("experiment-view-compare-runs-section-header")
        section = page.get_by_text("Explanations, image by image")
        section.wait_for()
        titles = [text.splitlines()[0] for text in sections.all_inner_texts()]
        explanations = ["Which explanation to believe", "Explanations, image by image"]
        assert titles[:4] == ["How well it does", "Training, epoch by epoch", *explanations]
        first = page.get_by_test_id("draggable-chart-cards-grid").first
        first.locator(".js-plotly-plot .bars path").first.wait_for()
        assert "test_error_percent" in first.inner_text()
        section.evaluate("element => element.scrollIntoView()")
        for key in ("image", "LIME", "Grad-CAM"):
            shown = page.locator(f"img[src*='~{key}%2Bstep%2B{row}%2B']")
            for picture in (shown.nth(0), shown.nth(1)):
                picture.wait_for(state="attached")
                picture.scroll_into_view_if_needed()
                assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
            sources = shown.evaluate_all("images => images.map(image => image.src)")
            assert len({source.partition("run_uuid=")[2] for source in sources}) == len(sources)


def test_mlflow_compares_two_runs(browser, mlflow):
    with runs(browser, mlflow) as page:
        names = []
        for place in (0, 1):
            row = page.locator(f'.ag-center-cols-container [row-index="{place}"], [row-index="{place}"]').first
            page.locator(f'[row-index="{place}"] input[type=checkbox]').first.check(force=True)
            names.append(row.locator("a").first.inner_text())
        page.get_by_role("button", name="Compare").click()
        page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
        # MLflow draws only those of the metrics, by their names, that there is room for.
        for name in (*names, "train.learning_rate", "best_epoch_validation_accuracy"):
            page.wait_for_function("name => document.body.innerText.includes(name)", arg=name)


def test_the_page_of_a_run_has_description_pictures_and_report(browser, mlflow, project):
    accuracy = pd.read_json(project / "reports/summary.json", typ="series")["test_accuracy"]
    with runs(browser, mlflow) as page:
        page.get_by_role("link", name=re.compile(r"^slow: ")).click()
        page.get_by_text("Show more", exact=True).click()
        page.get_by_text("make verify RUN=").first.wait_for()
        picture = page.locator("img[src*='get-artifact']").first
        picture.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector(\"img[src*='get-artifact']\").naturalWidth > 100")

        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("index.html", exact=True).click()
        report = page.frame_locator("iframe")
        report.locator("h1").wait_for()
        assert f"{100 * accuracy:.2f} %" in report.locator(".numbers").inner_text()
        report.get_by_role("link", name="Which to believe").first.click()
        report.locator("#choices button").last.click()  # its script runs there
        assert report.locator("#choices button").last.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("look", LOOKS)
def test_mlflows_charts_are_as_wide_as_there_is_room(browser, mlflow, look):
    """On a phone MLflow's own menu leaves no room for charts, and the list of studies is what there is."""
    with runs(browser, mlflow, **LOOKS[look]) as page:
        page.locator("label:has(input[value=CHART])").click()
        assert page.locator(".ag-row .ag-cell a").count() >= 2
        if look.startswith("phone"):
            return
        cards = page.get_by_test_id("draggable-chart-cards-grid").first
        cards.locator(".js-plotly-plot .bars path").first.wait_for()
        assert cards.bounding_box()["width"] > 0.5 * LOOKS[look]["viewport"]["width"]
        plots = [plot.bounding_box() for plot in cards.locator(".js-plotly-plot").all()]
        assert len(plots) == 4
        right = cards.bounding_box()["x"] + cards.bounding_box()["width"]
        assert all(plot["x"] + plot["width"] <= right for plot in plots)
