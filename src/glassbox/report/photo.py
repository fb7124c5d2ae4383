"""The page of an image of the user: its class, how sure that is, its maps to explore, and what it is like."""

import json
from pathlib import Path
from typing import Any

from glassbox.core import files
from glassbox.explainers.catalog import TITLES
from glassbox.explaining.map_tables import figure_note, may_be_shown
from glassbox.explaining.own_image import Photo
from glassbox.report.cases import PHOTO, SMALL, for_explorer, packed_labels
from glassbox.report.pictures import map_uri, uri
from glassbox.report.words import render, scripts
from glassbox.scoring import verdicts

THUMBNAIL = 96  # side of a training image, pixels


def write(photo: Photo, ranking: str | Path, path: str | Path) -> None:
    """Write the page, with what the study's ranking.json, if there is one, says of explainers."""
    files.write_text(path, page(photo, ranking))


def advice(ranking: str | Path) -> tuple[str, str]:
    """Which of the maps to look at first, in a sentence, and the explainer's name where it is one; nothing where
    explainers were not scored."""
    if not Path(ranking).exists():
        return "", ""
    known = files.read_json(ranking)
    sentence = f"Which map to look at first, by the study's test images: {verdicts.best(known)}"
    return sentence, verdicts.trusted(known) or ""


def page(photo: Photo, ranking: str | Path, live: str = "") -> str:
    """The page as HTML; `live` is the key under which `glassbox.live` answers for the photo, if it does."""
    like, (sentence, first) = photo.likeness, advice(ranking)
    return render(
        "photo.html",
        photo=photo,
        advice=sentence,
        first=first,
        live=live,
        c=case(photo),
        neighbours=[(uri(image, THUMBNAIL), name) for image, name in zip(like.nearest, like.classes, strict=True)]
        if like
        else [],
        script=scripts("photo.js", "explorer.js"),
    )


def case(photo: Photo) -> dict[str, Any]:
    """The image in the form of `cases.cases`, as far as its page needs it."""
    explained, whole, without = [], {}, {}
    for place, label in enumerate(photo.targets):
        name = photo.classes[label]
        explained.append({"class": name, "maps": [_shown(photo, result, place) for result in photo.results]})
        whole[name] = round(float(photo.probabilities[label]), 4)
        without[name] = photo.without[:, label].round(4).tolist()
    regions = {"labels": packed_labels(photo.segments), "whole": json.dumps(whole), "without": json.dumps(without)}
    image = {"image": uri(photo.image, PHOTO), "side": len(photo.image), "outline": "", "group": ""}
    return image | {"explained": explained, "regions": regions}


def _shown(photo: Photo, result: Any, place: int) -> dict[str, Any]:
    values, is_sound = result.attribution.maps[place], may_be_shown(result.attribution, place)
    return {
        "name": result.name,
        "title": TITLES[result.name],
        "map": map_uri(photo.image, values, side=SMALL) if is_sound else None,
        "note": figure_note(result, place),
        "removal": " ".join(f"{p:.3f}" for p in result.removal[place]),
    } | for_explorer(values, result.name)
