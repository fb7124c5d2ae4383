"""Numbers as text, and the templates of the pages."""

from functools import partial
from pathlib import Path
from typing import Any

from glassbox.core.text import MINUS
from glassbox.search import outcome

STYLE = Path(__file__).parent / "page.css"


def percent(share: float, digits: int = 2) -> str:
    """A share, 0..1."""
    return f"{100 * share:.{digits}f} %"


def signed(value: float) -> str:
    """A number between -1 and 1 with its sign.

    >>> signed(0.304), signed(-0.2), signed(-0.001)
    ('+0.30', '\N{MINUS SIGN}0.20', '0.00')
    """
    text = f"{value:+.2f}".replace("-", MINUS)
    return text[1:] if text[1:] == "0.00" else text


def macro_f1_ends(metrics: dict[str, Any], level: str) -> str:
    """The interval of the macro F1 in metrics.json, with its level, like "95 %"; or why there is none."""
    if metrics["macro_f1_low"] is None:
        return f"no interval: {metrics['macro_f1_without_interval']}"
    return f"{level} interval {metrics['macro_f1_low']:.3f} to {metrics['macro_f1_high']:.3f}"


def short(value: Any) -> str:
    """A number with six digits at most; all else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def scripts(*names: str) -> str:
    """Scripts of this folder, one after another, for one page."""
    return "\n".join((STYLE.parent / name).read_text(encoding="utf-8") for name in names)


def render(template: str, **shown: Any) -> str:
    """A page in one file that needs no network, from a template's file in this folder and the template's variables, of
    which none may be missing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("glassbox", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "short": short,
        "number": lambda value: f"{value:,}",
        "measured": partial(outcome.shown, digits=2),
    }
    return environment.get_template(template).render(style=STYLE.read_text(encoding="utf-8"), **shown)
