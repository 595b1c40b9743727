"""Real weights on real photographs: the bundle that `sightline pretrained` writes must be right on 18 of 20.

The photographs are the 20 of ImageNet that the package foolbox 3.3.4 (MIT) brings for its own examples; who took them
is not said, so they are fetched when this runs and kept nowhere. Each file's name ends in its class.

    python benchmarks/imagenet_photos.py [efficientnet_lite0]
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import sightline as sl
from sightline.pretrained import save_pretrained

PACKAGE = "foolbox==3.3.4"
PICTURES = re.compile(r"foolbox/data/(imagenet_\d+_(\d+)\.jpg)")
REQUIRED = 18


def fetch(folder: Path) -> dict[Path, int]:
    """The photographs with the index of their class."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("*.whl")
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if match := PICTURES.fullmatch(name):
                path = folder / match[1]
                path.write_bytes(archive.read(name))
                found[path] = int(match[2])
    return found


def main(model: str) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = fetch(folder)
        bundle, _ = save_pretrained(model, folder / "bundle")
        predictor = sl.load(bundle.path, device="cpu")
        wrong = []
        for answer, index in zip(predictor.predict(list(pictures)), pictures.values(), strict=True):
            if answer.index != index:
                name = Path(answer.source).name
                wrong.append(f"{name}: {predictor.classes[index]}, taken for {answer.label} ({answer.probability:.0%})")
    num_right = len(pictures) - len(wrong)
    print(f"{model}: {num_right} of {len(pictures)} photographs right, {REQUIRED} required")
    print(*(f"  {line}" for line in wrong), sep="\n")
    return 0 if len(pictures) == 20 and num_right >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "efficientnet_lite0"))
