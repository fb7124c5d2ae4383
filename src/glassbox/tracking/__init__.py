"""MLflow's view of a study. Only this package imports mlflow, and only it reads DVC's environment variables.

Files under reports/ are the truth: a stage logs the files that it wrote, and no stage reads them back. mlflow takes two
seconds to import: modules import it inside functions only, and a stage leaves it to a process of its own. The stage
calls `client`, which sends to `recorder`, which writes with `runs`, `models` and `writer` to the `store`.
"""

from glassbox.tracking.artifacts import artifact_repository
from glassbox.tracking.client import StageRun, is_on, stage, start_early

__all__ = ["StageRun", "artifact_repository", "is_on", "stage", "start_early"]
