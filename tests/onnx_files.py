"""ONNX models for the tests, written node by node: an exporter would take seconds."""

from pathlib import Path

import numpy as np
from conftest import TinyNetwork


def onnx_file(
    file: Path,
    *,
    layout: str = "nchw",
    batch: str | int = "n",
    side: int | str = "side",
    colours: int | str = 3,
    n_classes: int = 3,
    probabilities: bool = False,
    twice: bool = False,
) -> str:
    """The file, with `conftest.TinyNetwork` as Keras (nhwc) or PyTorch (nchw) would write it.

    Args:
        batch: images that it takes at a time; a text: any number.
        side, colours: of the images, likewise.
        probabilities: whether it ends in softmax.
        twice: whether it gives its features as well.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {
        name.replace(".", "_"): numpy_helper.from_array(tensor.numpy(), name.replace(".", "_"))
        for name, tensor in TinyNetwork(n_classes).state_dict().items()
        if tensor.ndim
    }
    sides = [batch, colours, side, side] if layout == "nchw" else [batch, side, side, colours]
    padding = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    norm = [f"body_1_{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    nodes = [
        helper.make_node("Conv", ["image", "body_0_weight", "body_0_bias"], ["a"], **padding),
        helper.make_node("BatchNormalization", ["a", *norm], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["d", "body_4_weight", "body_4_bias"], ["e"], **padding),
        helper.make_node("Sigmoid", ["e"], ["gate"]),
        helper.make_node("Mul", ["e", "gate"], ["f"]),
        helper.make_node("ReduceMean", ["f", "axes"], ["g"], keepdims=0),
        helper.make_node("Gemm", ["g", "head_weight", "head_bias"], ["logits"], transB=1),
    ]
    source = "image"
    if layout == "nhwc":
        source = "input"
        nodes.insert(0, helper.make_node("Transpose", ["input"], ["image"], perm=[0, 3, 1, 2]))
    if probabilities:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    out = "probabilities" if probabilities else "logits"
    outputs = [helper.make_tensor_value_info(out, TensorProto.FLOAT, [batch, n_classes])]
    if twice:
        outputs.append(helper.make_tensor_value_info("g", TensorProto.FLOAT, [batch, 8]))
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info(source, TensorProto.FLOAT, sides)], outputs,
        [*weights.values(), axes],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    onnx.save(made, file)
    return str(file)
