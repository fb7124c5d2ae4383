"""The explained images of the report, with what its explorer needs: values of maps, regions, and the probabilities
without them that *explain* has computed."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from glassbox.explainers.captions import equation, note, sound
from glassbox.explainers.catalog import CONTROL, EXPLAINER, TITLES, UNITS
from glassbox.report import analyses
from glassbox.report.pictures import map_uri, svg_path, uri
from glassbox.report.study import Study
from glassbox.xai_metrics.catalog import MEASUREMENTS
from glassbox.xai_metrics.intervention import region_means
from glassbox.xai_metrics.stability import rank_agreement

PROBABLE = 5  # classes whose probabilities stand beside an explained image
GROUPS = {  # of explained images
    "chosen": "Chosen in the parameters",
    "correct": "Recognised",
    "mistake": "Mistake",
    "pair": "Confusable pair",
    "scored": "Drawn for the scorecard",
}
SCORED = 60  # images that were drawn for the scorecard, at most
DETAILS = ("local_r2", "additivity_error", "base_value", "empty_probability", "completeness_error")
STEPS = 127  # of a map's values on either side of zero, as the explorer has them
VALUES, LABELS = 48, 112  # most pixels along a side of a map, and of an image's regions, in the explorer
PHOTO = 192  # most pixels along a side of an explained image
SCORED_PHOTO = 112  # the same of one that was only scored
SMALL = 96  # side of a map beside its image, pixels


def cases(study: Study) -> list[dict[str, Any]]:
    """The images that are drawn, in their order: each with its `row` in the test split, `group`, `truth`, `guess`,
    `file` or None, `image`, `outline` of its mask as a path of SVG, whose unit is a pixel, `side` in pixels,
    `probabilities` of the most probable classes, `explained` (a row of maps for each class), `panels` (Shapley values
    of many classes), `empty` (the prediction with every region hidden), `regions` (see `_regions`) and `disagreement`
    of its explainers (see `_disagreement`)."""
    arrays = study.arrays
    maps, images, masks, removal = arrays["maps"], arrays["images"], arrays.get("masks"), arrays.get("removal")
    places = {row: place for place, row in enumerate(study.regions["image"].unique())}
    drawn = []
    for row, part in study.index[study.index["drawn"]].groupby("image", sort=False):
        first = part.iloc[0]
        image = images[first["map"] % len(images)]
        by_class = part[part["explainer"] != CONTROL].groupby("explained_class", sort=False)
        panels, empty = _panels(study, int(row), image)
        labels = arrays["regions"][places[row]] if row in places else None
        predicted = part[(part["explainer"] != CONTROL) & (part["explained_class"] == first["predicted_class"])]
        drawn.append(
            {
                "row": int(row),
                "group": first["group"],
                "truth": first["true_class"],
                "guess": first["predicted_class"],
                "file": first.get("file"),
                "image": uri(image, PHOTO),
                "outline": "" if masks is None else svg_path(masks[first["map"] % len(images)]),
                "side": len(image),
                "probabilities": _probabilities(study, int(row)),
                "explained": [
                    {
                        "class": name,
                        "maps": [_shown(image, maps[m["map"]], removal, m) for m in rows.to_dict("records")],
                    }
                    for name, rows in by_class
                ],
                "panels": panels,
                "empty": empty,
                "regions": None if labels is None else _regions(study, int(row), labels),
                "disagreement": None if labels is None else _disagreement(maps[predicted["map"]], labels),
            }
        )
    return drawn


def scored_cases(study: Study, images: Any, taken: set[int]) -> list[dict[str, Any]]:
    """The first `SCORED` of the images on which explainers were scored, other than those whose rows are `taken`, in the
    form of `cases`. Their maps have no picture of their own, but the image's scores by the measures with controls.

    Args:
        images: of the test split, (N, H, W, 3) uint8.
    """
    if study.scored_index is None:
        return []
    columns = _measures(study)
    values = study.values[study.values["kind"] == EXPLAINER].set_index(["image", "explainer"])
    made = []
    for row, part in list(study.scored_index.groupby("image", sort=False))[:SCORED]:
        if row in taken:
            continue
        about, image = study.predictions.iloc[int(row)], images[int(row)]
        guess, p = about["predicted_class"], float(about[f"p({about['predicted_class']})"])
        maps = []
        for one in part.to_dict("records"):
            name, scores = one["explainer"], values.loc[(row, one["explainer"])]
            told = [f"{title} {scores[column]:.2f}" for column, title in columns.items() if pd.notna(scores[column])]
            values_of = study.scored_maps[one["map"]].astype(np.float32)
            shown = {"name": name, "title": TITLES[name], "map": None, "note": "; ".join(told)}
            maps.append(shown | for_explorer(values_of, name) | {"removal": ""})
        made.append(
            {
                "row": int(row),
                "group": "scored",
                "truth": about["true_class"],
                "guess": guess,
                "file": None,
                "image": uri(image, SCORED_PHOTO),
                "outline": "",
                "side": len(image),
                "probabilities": _probabilities(study, int(row)),
                "explained": [{"class": guess, "maps": maps}],
                "panels": [],
                "empty": None,
                "regions": {"labels": "", "whole": json.dumps({guess: round(p, 4)}), "without": "{}"},
                "disagreement": None,
            }
        )
    return made


def _measures(study: Study) -> dict[str, str]:
    """Titles of the columns of values.csv that rank explainers against controls."""
    return {
        f"{metric}[{row['setting']}]": MEASUREMENTS[metric]
        for metric, row in study.ranking["metrics"].items()
        if row["controls"]
    }


def for_explorer(values: np.ndarray, name: str) -> dict[str, Any]:
    """What the explorer needs of a map (H, W) of an explainer: `values`, `largest` absolute value, and its `unit`."""
    return {
        "values": packed_map(values),
        "largest": float(np.abs(values).max()),
        "unit": UNITS.get(name, "explained score"),
    }


def _shown(image: np.ndarray, values: np.ndarray, removal: np.ndarray | None, about: dict[str, Any]) -> dict[str, Any]:
    """A map with its explainer: `name`, `title`, `map` (None where it must not be shown) and the `note` under it; for
    the explorer `values` (see `packed_map`), the `largest` absolute value with its `unit`, and `removal`: the class's
    probabilities while the strongest pixels take the training images' mean colour."""
    name = about["explainer"]
    details = {key: about[key] for key in DETAILS if pd.notna(about.get(key))}
    if name == "lime":
        details["local_r2"] = about["local_r2"]  # may be NaN, which the note explains
    empty_class = about.get("empty_class")
    curve = [] if removal is None else removal[about["map"]].tolist()
    return {
        "name": name,
        "title": TITLES[name],
        "map": map_uri(image, values, side=SMALL) if sound(details) else None,
        "note": note(details, bool(about["all_zero"]), name, empty_class if pd.notna(empty_class) else ""),
        "removal": " ".join(f"{p:.3f}" for p in curve),
    } | for_explorer(values, name)


def packed_map(values: np.ndarray) -> str:
    """A map (H, W), averaged over squares to a side of at most `VALUES` pixels, as whole numbers of -127..127, the
    share of its largest absolute value in steps of `STEPS`: row by row, a signed byte each, deflated, in base64."""
    side, largest = min(len(values), VALUES), float(np.abs(values).max()) or 1.0
    small = Image.fromarray(np.asarray(values, dtype=np.float32)).resize((side, side), Image.Resampling.BOX)
    return _packed(np.round(STEPS * np.asarray(small) / largest).astype(np.int8))


def packed_labels(labels: np.ndarray) -> str:
    """The regions (H, W) of an image, at a side of at most `LABELS` pixels: two bytes each, the lower first."""
    side = min(len(labels), LABELS)
    rows = np.arange(side) * len(labels) // side
    return _packed(labels[rows][:, rows].astype("<u2"))


def _packed(array: np.ndarray) -> str:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)  # without a header: the browser's "deflate-raw"
    return base64.b64encode(packer.compress(array.tobytes()) + packer.flush()).decode()


def _regions(study: Study, row: int, labels: np.ndarray) -> dict[str, Any]:
    """The regions of an image: `labels` (see `packed_labels`), and by explained class, as JSON, the probability of the
    `whole` image and those `without` each region."""
    part = study.regions[study.regions["image"] == row]
    by_class = part.groupby("explained_class", sort=False)
    return {
        "labels": packed_labels(labels),
        "whole": json.dumps({name: round(float(rows["probability"].iloc[0]), 4) for name, rows in by_class}),
        "without": json.dumps({name: rows["probability_without"].round(4).tolist() for name, rows in by_class}),
    }


def _disagreement(maps: np.ndarray, labels: np.ndarray) -> float | None:
    """How far the explainers' maps (E, H, W) of one class differ: 1 less their mean rank correlation over the regions.
    None for one explainer, or where no map ranks regions."""
    if len(maps) < 2:
        return None
    value = 1 - rank_agreement(np.stack([region_means(values, labels) for values in maps]))
    return None if np.isnan(value) else value


def _probabilities(study: Study, row: int) -> list[dict[str, Any]]:
    """The most probable classes of a test image, and the true one."""
    about = study.predictions.iloc[row]
    p = {name: float(about[f"p({name})"]) for name in study.model["classes"]}
    likeliest = sorted(p, key=lambda name: -p[name])[:PROBABLE]
    if about["true_class"] not in likeliest:
        likeliest[-1] = about["true_class"]
    return [
        {"class": name, "p": p[name], "guess": name == about["predicted_class"], "truth": name == about["true_class"]}
        for name in likeliest
    ]


def _panels(study: Study, row: int, image: np.ndarray) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Shapley values of an image for many classes, on one scale, and the prediction with every region hidden,
    `class` and `p`; none where there are no such maps."""
    part = None if study.panels is None else study.panels[study.panels["image"] == row]
    if part is None or part.empty:
        return [], None
    maps = study.arrays["panels"]
    largest = float(np.abs(maps[part["map"]]).max())
    panels = []
    for panel in part.to_dict("records"):
        shown = panel["shown"]
        text = equation(*(panel[name] for name in analyses.SUM)) if shown else note(panel, False, "kernel_shap")
        values = map_uri(image, maps[panel["map"]], largest) if shown else None
        panels.append({"class": panel["explained_class"], "map": values, "note": text})
    return panels, {"class": part["empty_class"].iloc[0], "p": float(part["empty_probability"].iloc[0])}
