from glassbox.notes import constant_maps, note, sound


def test_shapley_values_that_do_not_add_up_are_not_shown():
    assert sound({"additivity_error": 0.001})
    assert not sound({"additivity_error": 0.0011})
    assert (
        note({"additivity_error": 0.5, "base_value": 0.25}, zero=False, explainer="kernel_shap")
        == "not shown: sums to f(x) ± 0.5"
    )


def test_each_explainer_has_its_own_check():
    assert note({"local_r2": 0.904}, zero=False, explainer="kernel_shap") == "local R² 0.90"
    assert (
        note({"additivity_error": 1e-6, "base_value": 0.25}, zero=False, explainer="kernel_shap")
        == "base 0.25, sums to f(x)"
    )
    assert note({"completeness_error": 0.00294}, zero=False, explainer="kernel_shap") == "completeness error 0.0029"
    assert note({}, zero=False, explainer="kernel_shap") == ""
    assert note({"local_r2": 1.0}, zero=True, explainer="lime") == "all zero: nothing speaks for it"
    assert note({}, True, "grad_cam") == "all zero: nothing in its layer\nspeaks for the class (ReLU)"


def test_maps_of_one_value_are_counted_in_words():
    counts = {"lime": {"constant": 0, "images": 12}, "grad_cam": {"constant": 7, "images": 12}}
    (sentence,) = constant_maps(
        counts | {"edges": {"constant": 1, "images": 12}}, relu=True
    )  # controls are no explainers
    assert sentence.startswith(
        "Grad-CAM's map has one value everywhere for 7 of 12 images: nothing in its layer speaks for the class there, "
        "and ReLU leaves only zeros. Such a map ranks no pixel"
    )
    (sentence,) = constant_maps(counts, relu=False)
    assert sentence.startswith("Grad-CAM's map has one value everywhere for 7 of 12 images. Such a map ranks no pixel")
    assert constant_maps({"lime": {"constant": 0, "images": 12}}, relu=True) == []
