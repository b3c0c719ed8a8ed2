"""Adds to brush_rle.json the masks as Label Studio's Python package packs them; run make_brush_rle.mjs before.

python3 -m pip install label-studio-sdk==2.1.2 && python3 make_brush_rle.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from label_studio_sdk.converter.brush import mask2rle

PATH = Path(__file__).with_name("brush_rle.json")

golden = json.loads(PATH.read_text())
for case in golden["cases"]:
    mask = np.zeros(case["size"], np.uint8)
    for top, left, bottom, right in case["rectangles"]:
        mask[top:bottom, left:right] ^= 255
    case["sdk"] = mask2rle(mask)
lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in golden["cases"])
disc = json.dumps(golden["disc"], separators=(",", ":"))
PATH.write_text(f'{{"cases": [\n{lines}\n],\n"disc": {disc}}}\n')
