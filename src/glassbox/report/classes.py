"""A page with a look at every class: its typical, hardest and misclassified images with their maps, and where in the
image and on which colours the positive attribution lies. A domain expert can judge it in a minute."""

from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from glassbox.explainers.catalog import TITLES
from glassbox.report.pictures import map_uri, uri
from glassbox.report.study import Study
from glassbox.report.words import render
from glassbox.statistics import comparison
from glassbox.statistics.comparison import Comparison
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE

OF_A_KIND = 4  # images of a class that are typical, hard or misclassified, at most
SIDE = 96  # of a picture, pixels
FIELDS = (
    ("upper left", "top", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "bottom", "lower right"),
)
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")  # each 60 degrees wide, red around 0
DARK, PALE = 0.25, 0.2  # value below which a pixel is dark, saturation below which it is grey or bright
BRIGHT = 0.75  # value of a pale pixel from which it is bright
COLOURS = ("dark", "grey", "bright", *HUES)
KINDS = {
    "typical": "Typical: recognised, of median confidence",
    "hardest": "Hardest: recognised with the lowest confidence",
    "wrong": "Misclassified, the most confident first",
}


def page(study: Study, images: Any) -> str:
    """The page as HTML, with images of the test split (N, H, W, 3) uint8."""
    name = study.first_explainer
    known = shares(study, images, name)
    tests = used(known)
    return render(
        "classes.html",
        study=study,
        title=TITLES[name],
        kinds=KINDS,
        classes=[
            one for label in study.classes if (one := of_class(study, images, name, label, tests, known.get(label)))
        ],
        tests=len(tests),
        fewest=comparison.fewest(len(tests)) if len(tests) else 0,
    )


def of_class(
    study: Study, images: Any, name: str, label: str, tests: pd.DataFrame, known: pd.DataFrame | None
) -> dict[str, Any] | None:
    """What the page shows of a class: `name`, `kinds` of images, `uses`, `avoids` and `undecided` of its tests, `most`
    (see there), and `n` scored images that were predicted as it. None where it has no image with a map."""
    kinds = {
        kind: [pictured(study, images, name, row) for row in rows] for kind, rows in chosen(study, name, label).items()
    }
    if not any(kinds.values()):
        return None
    part = tests[tests["a"] == label] if len(tests) else tests
    decided = {
        outcome: [_told(row) for row in part[part["outcome"] == outcome].sort_values("p").itertuples()]
        for outcome in (BETTER, WORSE)
        if len(part)
    }
    return {
        "name": label,
        "kinds": kinds,
        "uses": decided.get(BETTER, []),
        "avoids": decided.get(WORSE, []),
        "undecided": int((part["outcome"] == UNDECIDED).sum()) if len(part) else 0,
        "n": int(part["n"].max()) if len(part) else 0,
        "most": most(known) if len(part) else "",
    }


def most(known: pd.DataFrame) -> str:
    """The field and the colour that get most beyond their share in these images, and by how much: what was seen, with
    the lowest and highest value, and no claim about other images. `known` is a table of `shares`."""
    found = []
    for names in (sum(FIELDS, ()), COLOURS):
        mean = known[list(names)].mean()
        if mean.notna().any() and mean.max() > 0:
            of_best = known[mean.idxmax()].dropna()
            found.append(f"{mean.idxmax()} {mean.max():+.2f} ({of_best.min():+.2f} to {of_best.max():+.2f})")
    return "; ".join(found)


def chosen(study: Study, name: str, label: str) -> dict[str, list[int]]:
    """Rows of the test split of each kind, of those that have a map by the explainer."""
    available = set(study.index.loc[study.index["drawn"] & (study.index["explainer"] == name), "image"])
    if study.scored_index is not None:
        available |= set(study.scored_index.loc[study.scored_index["explainer"] == name, "image"])
    table = study.predictions[study.predictions["image"].isin(available)].sort_values("confidence", kind="stable")
    of_class = table[table["true_class"] == label]
    right = of_class[of_class["predicted_class"] == label]
    from_median = (right["confidence"] - right["confidence"].median()).abs().sort_values(kind="stable").index
    typical = right.loc[from_median[:OF_A_KIND], "image"].tolist()
    hardest = [row for row in right["image"].tolist() if row not in typical][:OF_A_KIND]
    wrong = of_class[of_class["predicted_class"] != label]["image"].tolist()[::-1][:OF_A_KIND]
    return {"typical": typical, "hardest": hardest, "wrong": wrong}


def pictured(study: Study, images: Any, name: str, row: int) -> dict[str, Any]:
    """An image with its map for the predicted class: `row`, `guess`, `confidence`, and both pictures."""
    about, image = study.predictions.iloc[row], images[row]
    index = study.index
    of_map = index[index["drawn"] & (index["image"] == row) & (index["explainer"] == name)]
    of_map = of_map[of_map["explained_class"] == about["predicted_class"]]
    if len(of_map):
        values = study.arrays["maps"][of_map["map"].iloc[0]]
    else:
        scored = study.scored_index
        values = study.scored_maps[scored[(scored["image"] == row) & (scored["explainer"] == name)]["map"].iloc[0]]
        values = values.astype(np.float32)
    return {
        "row": row,
        "guess": about["predicted_class"],
        "confidence": float(about["confidence"]),
        "image": uri(image, SIDE),
        "map": map_uri(shrunk(image, len(values)), values, side=SIDE),
    }


def shares(study: Study, images: Any, name: str) -> dict[str, pd.DataFrame]:
    """By predicted class the `excesses` of the explainer's maps, a row for each scored image. Empty where explainers
    were not scored."""
    if study.scored_index is None:
        return {}
    maps = study.scored_index[study.scored_index["explainer"] == name]
    return {
        label: pd.DataFrame(
            excesses(shrunk(images[one.image], study.scored_maps.shape[1]), study.scored_maps[one.map])
            for one in part.itertuples()
        )
        for label, part in maps.groupby("explained_class", sort=False)
    }


def used(known: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Tests of whether positive attribution lies more, or less, in a field or on a colour than the share of the image
    that this takes, from the tables of `shares`.

    Returns:
        The table of `comparison.compare`, one family: `a` is the class, `b` the field or colour, `difference` the
        typical excess, -1 to 1. Empty where there is none.
    """
    return comparison.compare(
        Comparison((label, place), label, place, table[place].to_numpy(), higher_is_better=True)
        for label, table in known.items()
        for place in table
    )


def excesses(image: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """By field and by colour the share of a map's positive attribution that lies there, less the share of the pixels.
    NaN where the map has none, or the image no such pixel. Image (h, h, 3) uint8 and map (h, h)."""
    positive = np.maximum(values.astype(float), 0)
    total = positive.sum()
    places = {**fields(len(values)), **colours(image)}
    return {
        name: float(positive[mask].sum() / total - mask.mean()) if total > 0 and mask.any() else np.nan
        for name, mask in places.items()
    }


def fields(side: int) -> dict[str, np.ndarray]:
    """Masks (side, side) of the nine fields."""
    third = 3 * np.arange(side) // side
    return {
        name: (third[:, None] == y) & (third[None] == x) for y, row in enumerate(FIELDS) for x, name in enumerate(row)
    }


def colours(image: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (h, h) of the colours of an image (h, h, 3) uint8."""
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV"), dtype=float) / 255, 2, 0)
    dark = value < DARK
    pale = ~dark & (saturation < PALE)
    masks = {"dark": dark, "grey": pale & (value < BRIGHT), "bright": pale & (value >= BRIGHT)}
    sector = np.floor(6 * hue + 0.5).astype(int) % 6
    return masks | {name: ~dark & ~pale & (sector == place) for place, name in enumerate(HUES)}


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, H, 3) uint8 averaged to so many pixels along a side."""
    if len(image) == side:
        return np.asarray(image)
    return np.asarray(Image.fromarray(np.asarray(image)).resize((side, side), Image.Resampling.BOX))


def _told(row: Any) -> str:
    """A decided test, like "middle +0.21 [+0.12, +0.30]"."""
    ends = f" [{row.low:+.2f}, {row.high:+.2f}]" if row.low == row.low else ""
    return f"{row.b} {row.difference:+.2f}{ends}"
