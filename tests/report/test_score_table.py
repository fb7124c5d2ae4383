from glassbox.report import score_table
from glassbox.scoring import verdicts

from .conftest import against_all, shown


def test_explainers_come_by_their_mean_rank_and_controls_after_them(study):
    assert [row["title"] for row in score_table.rows(study)] == ["LIME", "Grad-CAM", "random", "Sobel edges"]
    study.ranking["metrics"]["deletion_auc"]["mean_ranks"] = {"lime": 1.75, "grad_cam": 1.25}
    rows = score_table.rows(study)
    assert [row["title"] for row in rows] == ["Grad-CAM", "LIME", "random", "Sobel edges"]
    assert [row["mean_rank"] for row in rows] == [1.25, 1.75, None, None]


def test_mean_ranks_are_averaged_over_the_measures_that_rank_all(study):
    row = study.ranking["metrics"]["deletion_auc"]
    study.ranking["metrics"] |= {
        "road": row | {"mean_ranks": {"lime": 2.0, "grad_cam": 1.5}},
        "insertion_auc": row | {"mean_ranks": {"lime": 1.0}},  # Grad-CAM's maps are constant, for instance
        "max_sensitivity": row | {"mean_ranks": {"lime": 9.0, "grad_cam": 9.0}, "controls": []},
    }
    assert verdicts.mean_ranks(study.ranking) == {"lime": 1.5, "grad_cam": 1.75}


def test_a_mean_is_marked_where_all_comparisons_have_one_outcome(study):
    lime, cam, *controls = score_table.rows(study)
    assert lime["marks"] == {"deletion_auc": "beats"}
    assert cam["marks"] == {"deletion_auc": ""}
    assert cam["tested"]["deletion_auc"] == {"better": 4, "worse": 1, "undecided": 2}
    assert all(row["tested"] == {} for row in controls)
    worse = dict.fromkeys(("random", "smooth_random", "region_random", "edges", "brightness", "centre"), "worse")
    tests = against_all("lime") + against_all("grad_cam", **worse, untrained="worse")
    study.ranking["metrics"]["deletion_auc"]["controls"] = tests
    assert score_table.rows(study)[1]["marks"] == {"deletion_auc": "loses"}
    text = shown(study)
    assert '<td class="beats">0.500<span class="mark" role="img"' in text
    assert '<small><span class="better">7 better</span></small>' in text


def test_every_measure_has_its_direction_and_n(study):
    (column,) = score_table.columns(study)["against the controls"]
    expected = {"key": "deletion_auc", "title": "deletion AUC", "arrow": "↓", "direction": "lower is better"}
    assert column == expected | {"unit": "", "n": "11"}
    assert "deletion AUC</a> ↓<small>n = 11</small></th>" in shown(study)
    study.scorecard.loc[study.scorecard.index[0], "n"] = 9
    assert score_table.columns(study)["against the controls"][0]["n"] == "9 to 11"
