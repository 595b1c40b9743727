"""docs/export.md: its Python runs as it stands, and its picture reaches the answer of the bundle."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.mark.parametrize(("size", "orientation"), [((70, 45), 1), ((45, 70), 6), ((32, 32), 1), ((20, 90), 8)])
def test_the_examples_run_and_agree_with_the_bundle(exported, tmp_path, monkeypatch, capsys, size, orientation) -> None:
    bundle, _ = exported()
    shutil.copytree(bundle.path, tmp_path / "runs" / "photos")
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "picture.jpg", exif=exif)
    monkeypatch.chdir(tmp_path)

    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)

    pictures = np.stack([bundle.preprocess.picture(tmp_path / "picture.jpg")])
    with torch.no_grad():
        logits = bundle.build_model()(bundle.preprocess.tensor(pictures))
    expected = torch.softmax(logits / bundle.temperature, 1).numpy()
    np.testing.assert_allclose(names["probabilities"], expected, rtol=0, atol=1e-5)
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{bundle.classes[expected.argmax()]}: {expected.max():.1%}"
    assert last.startswith("True 0 ")
