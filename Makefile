# make study            set up, run the study of params.yaml, summarise
#   STUDY=cifar10-cnn   the study of that name in studies/ (a params.yaml that you edited is kept)
#   SET='data.limit=3000 train.epochs=5'   with these values changed
# make test             tests and linters
# make explain          a picture of your own, by every explainer of the finished study
#   IMAGE=photo.jpg       CROP=LEFT,TOP,SIDE: a square of it
# make demo             the same on a page of this machine, onto which pictures are dropped
#   DEMO_PORT=8000
# make compare          two studies on one page: in which metrics is one better, and what is undecided?
#   A=slow B=fast       each a row of MLflow, a study digest, a DVC experiment, a git revision, or . (this one)
# make ui               MLflow on 127.0.0.1 (PORT=5000)
# make verify           run the study in reports/ again, in a folder of its own, and compare its numbers, maps and weights
#   RUN=0123abcd        a study by its digest, or by name or id of its row in MLflow
# make faults           20 random kills, full disks, damaged files, lost servers, a cluster: an hour (KILLS=20)
# make bench            measurements: benchmarks/
# make docs             the pages of docs/ and the API as a site, in site/
# make setup            the environment alone
#
# VENV=path reuses an environment, so that a second clone need not install 7 GB again.
# PYTHON=python3.12 chooses the Python that a new environment is made with (3.11 to 3.13).

VENV ?= .venv
STUDY ?=
SET ?=
RUN ?=
IMAGE ?=
CROP ?=
A ?=
B ?=
export IMAGE CROP A B
PORT ?= 5000
DEMO_PORT ?= 8000
KILLS ?= 20
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && exit; \
	done; echo python3)

# The environment's programs first, this clone's own library before the installed one.
enter = bin=$$(cd "$(VENV)/bin" && pwd) && export PATH="$$bin:$$PATH" PYTHONPATH="$$PWD/src" &&

.PHONY: help setup study explain demo compare verify test faults ui bench format docs

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

setup:
	@"$(PYTHON)" src/glassbox/environment.py "$(VENV)"

study: setup
	@$(enter) $(if $(STUDY)$(SET),python -m glassbox select -- "$(STUDY)" $(SET) &&) \
		python -m glassbox check && python -m dvc repro && python -m glassbox summary

explain: setup
	@$(enter) python -m glassbox explain -- "$$IMAGE" "$$CROP"

demo: setup
	@$(enter) python -m glassbox live "$(DEMO_PORT)"

compare: setup
	@$(enter) python -m glassbox compare -- "$$A" "$$B"

verify: setup
	@$(enter) place=$$(mktemp -d) && trap 'rm -rf "$$place"; exit 130' INT TERM && \
		{ python -m glassbox restore -- "$(RUN)" "$$place" || { rm -rf "$$place"; exit 2; }; } && \
		(cd "$$place" && python -m dvc init --quiet --no-scm && GLASSBOX_TRACKING=off python -m dvc repro) && \
		python -m glassbox verify "$$place" && rm -rf "$$place"

# Whole files at once (see tests/conftest.py), one thread each: two tests that share two cores by threads wait for each
# other many times longer.
test: setup
	@$(enter) python -m ruff check . && python -m ruff format --check . && OMP_NUM_THREADS=1 \
		python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--junitxml .pytest_cache/durations.xml

faults: setup
	@$(enter) GLASSBOX_FAULTS=all GLASSBOX_FAULT_KILLS="$(KILLS)" \
		python -m pytest tests/faults tests/execution/ray_cluster/test_engine.py tests/test_remote_study.py

format: setup
	@$(enter) python -m ruff check --fix . && python -m ruff format .

ui: setup
	@$(enter) PORT="$(PORT)" python -m glassbox.tracking

bench: setup
	@$(enter) python -m benchmarks

# Its packages are not in requirements.lock, and so in an environment of their own; it reads sources and runs none of them.
docs:
	@test -x .venv-docs/bin/mkdocs || { "$(PYTHON)" -m venv .venv-docs && .venv-docs/bin/python -m pip install --quiet \
		$$("$(PYTHON)" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])'); }
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict && echo "Pages     site/index.html"
