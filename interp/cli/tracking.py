"""Log a report to an experiment tracker."""

from __future__ import annotations

from ..errors import ReportError
from ..report import Report


def track(report: Report, project: str) -> str:
    """Log a report's rows, headline and provenance as one Weights & Biases run; where it went.

    Raises:
        ReportError: the tracker is not installed or refused the run.
    """
    try:
        import wandb
    except ImportError as error:
        raise ReportError("--wandb needs Weights & Biases: pip install 'interp[tracking]'") from error
    try:
        made = report.provenance.to_dict()
        run = wandb.init(project=project, job_type=report.kind, config=made, notes=report.headline)
        columns = sorted({name for row in report.rows for name in row})
        table = wandb.Table(columns=columns, data=[[_cell(row.get(c)) for c in columns] for row in report.rows])
        run.log({"rows": table})
        run.summary["headline"] = report.headline
        where = run.url or run.dir
        run.finish()
    except (wandb.Error, OSError, ValueError) as error:
        raise ReportError(f"could not log to Weights & Biases project {project!r}: {error}") from error
    return str(where)


def _cell(value: object) -> object:
    return value if isinstance(value, (int, float, str, bool)) or value is None else str(value)
