from glassbox.notes import note, sound


def test_shapley_values_that_do_not_add_up_are_not_shown():
    assert sound({"additivity_error": 0.001})
    assert not sound({"additivity_error": 0.0011})
    assert note({"additivity_error": 0.5, "base_value": 0.25}, zero=False) == "not shown: sums to f(x) ± 0.5"


def test_each_explainer_has_its_own_check():
    assert note({"local_r2": 0.904}, zero=False) == "local R² 0.90"
    assert note({"additivity_error": 1e-6, "base_value": 0.25}, zero=False) == "base 0.25, sums to f(x)"
    assert note({"completeness_error": 0.00294}, zero=False) == "completeness error 0.0029"
    assert note({}, zero=False) == ""
    assert note({"local_r2": 1.0}, zero=True) == "all zero: nothing speaks for it"
