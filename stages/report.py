"""report: the study on one page, its headline in one small file, and its row in MLflow."""

from glassbox import config, files, record, report, resume, tracking
from glassbox.data import store
from glassbox.errors import run

DATA, MODEL, REPORTS = "data/prepared", "models", "reports"


def main() -> None:
    params = config.read()
    with files.exclusive("data/.report.lock", "writing the report"), tracking.stage("report") as tracked:
        d = store.describe(DATA)
        tracked.begin(d)
        study = report.read(params, REPORTS, MODEL)
        files.write_text(f"{REPORTS}/index.html", report.page(study))
        files.write_json(f"{REPORTS}/report/hypotheses.json", report.hypotheses_of(study))
        files.write_json(f"{REPORTS}/summary.json", report.summary(study))
        record.write(params, d.digest)
        headline, curves = report.headline(study), study.curves.to_dict("records")
        about = report.description(study)
        tracked.complete_study(study.model["choices"], headline, curves, about, MODEL, REPORTS)
        resume.forget()
        print(f"report: {REPORTS}/index.html")


if __name__ == "__main__":
    run(main)
