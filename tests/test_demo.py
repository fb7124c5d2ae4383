"""The demo: its network is what was trained, uses the glyphs, and is judged on a page in any folder."""

import json
import os
import re
from pathlib import Path

import pytest
from conftest import ROOT

from docs import demo_model
from glassbox import cli, demo, models
from glassbox.config import parameters
from glassbox.core import files
from glassbox.core.errors import UserError

MOST = 100_000  # bytes of the bundled network


def call(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["glassbox", "judge", *arguments])
    cli.main()


def test_the_bundled_network_is_the_one_of_its_card_and_passes_the_gate_on_the_demos_images():
    card = json.loads((demo.MODEL / "model.json").read_text())
    assert card["weights_sha256"] == files.sha256(demo.MODEL / "model.safetensors")
    assert sum(path.stat().st_size for path in demo.MODEL.iterdir()) < MOST
    asked = parameters.parse(parameters.edit(ROOT / "studies/planted.yaml", demo_model.CHANGES))
    assert card["arguments"] == asked.model.arguments
    classifier, _ = models.load(demo.MODEL)
    checks = demo.gate(classifier, demo.planted(demo.JUDGED, "test"))
    assert [check.name for check in checks if not check.passed] == []
    assert next(check.value for check in checks if check.name == "accuracy") >= 0.99


def test_the_command_writes_a_verdict_in_an_empty_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "EXPLAINERS", ("integrated_gradients", "occlusion"))
    monkeypatch.setattr(demo, "JUDGED", 20)  # enough for tests, not for intervals
    (tmp_path / demo.PAGE).write_text("an earlier page")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    call(monkeypatch, "--demo")
    printed, page = capsys.readouterr().out, (tmp_path / demo.PAGE).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [demo.PAGE]
    assert printed.endswith(f"Page    {tmp_path / demo.PAGE}\n")
    assert opened == []  # stdout is no terminal
    verdict = re.search(r"comparisons of an explainer with a control on (\d+ to )?20 images: .*", printed)[0]
    assert verdict in page.replace("&#39;", "'")
    assert re.search(r"Occlusion</th>(<td>(<small>\d+ (better|worse|undecided)</small>)+</td>)+", page)
    assert re.search(r"centred Gaussian \(control\)</th><td>0\.\d{3}<small></small>", page)
    assert page.count("data:image/png;base64,") == 1
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<td>holds</td>") == 4


def test_a_terminal_with_a_display_opens_the_page(monkeypatch):
    page, opened = Path("/somewhere/a page.html"), []
    monkeypatch.setattr(demo, "run", lambda: page)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    call(monkeypatch, "--demo")
    assert opened == ["file:///somewhere/a%20page.html"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--demo", "--model", "cnn"], r"^--demo judges .* takes nothing else: leave out --model$"),
        (["--demo", "--anyway", "score.images=3"], r"leave out --anyway and score\.images=3$"),
        (["--model", "cnn"], r"^judge needs --weights and --images, or --demo alone"),
        ([], r"^judge needs --model, --weights and --images, or --demo alone"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, sentence, monkeypatch):
    with pytest.raises(UserError, match=sentence):
        call(monkeypatch, *arguments)


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "judge", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / demo.PAGE).mkdir()
    with pytest.raises(
        UserError, match=r"glassbox-demo\.html cannot be written \(it is a folder\): run the command in a"
    ):
        demo.run()
    (tmp_path / demo.PAGE).rmdir()
    if os.geteuid():
        tmp_path.chmod(0o500)
    else:  # who may write everywhere but there
        monkeypatch.chdir("/proc")
    with pytest.raises(UserError, match=r"glassbox-demo\.html cannot be written \(.+\): run the command in a folder"):
        demo.run()
