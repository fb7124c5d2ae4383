import re

from glassbox.explainers.catalog import CONTROLS, EXPLAINERS
from glassbox.report import glossary
from glassbox.xai_metrics.catalog import MEASUREMENTS

from .conftest import shown


def test_every_explainer_control_and_measure_has_an_entry():
    assert {*EXPLAINERS, *CONTROLS, *MEASUREMENTS} <= glossary.TERMS.keys()
    words = [word for _, word, _ in glossary.entries()]
    assert words == sorted(words, key=str.lower)
    assert len(set(words)) == len(words)  # each term is explained once


def test_a_term_leads_to_its_entry():
    assert glossary.term("ece") == '<a class="term" href="#term-ece">calibration error (ECE)</a>'
    assert glossary.term("ece", "<b>") == '<a class="term" href="#term-ece">&lt;b&gt;</a>'


def test_an_explainer_that_was_added_is_named_without_an_entry(monkeypatch):
    monkeypatch.setitem(glossary.TITLES_OF_ALL, "mine", "Mine <2026>")
    assert glossary.term("mine") == "Mine &lt;2026&gt;"


def test_every_term_of_the_page_is_in_its_glossary(study):
    text = shown(study)
    used = set(re.findall(r'class="term" href="#(term-\w+)"', text))
    assert {"term-ece", "term-control", "term-deletion_auc", "term-lime", "term-edges"} <= used
    assert used <= set(re.findall(r'<div id="(term-\w+)">', text))
