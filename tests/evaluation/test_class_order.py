import numpy as np

from glassbox.evaluation import class_order

CLASSES = ("ant", "bee", "cat", "dog")


def test_outputs_in_another_order_are_found_and_named():
    labels = np.arange(80) % 4
    right = np.array([0, 2, 3, 1])  # output of each class: bee is output 2, cat 3, dog 1
    predicted = right[labels]
    predicted[:8] = 0  # some mistakes: of the first two images of each class but ant's, which are right
    found = class_order.another_order(labels, predicted, labels, predicted, CLASSES)
    assert found["outputs"] == ["ant", "dog", "bee", "cat"]
    assert found["accuracy"] == 74 / 80
    assert found["p"] == 2 * 0.5**54  # of 60 images of the other classes 54 are right only then, none only as given
    assert class_order.sentence(found, 20 / 80, CLASSES) == (
        "The outputs seem to stand for the classes in another order: with output 1 for dog, 2 for bee, 3 for cat the "
        "accuracy is 92.50 % instead of 25.00 % (McNemar's exact test on 80 test images, p = 1.1e-16). Name the "
        "classes in the order in which the network learnt them, in model.classes."
    )


def test_an_order_that_fits_validation_images_by_chance_is_not_reported():
    random, n = np.random.default_rng(0), 0
    for _ in range(200):
        labels, others = random.integers(0, 4, (2, 100))
        predicted, others_predicted = random.integers(0, 4, (2, 100))
        n += class_order.another_order(others, others_predicted, labels, predicted, CLASSES) is not None
    assert n <= 1
    labels = np.arange(40) % 4
    assert class_order.another_order(labels, labels, labels, labels, CLASSES) is None


def test_two_classes_that_are_confused_more_often_than_not_are_in_another_order_only_if_the_test_says_so():
    labels = np.arange(40) % 4
    predicted = np.where(labels == 1, 2, np.where(labels == 2, 1, labels))  # 20 images are right only when swapped
    assert class_order.another_order(labels, predicted, labels, predicted, CLASSES)["outputs"] == [
        "ant", "cat", "bee", "dog"
    ]  # fmt: skip
    few = slice(0, 16)  # 8 images: p = 0.0078
    assert class_order.another_order(labels, predicted, labels[few], predicted[few], CLASSES) is None


def test_a_network_that_always_gives_one_answer_is_in_no_order():
    """With another class for its one output it would be right for the largest class, but it knows nothing."""
    labels = np.repeat([0, 1, 2, 3], [10, 10, 10, 70])
    constant = np.zeros(100, int)
    assert class_order.another_order(labels, constant, labels, constant, CLASSES) is None
    swapped = np.array([3, 1, 2, 0])[labels]  # a network that knows all of them
    assert class_order.another_order(labels, swapped, labels, swapped, CLASSES)["outputs"][0] == "dog"
