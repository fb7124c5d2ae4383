"""report: the study on one page, its headline in one small file, and its row in MLflow."""

from glassbox import config, files, record, report, resume, tracking, view
from glassbox.data import store
from glassbox.errors import run

DATA, MODEL, REPORTS = "data/prepared", "models", "reports"


def main() -> None:
    params = config.read()
    with files.exclusive("data/.report.lock", "writing the report"), tracking.stage("report") as tracked:
        d = store.describe(DATA)
        tracked.begin(d)
        record.check(*record.STAGES)
        study, images = report.read(params, REPORTS, MODEL), store.images(DATA, "test")
        digest = record.study_digest(params, d.digest)
        files.write_text(f"{REPORTS}/index.html", report.index_page(study, images, digest))
        files.write_text(f"{REPORTS}/report/model_card.md", study.model_card)
        files.write_json(f"{REPORTS}/report/hypotheses.json", report.hypotheses_of(study))
        files.write_json(f"{REPORTS}/summary.json", report.summary(study))
        record.write(params, d.digest)
        record.seal(f"{REPORTS}/report", f"{REPORTS}/index.html", f"{REPORTS}/summary.json")
        headline, curves = report.headline(study), study.curves.to_dict("records")
        about = report.description(study, digest)
        serving = {"temperature": study.calibration["temperature"], "resize": params.data.resize}
        logged = headline.keys() | curves[0].keys() | study.training.keys()
        arranged = view.compressed(logged, study.first_drawn, params.explain.explainers)
        choices, best = study.model["choices"], study.best_explainer
        tracked.complete_study(choices, headline, curves, about, best, arranged, REPORTS)
        tracked.log_images(report.browsable(study))
        tracked.log_model(MODEL, serving, d.classes, images[:2], study.model_card)
        resume.forget()
        print(f"report: {REPORTS}/index.html")


if __name__ == "__main__":
    run(main)
