"""report: the study on one page, its headline in one small file, and its row in MLflow."""

from glassbox import tracking
from glassbox.config import parameters, yaml_file
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.data import store
from glassbox.data.decode import Shape
from glassbox.provenance import fingerprint, record, resume
from glassbox.report import classes, contents, hypotheses, page, pictures
from glassbox.report.card import card
from glassbox.report.study import read
from glassbox.tracking import mlflow_view

DATA, MODEL, REPORTS = "data/prepared", "models", "reports"


def main() -> None:
    params, values = parameters.read(), yaml_file.read()
    with files.exclusive("data/.report.lock", "writing the report"), tracking.stage("report") as tracked:
        description = store.describe(DATA)
        tracked.begin(description)
        record.check(*fingerprint.STAGES[:-1])
        study, images = read(params, REPORTS, MODEL), store.images(DATA, "test")
        digest = record.study_digest(values, description.digest)
        files.write_text(f"{REPORTS}/report/classes.html", classes.page(study, images))
        files.write_text(f"{REPORTS}/index.html", page.page(study, images, digest))
        files.write_text(f"{REPORTS}/report/model_card.md", card(study))
        files.write_json(f"{REPORTS}/report/hypotheses.json", hypotheses.check(study))
        files.write_json(f"{REPORTS}/summary.json", contents.summary(study))
        record.write(values, description.digest)
        record.seal(f"{REPORTS}/report", f"{REPORTS}/index.html", f"{REPORTS}/summary.json")
        headline, curves = contents.headline(study), study.curves.to_dict("records")
        logged = headline.keys() | curves[0].keys() | study.training.keys()
        tracked.complete_study(
            choices=study.model["choices"],
            headline=headline,
            curves=curves,
            description=contents.description(study, digest),
            best=study.best_explainer,
            view=mlflow_view.compressed(logged, study.first_drawn, params.explain.explainers),
            reports=REPORTS,
        )
        tracked.log_images(pictures.browsable(study))
        serving = {"temperature": study.calibration["temperature"], "shape": vars(Shape.of(params.data))}
        about, validated = contents.of_version(study), study.training["best_epoch_validation_accuracy"]
        tracked.log_model(MODEL, serving, study.model["classes"], images[:2], about, validated)
        resume.forget()
        print(f"report: {REPORTS}/index.html")


if __name__ == "__main__":
    run(main)
