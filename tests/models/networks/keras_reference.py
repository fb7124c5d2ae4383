"""What Keras itself computes for a small network of the paper's kind: makes keras_reference.json.

Keras is no dependency of glassbox; with it installed (3.15.1 was):
KERAS_BACKEND=torch python tests/models/networks/keras_reference.py
"""

import json
from pathlib import Path

import numpy as np

SIDE, CLASSES, STEPS = 12, 3, 8
NETWORK = {
    "conv1_filters": 4, "conv1_kernel_size": 3, "activation_func1": "leaky_relu", "leaky_relu_alpha_1": 0.2,
    "l2_reg_1": 0.01, "pool_size_1": 2, "dropout_1": 0.0, "conv2_filters": 5, "conv2_kernel_size": 5,
    "activation_func2": "relu", "leaky_relu_alpha_2": None, "l2_reg_2": 0.02, "pool_size_2": 3, "dense_units_1": 6,
    "dense_l2_reg_1": 0.03, "activation_func_dense": "leaky_relu", "leaky_relu_alpha_3": 0.1, "dense_dropout_1": 0.0,
    "batch_norm_momentum": 0.99,
}  # fmt: skip
OPTIMIZERS = {
    "adam": {"learning_rate": 0.01},
    "sgd": {"learning_rate": 0.05, "momentum": 0.9},
    "rmsprop": {"learning_rate": 0.003, "rho": 0.83},
}


def data() -> tuple[np.ndarray, np.ndarray]:
    """16 images (16, SIDE, SIDE, 3) of bytes, and labels that are not in their pixels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8), rng.integers(0, CLASSES, 16)


def kernels() -> list[np.ndarray]:
    """Starting kernels in Keras's layout: (height, width, in, out) and (in, out)."""
    rng = np.random.default_rng(1)
    shapes = [(3, 3, 3, 4), (5, 5, 4, 5), (2 * 2 * 5, 6), (6, CLASSES)]
    return [rng.uniform(-0.3, 0.3, shape).astype(np.float32) for shape in shapes]


def build(optimizer):
    from keras import Input, layers, models, regularizers

    p = NETWORK
    x = inputs = Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, (3, 3), padding="same", kernel_regularizer=regularizers.l2(p["l2_reg_1"]))(x)
    x = layers.LeakyReLU(negative_slope=p["leaky_relu_alpha_1"])(x)
    x = layers.MaxPooling2D(pool_size=2)(layers.BatchNormalization()(x))
    x = layers.Conv2D(5, (5, 5), padding="same", kernel_regularizer=regularizers.l2(p["l2_reg_2"]))(x)
    x = layers.MaxPooling2D(pool_size=3)(layers.BatchNormalization()(layers.ReLU()(x)))
    x = layers.Dense(6, kernel_regularizer=regularizers.l2(p["dense_l2_reg_1"]))(layers.Flatten()(x))
    x = layers.LeakyReLU(negative_slope=p["leaky_relu_alpha_3"])(x)
    model = models.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))
    with_kernels = [layer for layer in model.layers if isinstance(layer, layers.Conv2D | layers.Dense)]
    for layer, kernel in zip(with_kernels, kernels(), strict=True):
        layer.kernel.assign(kernel)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


def main() -> None:
    import keras

    images, labels = data()
    classes = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}
    result = {"keras": keras.__version__}
    for name, settings in OPTIMIZERS.items():
        model = build(classes[name](**settings))
        x = (images / 255).astype(np.float32)
        history = []
        for _ in range(STEPS):
            model.fit(x, labels, batch_size=16, epochs=1, shuffle=False, verbose=0)
            loss, accuracy = model.evaluate(x, labels, batch_size=16, verbose=0)
            history.append({"val_loss": float(loss), "val_accuracy": float(accuracy)})
        result[name] = {"history": history, "parameters": model.count_params()}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
