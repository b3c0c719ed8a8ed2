"""Graphs that are exported compute what the model does, whatever the lengths of their axes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.config import ModelConfig
from sam2_engine.errors import ExportError, SettingError
from sam2_engine.model import Memory, PromptTensors, Sam2
from sam2_engine.onnx_export import MANIFEST, PARTS, TOLERANCE, differences, export_onnx, parts_of
from sam2_engine.onnx_export.checking import relative_difference
from sam2_engine.tracking import Tracker

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"


def random_model(config: ModelConfig) -> Sam2:
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = Sam2(config).eval()
        for mixer in model.sam_mask_decoder.output_hypernetworks_mlps:
            torch.nn.init.normal_(mixer.layers[-1].weight, std=0.5)
        torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 2.0)
        if model.edge_refiner is not None:
            torch.nn.init.normal_(model.edge_refiner.change.weight, std=0.1)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def ours(little: ModelConfig) -> Sam2:
    """With what only our small models have: prompts that are drawn, masks that are refined."""
    return random_model(little)


@pytest.fixture(scope="module")
def published(little: ModelConfig) -> Sam2:
    """As SAM 2.0: windows that need padding, nothing drawn, pointers without times."""
    as_published = {
        "drawn_prompts": False,
        "refines_mask": False,
        "previous_logits": False,
        "contrast": "dtype",
        "edge_channels": 0,
    }
    first = {"spatial_no_object": False, "pointer_times": False, "windows": (8, 4, 14, 7), "pos_embed_side": 7}
    return random_model(replace(little, name="as published", **as_published, **first))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(ours: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "ours"
    export_onnx(ours, folder, weights_sha256="0" * 64)
    return folder


@pytest.fixture(scope="module")
def exported_published(published: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "published"
    export_onnx(published, folder)
    return folder


def read(folder: Path) -> Any:
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def run(folder: Path, part: str, **inputs: Any) -> list[torch.Tensor]:
    session = onnxruntime.InferenceSession(folder / f"{part}.onnx")
    given = {name: value.numpy() for name, value in inputs.items()}
    return [torch.from_numpy(array) for array in session.run(None, given)]


@pytest.mark.parametrize("kind", ["ours", "published"])
def test_every_graph_gives_what_the_model_gives(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("exported" if kind == "ours" else "exported_published")
    model = request.getfixturevalue(kind)
    found = list(differences(model, folder))
    assert {one.part for one in found} == set(parts_of(model.config))
    assert ("edge_refiner" in parts_of(model.config)) == (kind == "ours")
    assert len({tuple(one.sizes.items()) for one in found if one.part == "mask_decoder"}) == 4
    assert [one for one in found if not one.holds] == []


def test_another_model_is_told_apart(published: Sam2, exported: Path) -> None:
    found = list(differences(published, exported, ("image_encoder", "object_pointer")))
    assert not all(one.holds for one in found)


def test_a_difference_of_another_shape_or_without_number_never_holds() -> None:
    assert relative_difference(torch.ones(2), torch.ones(3)) == float("inf")
    assert not relative_difference(torch.tensor([float("nan")]), torch.ones(1)) <= TOLERANCE


@pytest.mark.parametrize("points", [1, 2, 30])
@pytest.mark.parametrize("objects", [1, 5])
def test_any_number_of_points_and_objects(ours: Sam2, exported: Path, points: int, objects: int) -> None:
    torch.manual_seed(points)
    pixels = torch.randn(1, 3, 64, 64)
    prompts = PromptTensors(torch.rand(objects, points, 2) * 64, torch.randint(0, 2, (objects, points)))
    embedding, conditioned, skip4, skip8 = run(exported, "image_encoder", pixels=pixels)
    logits, iou, _, score, fine_features = run(
        exported,
        "mask_decoder",
        conditioned=conditioned,
        skip4=skip4,
        skip8=skip8,
        points_xy=prompts.points_xy,
        kinds=prompts.kinds,
        mask=torch.zeros(objects, 1, 16, 16),
        has_mask=torch.tensor([False]),
    )
    with torch.inference_mode():
        features = ours.encode_image(pixels)
        expected = ours.decode(ours.condition(features.embedding, None), features.skips, prompts)
    torch.testing.assert_close(embedding, features.embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iou, expected.iou, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(score, expected.object_score, rtol=1e-4, atol=1e-5)
    seen = {"pixels": pixels, "features": fine_features, "logits": logits[:, :1].contiguous()}
    (fine,) = run(exported, "edge_refiner", **seen, points_xy=prompts.points_xy, kinds=prompts.kinds)
    with torch.inference_mode():
        assert expected.features is not None
        refined = ours.refine_edges(pixels, expected.features, expected.logits[:, :1], prompts)
    torch.testing.assert_close(fine, refined, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("memories", "pointers"), [(1, 0), (7, 16), (2, 1)])
def test_any_number_of_memories_and_pointers(ours: Sam2, exported: Path, memories: int, pointers: int) -> None:
    torch.manual_seed(memories)
    config = ours.config
    embedding = torch.randn(1, config.dim, 4, 4)
    spatial = torch.randn(2, memories, config.memory_dim, 4, 4)
    pointed, times = torch.randn(2, pointers, config.dim), torch.linspace(-0.5, 1, pointers)
    slots = torch.arange(memories)
    (found,) = run(
        exported,
        "memory_attention",
        embedding=embedding,
        memories=spatial,
        slots=slots,
        pointers=pointed,
        times=times,
    )
    seen = (pointed, times) if pointers else (None, None)
    with torch.inference_mode():
        expected = ours.condition(embedding, Memory(spatial.unbind(1), tuple(slots.tolist()), *seen))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_manifest_says_what_the_files_are(ours: Sam2, exported: Path) -> None:
    manifest = read(exported)
    assert (manifest["model"], manifest["side"], manifest["opset"]) == ("little", 64, 18)
    assert manifest["weights_sha256"] == "0" * 64
    assert manifest["pixels"]["uint8_range"] is None
    assert manifest["config"]["dim"] == ours.config.dim
    assert tuple(manifest["parts"]) == PARTS
    assert {file.name for file in exported.iterdir()} == {MANIFEST, *(f"{part}.onnx" for part in PARTS)}
    for part in manifest["parts"].values():
        content = (exported / part["file"]).read_bytes()
        assert part["bytes"] == len(content)
        assert part["sha256"] == hashlib.sha256(content).hexdigest()


def test_graphs_have_the_inputs_outputs_and_axes_of_the_manifest(exported: Path) -> None:
    formats = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
    for part in read(exported)["parts"].values():
        session = onnxruntime.InferenceSession(exported / part["file"])
        for told, there in ((part["inputs"], session.get_inputs()), (part["outputs"], session.get_outputs())):
            assert [port["name"] for port in told] == [port.name for port in there]
            assert [port["dtype"] for port in told] == [formats[port.type] for port in there]
            assert [port["shape"] for port in told] == [port.shape for port in there]


def test_graphs_name_no_file_of_this_machine(exported: Path) -> None:
    root = str(Path(__file__).parents[2]).encode()
    for file in exported.iterdir():
        content = file.read_bytes()
        assert root not in content
        assert b"site-packages" not in content


def test_some_parts_replace_an_earlier_export(ours: Sam2, tmp_path: Path) -> None:
    started: list[str] = []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "memory_encoder.onnx").write_bytes(b"old")
    manifest = export_onnx(ours, tmp_path / "out", parts=["object_pointer"], started=started.append)
    assert started == list(manifest["parts"]) == ["object_pointer"]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {MANIFEST, "object_pointer.onnx"}


def test_a_folder_with_other_things_is_left_alone(ours: Sam2, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"thesis\.txt"):
        export_onnx(ours, tmp_path, parts=["object_pointer"])
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("parts", [["decoder"], []])
def test_parts_that_are_none_are_refused(ours: Sam2, tmp_path: Path, parts: Sequence[str]) -> None:
    with pytest.raises(SettingError, match="image_encoder, mask_decoder"):
        export_onnx(ours, tmp_path / "out", parts=parts)


def test_a_model_in_training_stays_in_training(little: ModelConfig, tmp_path: Path) -> None:
    model = random_model(little).train()
    export_onnx(model, tmp_path / "out", parts=["object_pointer"])
    assert model.training
    assert all(module.training for module in model.modules())


def test_the_example_of_the_documentation_finds_the_mask_that_the_model_finds(
    ours: Sam2, exported: Path, clip: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sam2_onnx").symlink_to(exported, target_is_directory=True)
    Image.fromarray(clip[0]).save("cells.png")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example.replace("json.load(open(", "json.load(_open("), str(PAGE), "exec"), {"_open": _closing_open})
    found = np.asarray(Image.open("mask.png"))
    expected = _one_click(Tracker(ours), clip[0], 12, 10)
    assert found.shape == expected.shape
    assert 0.05 < expected.mean() < 0.95
    assert (found == expected).mean() > 0.99


class _closing_open:
    """`open` whose file is closed once it has been read, since nothing may be left open in tests."""

    def __init__(self, path: str, encoding: str) -> None:
        self.text = Path(path).read_text(encoding=encoding)

    def read(self) -> str:
        return self.text


def _one_click(tracker: Tracker, image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.bool_]:
    height, width = image.shape
    with tracker.placement.active():
        features = tracker.encode([np.stack([image] * 3, axis=-1)])
        side = tracker.config.image_side
        point = torch.tensor([[[x * side / width, y * side / height]]])
        prompts = PromptTensors(point, torch.tensor([[1]]))
        candidates = tracker.model.decode(tracker.condition(features, None), features.skips, prompts)
        best = 1 + int(candidates.iou[0, 1:].argmax())
        assert candidates.features is not None and features.pixels is not None
        chosen = candidates.logits[:, best : best + 1]
        logits = tracker.model.refine_edges(features.pixels, candidates.features, chosen, prompts)
        full = torch.nn.functional.interpolate(logits, (height, width), mode="bilinear", antialias=True)
    mask: NDArray[np.bool_] = (full[0, 0] > 0).numpy()
    return mask
