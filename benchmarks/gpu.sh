#!/bin/sh
# Everything that is to be measured on a CUDA GPU, in one call from the repository's root: training, Shapley values and the
# search (benchmarks/gpu.py), then the CNN paper's whole study, stage by stage, in a copy of the repository.
#
#   sh benchmarks/gpu.sh [FOLDER]     FOLDER: the copy; a temporary one without it
#
# CIFAR-10 comes from the folder that GLASSBOX_CIFAR10 names, or is downloaded. PYTHON chooses the interpreter (python).
# The figures end up in benchmarks/results/<GPU>.json.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
python=${PYTHON:-python}
where=${1:-$(mktemp -d)}
export PYTHONPATH="$root/src:$root"

"$python" -m benchmarks.gpu

"$python" - "$where" <<'PY'
import sys
from pathlib import Path

from benchmarks.common import copy_project

copy_project(Path(sys.argv[1]) / "project")
PY
cd "$where/project"
cp -r "$root/studies" .
export PYTHONPATH="$PWD/src"
# 20 trials of up to 20 epochs and a training of up to 50 are the study's own; 30 + 22 + 3 * 4 = 64 images.
"$python" -m glassbox select cifar10-cnn explain.correct_per_class=3 explain.mistakes=22 explain.pairs=3 \
	explain.images_per_pair=4 tune.workers="${WORKERS:-4}" compute.compile="${COMPILE:-cuda_graphs}" \
	explain.explainers='[lime, kernel_shap, partition_shap, gradient_shap, integrated_gradients, grad_cam, occlusion]'
rm -f times.txt
for stage in prepare tune train evaluate explain; do
	start=$(date +%s.%N)
	"$python" -m "stages.$stage"
	echo "$stage $(echo "$(date +%s.%N) $start" | awk '{ print $1 - $2 }')" >>times.txt
done
cat times.txt
cd "$root"
PYTHONPATH="$root/src:$root" "$python" -m benchmarks.gpu "$where/project/times.txt"
