"""The table of formats: one line for each."""

from collections.abc import Callable, Mapping
from typing import Final

from ..failure import Failure
from .coco import Coco
from .csvlist import CsvList
from .imagefolder import ImageFolder
from .layout import Layout
from .videofolder import VideoFolder
from .voc import Voc
from .yolo import Yolo

_LAYOUTS: Final[Mapping[str, Callable[[], Layout]]] = {
    "imageFolder": ImageFolder,
    "videoFolder": VideoFolder,
    "voc": Voc,
    "coco": Coco,
    "yolo": Yolo,
    "csv": CsvList,
}


def layout_of(name: str) -> Layout:
    """A fresh layout of the format.

    Raises:
        Failure: `InputInvalid`: this importer does not know it.
    """
    if name not in _LAYOUTS:
        raise Failure(
            "InputInvalid", f"spec.format: `{name}` is none of {', '.join(sorted(_LAYOUTS))}"
        )
    return _LAYOUTS[name]()
