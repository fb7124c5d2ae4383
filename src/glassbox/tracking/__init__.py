"""MLflow's view of a study: all that imports mlflow, which stages, the command line and the report may import.

It is also the only reader of DVC's environment variables. Files under reports/ are the truth: a stage logs the files
that it wrote, and no stage reads them back. mlflow takes two seconds to import: modules do so inside functions only,
and a stage leaves it to a process of its own. It calls `client`, which sends to `recorder`, which writes by `runs`,
`models` and `writer` to the `store`.
"""

from glassbox.tracking.artifacts import artifact_repository
from glassbox.tracking.client import StageRun, is_on, stage, start_early
from glassbox.tracking.comparisons import log_comparison, note_verified
from glassbox.tracking.lookup import NoSuchStudy, fetch_record, fetch_study
from glassbox.tracking.store import check, with_little_patience

__all__ = [
    "NoSuchStudy",
    "StageRun",
    "artifact_repository",
    "check",
    "fetch_record",
    "fetch_study",
    "is_on",
    "log_comparison",
    "note_verified",
    "stage",
    "start_early",
    "with_little_patience",
]
