"""prepare: the source's images become three splits, and a card that says what is in them."""

from functools import partial

from glassbox import tracking
from glassbox.config.data import Data
from glassbox.config.loading import load
from glassbox.config.study import Study
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import outside_images, preparation, store
from glassbox.provenance import record, resume
from stages import check_study

DATA, REPORTS = "data/prepared", "reports/prepare"


def main() -> None:
    study, settings = load(Study, Data)
    check_study(network=False)  # *tune*, which follows, looks at it
    with files.exclusive("data/.prepare.lock", "preparing data"), tracking.stage("prepare") as tracked:
        bar = partial(Bar, desc="reading", unit="image")
        prepared = preparation.prepare(settings, study.seed, bar, resume.FOLDER)
        from glassbox.figures import data as figures  # matplotlib takes half a second, and draws last

        folder = files.fresh_folder(REPORTS)
        description = store.write(files.fresh_folder(DATA), prepared.images, prepared.index, settings.source)
        tracked.begin(description)
        card = preparation.data_card(description, prepared)
        files.write_json(folder / "card.json", card)
        files.write_csv(folder / "duplicates.csv", prepared.duplicates)
        if (table := preparation.mask_table(prepared.images)) is not None:
            files.write_csv(folder / "masks.csv", table)
        train = preparation.only(prepared.images, "train")
        figures.samples(folder / "samples.png", train.pixels, train.labels, train.classes, masks=train.masks)

        if sentence := outside_images.note(settings):
            print(sentence)
        tracked.log_params(flatten(settings, "data."))
        tracked.log_metrics({f"images/{split}": n for split, n in description.sizes.items()})
        tracked.log_metrics({"duplicates/groups": card["duplicates"]["groups"]})
        tracked.log_files(record.seal(folder, DATA))
        sizes = ", ".join(f"{n} {split}" for split, n in description.sizes.items())
        print("\n".join([f"prepared {sizes} images of {settings.source}", *preparation.told(card)]))


if __name__ == "__main__":
    run(main)
