"""Rows of studies and their names."""

from tracked_stages import OTHER_DATA, begin, change, runs


def test_every_state_of_a_study_has_one_row_which_is_named_after_its_changes(project, monkeypatch):
    begin("prepare")
    begin("tune")
    change(project, "gallery: 16 ", "gallery: 17 ")
    change(project, "learning_rate: tuned", "learning_rate: 0.003")
    begin("prepare")
    change(project, "seed: 0 ", "seed: 1 ")
    change(project, "gallery: 17 ", "gallery: 3 ")
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    begin("prepare")
    monkeypatch.delenv("DVC_EXP_NAME")
    for before, after in (("seed: 1 ", "seed: 0 "), ("gallery: 3 ", "gallery: 16 "), ("rate: 0.003", "rate: tuned")):
        change(project, before, after)
    begin("report")  # of the first state
    begin("prepare", OTHER_DATA)
    rows = runs(project, kind="study")
    digests = [row.data.tags["study_digest"][:7] for row in rows]
    assert len(set(digests)) == 4
    assert [row.info.run_name for row in rows] == [
        f"digits ({digests[0]})",
        f"digits: train.learning_rate=0.003, evaluate.gallery=17 ({digests[1]})",
        f"bold-idea: study.seed=1, evaluate.gallery=3 ({digests[2]})",
        f"digits: study.seed=0, evaluate.gallery=16 and 2 more ({digests[3]})",  # learning rate and data
    ]
    changed = [row.data.tags.get("changed", "") for row in rows]
    assert changed[:2] == ["", "train.learning_rate=0.003, evaluate.gallery=17"]
    assert changed[3] == "study.seed=0, evaluate.gallery=16 and 2 more"
    first = runs(project, **{"`mlflow.parentRunId`": rows[0].info.run_id})
    assert [run.info.run_name for run in first] == ["prepare", "tune", "report"]
