"""Whether a mirrored picture is still of its class, as far as the names of the classes tell."""

import re
from dataclasses import replace

from sightline.data.catalog import ArrayImages, Catalog

_SIDES = {"left", "right"}
_FEWEST_LETTERS = 10  # classes: fewer may be anybody's a and b


def mind_signs(catalog: Catalog) -> Catalog:
    """The same data, its pictures not to be mirrored where the classes look like signs or sides.

    Classes of one digit each are taken for signs: a mirrored 3 is no 3; so are ten or more of one letter each. Arrays
    in colour are left alone: their classes are mostly numbers that stand for something else. The user is told, and may
    say otherwise (`--hflip`).

    Args:
        catalog: as it was read.

    Example:
        >>> import numpy as np
        >>> images = ArrayImages(np.zeros((2, 4, 4, 1), np.uint8), (("train", 2),))
        >>> digits = Catalog("two", None, ("3", "7"), images, np.array([0, 1]), np.zeros(2, np.uint8), channels=1)
        >>> mind_signs(digits).hflip_ok
        False
    """
    if not catalog.hflip_ok:
        return catalog
    fewest = 1 if all(name.isdigit() for name in catalog.classes) else _FEWEST_LETTERS
    are_signs = all(len(name) == 1 for name in catalog.classes) and len(catalog.classes) >= fewest
    if are_signs and not (isinstance(catalog.images, ArrayImages) and catalog.channels == 3):
        why = "as their classes may be digits or letters"
    elif sides := [name for name in catalog.classes if _SIDES & set(re.findall("[a-z]+", name.lower()))]:
        why = f"as a class is called {sides[0]}"
    else:
        return catalog
    note = f"Pictures are not mirrored, {why}; --hflip 0.5 mirrors them."
    return replace(catalog, hflip_ok=False, notes=(*catalog.notes, note))
