"""Rows are found and fetched."""

import re
from pathlib import Path

import pytest
from tracked_stages import begin, bundle, change, client, complete, log_model, runs, save_model

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import record
from glassbox.tracking import address, comparisons, lookup


def test_a_study_is_fetched_from_its_row_and_what_is_damaged_there_is_named(project, tmp_path):
    save_model(project / "models")
    report = project / "reports/report"
    report.mkdir(parents=True)
    (project / "reports/summary.json").write_text("{}")
    for name in record.BESIDE[1:]:
        (project / name).touch()
    recorded = {"study": "digits", "study_digest": "d" * 16, "machine": {}, "files": record.digests()}
    files.write_json(report / record.RECORD, recorded)
    files.write_bytes(report / record.SOURCES, record._zipped({name: Path(name) for name in record.BESIDE}))
    complete(project)
    log_model()
    (row,) = runs(project, kind="study")
    lookup.fetch_study(row.info.run_id, tmp_path / "whole", "A")
    assert record.digests().items() <= record.digests(tmp_path / "whole").items()
    assert (tmp_path / "whole/params.yaml").read_bytes() == (project / "params.yaml").read_bytes()

    lookup.fetch_record(row.info.run_name, tmp_path)
    for name in (record.RECORD, record.SOURCES):
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes()

    advice = "is missing in MLflow or is not what was recorded: run 'dvc repro --force report' where that study was"
    damaged = {
        "reports/summary.json": next((project / address.STORE).rglob("summary.json")),
        "models/model.json": bundle(project) / "model.json",
    }
    for name, file in damaged.items():
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        sentence = f"A={row.info.run_id}: {name} of the row {row.info.run_name} {advice}"
        with pytest.raises(UserError, match=re.escape(sentence)):
            lookup.fetch_study(row.info.run_id, tmp_path / Path(name).stem, "A")
        file.write_bytes(content)


def test_a_study_is_found_by_its_digest_its_name_and_any_of_its_runs(project, tmp_path):
    begin("train")
    change(project, "gallery: 16 ", "gallery: 17 ")
    begin("train")
    first, second = runs(project, kind="study")
    store, digest = client(project), first.data.tags["study_digest"]
    (train,) = runs(project, **{"`mlflow.parentRunId`": second.info.run_id})
    names = dict.fromkeys((digest, digest[:9], first.info.run_name), first)
    names |= dict.fromkeys((second.info.run_id, train.info.run_id), second)
    for which, row in names.items():
        assert lookup.find_study(store, which).info.run_id == row.info.run_id
    names = ", ".join(sorted((first.info.run_name, second.info.run_name)))
    with pytest.raises(UserError, match=re.escape(f"RUN=nonsense: no row is called so; there are: {names}")):
        lookup.find_study(store, "nonsense")
    with pytest.raises(UserError, match=r"RUN=x' or 'y: it must be a study digest"):
        lookup.find_study(store, "x' or 'y")
    with pytest.raises(UserError, match=re.escape(f"the row {first.info.run_name} has no report/record.json")):
        lookup.fetch_record(digest, tmp_path)
    comparisons.note_verified(digest, "3 of 3 files agree")
    assert runs(project, kind="study")[0].data.tags["verified"].endswith(": 3 of 3 files agree")
    comparisons.note_verified("0" * 16, "0 of 3 files agree")  # no row has this digest
