"""What a picture says of itself before any pixel is decoded: its size, its mode, and which way up it is."""

from dataclasses import dataclass

from PIL import Image

from sightline.data.bad_image import MAX_PIXELS, BadImage
from sightline.data.bounded import LimitReached
from sightline.data.modes import TURNS

_ORIENTATION = 0x0112  # the EXIF tag
_TILE_TAGS = ((256, 322), (257, 323))  # of TIFF: width and length of the picture and of its tiles


@dataclass(frozen=True)
class Header:
    """What a picture's header says, before any pixel is decoded.

    Args:
        format: one of `FORMATS`; "" for a PIL image that came from no file, and for an array.
        mode: Pillow's name of the colour mode.
        height: in pixels, as shown: after the EXIF orientation.
        width: in pixels, likewise.
        orientation: of EXIF, 1 to 8; 1 is upright, and what is said of a PNG whose block comes after its pixels, which
            only `decode` meets.
        is_grey: whether the picture has no colour (a palette counts as colour).
        is_animated: whether there are frames after the first, which is the one that is decoded.
    """

    format: str
    mode: str
    height: int
    width: int
    orientation: int
    is_grey: bool
    is_animated: bool


def header_of(image: Image.Image, name: str) -> Header:
    """What the library's image says.

    Args:
        image: opened, perhaps not loaded.
        name: that a message calls it.

    Raises:
        BadImage: it is larger than the limits allow.
    """
    check_image(image, name)
    orientation = orientation_of(image)
    # The library's TIFF reader swaps the sides itself.
    is_turned = orientation >= 5 and image.format != "TIFF"
    height, width = (image.width, image.height) if is_turned else (image.height, image.width)
    return Header(
        format="JPEG" if image.format == "MPO" else image.format or "",
        mode=image.mode,
        height=height,
        width=width,
        orientation=orientation,
        is_grey=image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"),
        is_animated=_is_animated(image),
    )


def check_image(image: Image.Image, name: str) -> None:
    """Check its size, and that of a TIFF's tiles, of which the smallest picture may have a huge one."""
    check_size(image.width, image.height, name)
    tags = getattr(image, "tag_v2", {})
    stored = 1
    for side, tile in ((tags.get(of_picture), tags.get(of_tile)) for of_picture, of_tile in _TILE_TAGS):
        stored *= -(-side // tile) * tile if isinstance(side, int) and isinstance(tile, int) and tile > 0 else 1
    if stored > MAX_PIXELS:
        raise BadImage(name, f"has {stored:,} pixels in its tiles, more than the limit of {MAX_PIXELS:,}")


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a picture without pixels, and one of more than `MAX_PIXELS`."""
    if width < 1 or height < 1:
        raise BadImage(name, f"has no pixels: {height}x{width}")
    if width * height > MAX_PIXELS:
        raise BadImage(name, f"has {height}x{width} pixels, more than the limit of {MAX_PIXELS:,}")


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":  # a second view or a preview, not a second frame
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except LimitReached:
        raise
    except Exception:  # looking for a second frame reads on, into what may be damaged; the first is what counts
        return False


def orientation_of(image: Image.Image) -> int:
    """The EXIF (or XMP) orientation; 1, upright, where there is none or the block is damaged."""
    has_exif = any(key in image.info for key in ("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"))
    if image.format == "PNG" and not has_exif and not _is_loaded(image):
        return 1  # the library would decode all pixels to look for a block after them
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except LimitReached:
        raise
    except Exception:  # a damaged block says nothing; the pixels are whole
        return 1
    return orientation if orientation in TURNS else 1


def _is_loaded(image: Image.Image) -> bool:
    return not getattr(image, "tile", ())
