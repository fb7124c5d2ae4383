"""Rows of studies, and what their names say."""

from tracked_stages import OTHER_DATA, begin, runs


def test_stages_find_their_study_by_its_state(project):
    begin("prepare")
    begin("tune")
    assert len(runs(project, kind="study")) == 1
    begin("prepare", OTHER_DATA)
    assert len(runs(project, kind="study")) == 2
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("gallery: 16 ", "gallery: 17 "))
    begin("evaluate")
    studies = runs(project, kind="study")
    assert len({run.data.tags["study_digest"] for run in studies}) == len(studies) == 3
    (project / "params.yaml").write_text(text)
    begin("report")
    assert len(runs(project, kind="study")) == 3
    first = studies[0].info.run_id
    assert [r.info.run_name for r in runs(project, kind="stage") if r.data.tags["mlflow.parentRunId"] == first] == [
        "prepare",
        "tune",
        "report",
    ]


def test_a_row_says_what_its_state_has_changed(project, monkeypatch):
    text = (project / "params.yaml").read_text()
    changed = text.replace("gallery: 16 ", "gallery: 17 ").replace("learning_rate: tuned", "learning_rate: 0.003")
    more = changed.replace("seed: 0 ", "seed: 1 ").replace("gallery: 17 ", "gallery: 3 ")
    for values, name in ((text, ""), (changed, ""), (more, "bold-idea")):
        (project / "params.yaml").write_text(values)
        monkeypatch.setenv("DVC_EXP_NAME", name)
        begin("prepare")
    rows = runs(project, kind="study")
    digests = [row.data.tags["study_digest"][:7] for row in rows]
    assert [row.info.run_name for row in rows] == [
        f"digits ({digests[0]})",
        f"digits: train.learning_rate=0.003, evaluate.gallery=17 ({digests[1]})",
        f"bold-idea: study.seed=1, evaluate.gallery=3 ({digests[2]})",
    ]
    assert "changed" not in rows[0].data.tags
    assert rows[1].data.tags["changed"] == "train.learning_rate=0.003, evaluate.gallery=17"
    (project / "params.yaml").write_text(text)
    begin("prepare", OTHER_DATA)
    assert runs(project, kind="study")[-1].data.tags["changed"] == (
        "study.seed=0, evaluate.gallery=16 and 2 more"  # the learning rate is tuned again, and the data are others
    )
