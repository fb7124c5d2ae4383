"""Rows are found and fetched."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from tracked_stages import DATA, bundle, client, complete, log_model, runs, save_model

from glassbox import tracking
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import record
from glassbox.tracking import address, lookup


def test_a_study_is_fetched_from_its_row_and_what_is_damaged_there_is_named(project, tmp_path):
    save_model(project / "models")
    (project / "reports/report").mkdir(parents=True)
    (project / "reports/summary.json").write_text("{}")
    for name in record.BESIDE[1:]:
        (project / name).touch()
    recorded = {"study": "digits", "study_digest": "d" * 16, "machine": {}, "files": record.digests()}
    files.write_json(project / "reports/report" / record.RECORD, recorded)
    sources = record._zipped({name: Path(name) for name in record.BESIDE})
    files.write_bytes(project / "reports/report" / record.SOURCES, sources)
    complete(project)
    log_model(project, np.zeros((2, 8, 8, 3), np.uint8))
    (row,) = runs(project, kind="study")
    lookup.fetch_study(row.info.run_id, tmp_path / "whole", "A")
    assert record.digests().items() <= record.digests(tmp_path / "whole").items()
    assert (tmp_path / "whole/params.yaml").read_bytes() == (project / "params.yaml").read_bytes()

    advice = (
        "is missing in MLflow or is not what was recorded: run 'dvc repro --force report' where that study was made"
    )
    damaged = [
        ("reports/summary.json", next((project / address.STORE).rglob("summary.json"))),
        ("models/model.json", bundle(project) / "model.json"),
    ]
    for number, (name, file) in enumerate(damaged):
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        with pytest.raises(
            UserError, match=re.escape(f"A={row.info.run_id}: {name} of the row {row.info.run_name} {advice}")
        ):
            lookup.fetch_study(row.info.run_id, tmp_path / f"{number}", "A")
        file.write_bytes(content)


def test_a_study_is_found_by_its_digest_its_name_and_any_of_its_runs(project, tmp_path):
    for text in ("gallery: 16 ", "gallery: 17 "):
        params = (ROOT / "params.yaml").read_text().replace("gallery: 16 ", text)
        (project / "params.yaml").write_text(params)
        with tracking.stage("train") as tracked:
            tracked.begin(DATA)
    first, second = runs(project, kind="study")
    store, digest = client(project), first.data.tags["study_digest"]
    train = next(r for r in runs(project, kind="stage") if r.data.tags["mlflow.parentRunId"] == second.info.run_id)
    for which, study in (
        (digest, first),
        (digest[:9], first),
        (first.info.run_name, first),
        (second.info.run_id, second),
        (train.info.run_id, second),
    ):
        assert lookup.find_study(store, which).info.run_id == study.info.run_id
    names = ", ".join(sorted((first.info.run_name, second.info.run_name)))
    with pytest.raises(UserError, match=re.escape(f"RUN=nonsense: no row is called so; there are: {names}")):
        lookup.find_study(store, "nonsense")
    with pytest.raises(UserError, match=r"RUN=x' or 'y: it must be a study digest"):
        lookup.find_study(store, "x' or 'y")
    with pytest.raises(UserError, match=re.escape(f"the row {first.info.run_name} has no report/record.json")):
        lookup.fetch_record(digest, tmp_path)
    tracking.note_verified(digest, "3 of 3 files agree")
    assert runs(project, kind="study")[0].data.tags["verified"].endswith(": 3 of 3 files agree")
    tracking.note_verified("0" * 16, "0 of 3 files agree")  # of which there is no row


def test_the_record_of_a_study_is_fetched_from_its_row(project, tmp_path):
    (project / "reports" / "report").mkdir(parents=True)
    for name in (record.RECORD, record.SOURCES):
        (project / "reports" / "report" / name).write_text(name)
    save_model(project / "models")
    complete(project)
    (study,) = runs(project, kind="study")
    assert lookup.fetch_record(study.info.run_name, tmp_path) == study.info.run_id
    assert (tmp_path / record.RECORD).read_text() == record.RECORD
    assert (tmp_path / record.SOURCES).read_text() == record.SOURCES
