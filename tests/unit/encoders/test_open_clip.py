"""Models of open_clip: the vectors that the library itself would make, and which checkpoints are not loaded."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from pgcad.encoders.open_clip import CONFIG_FILE, OpenClipEncoder, OpenClipSpec, _published_preparation
from pgcad.encoders.spec import read_spec
from pgcad.errors import CadError
from PIL import Image
from safetensors.torch import load_file, save_file
from service_doubles.tiny_models import CLIP, SIGLIP, SIGLIP_PREPARATION, make_model

TEXTS = ["hex nut", "bearing"]
PICTURES = [
    np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8),
    np.full((70, 30, 3), 200, np.uint8),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: `clip`, `siglip`."""
    models = tmp_path_factory.mktemp("models")
    make_model(models / "clip", CLIP)
    make_model(models / "siglip", SIGLIP, SIGLIP_PREPARATION)
    return models


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return shutil.copytree(made, tmp_path / "models")


def described(architecture: str = "tiny", checkpoint: str = "clip/open_clip_model.safetensors") -> dict[str, Any]:
    return {"backend": "open_clip", "architecture": architecture, "checkpoint": checkpoint}


def load(models: Path, **names: str) -> OpenClipEncoder:
    return OpenClipEncoder.load(OpenClipSpec.of(described(**names), models), "cpu")


def refusal(models: Path | None, **names: str) -> CadError:
    with pytest.raises(CadError) as refused:
        OpenClipEncoder.load(OpenClipSpec.of(described(**names), models), "cpu")
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_vectors_are_those_of_the_library(made: Path, name: str) -> None:
    ours = load(made, checkpoint=f"{name}/open_clip_model.safetensors")
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{made / name}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{made / name}")
    with torch.inference_mode():
        texts = model.eval().encode_text(tokenizer(TEXTS), normalize=True).numpy()
        pictures = torch.stack([prepare(Image.fromarray(picture)) for picture in PICTURES])
        images = model.encode_image(pictures, normalize=True).numpy()
    np.testing.assert_allclose(ours.embed("query", TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(ours.embed("image", PICTURES), images, atol=1e-5)
    assert ours.dim == texts.shape[1]
    assert not np.allclose(texts[0], texts[1], atol=1e-3)
    assert not np.allclose(images[0], images[1], atol=1e-3)


def test_pictures_of_siglip_are_squashed_and_not_cropped(made: Path, models: Path) -> None:
    (models / "siglip" / CONFIG_FILE).unlink()
    make_model(models / "siglip", SIGLIP)  # the same weights, prepared as for CLIP
    checkpoint = "siglip/open_clip_model.safetensors"
    vectors = [load(folder, checkpoint=checkpoint).embed("image", PICTURES[:1])[0] for folder in (made, models)]
    assert not np.allclose(*vectors, atol=1e-3)


def test_a_published_architecture_brings_its_preparation() -> None:
    preparation = _published_preparation(open_clip, "ViT-B-16-SigLIP2")
    assert preparation == SIGLIP_PREPARATION
    with pytest.raises(CadError, match="prepared in 2 ways") as refused:
        _published_preparation(open_clip, "ViT-L-14")
    assert CONFIG_FILE in refused.value.hint


def test_a_known_architecture_is_the_library_s_own(models: Path) -> None:
    told = refusal(models, architecture="RN50", checkpoint="clip/open_clip_model.safetensors")
    assert (told.sqlstate, "not of the architecture RN50" in told.message) == ("55000", True)


def test_no_items_give_no_rows(made: Path) -> None:
    assert load(made).embed("image", []).shape == (0, 16)


def test_an_empty_text_is_refused(made: Path) -> None:
    with pytest.raises(CadError, match="empty") as refused:
        load(made).embed("query", ["nut", " "])
    assert refused.value.sqlstate == "22023"


def test_fused_is_the_mean(made: Path) -> None:
    a, b = np.eye(16, dtype=np.float32)[:2]
    assert load(made).fuse(text=a, image=b)[:2] == pytest.approx([0.5**0.5, 0.5**0.5])


def test_the_version_names_the_weights(made: Path, models: Path) -> None:
    version = load(made).version
    assert re.fullmatch(r"tiny-[0-9a-f]{12}", version)
    assert load(models).version == version
    before = OpenClipSpec.of(described(), models)
    assert before == OpenClipSpec.of(described(), models)
    make_model(models / "clip", CLIP, seed=1)
    assert OpenClipSpec.of(described(), models) != before  # not served from the encoder that is open
    assert load(models).version != version


def test_weights_are_read_from_a_pickle_of_tensors(made: Path, models: Path) -> None:
    torch.save({"state_dict": load_file(models / "clip/open_clip_model.safetensors")}, models / "clip/weights.pt")
    vectors = [load(made), load(models, checkpoint="clip/weights.pt")]
    np.testing.assert_array_equal(*[encoder.embed("query", TEXTS) for encoder in vectors])


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("packed", ["zip", "bare"])
def test_a_pickle_that_would_run_code_is_not_loaded(models: Path, tmp_path: Path, packed: str) -> None:
    file, mark = models / "clip/weights.bin", tmp_path / "mark"
    if packed == "zip":
        torch.save({"state_dict": Malicious(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Malicious(mark)))
    told = refusal(models, checkpoint="clip/weights.bin")
    assert (told.sqlstate, "not safe to load" in told.message, "safetensors" in told.hint) == ("55000", True, True)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("kept", [0, 7, 1000])
def test_a_damaged_checkpoint_is_refused(models: Path, name: str, kept: int) -> None:
    tensors = load_file(models / "clip/open_clip_model.safetensors")
    file = models / "clip" / name
    save_file(tensors, file) if file.suffix == ".safetensors" else torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[:kept])
    told = refusal(models, checkpoint=f"clip/{name}")
    assert told.sqlstate == "55000"
    assert name in told.message


def test_weights_of_another_architecture_are_refused(models: Path) -> None:
    make_model(models / "wide", {**CLIP, "embed_dim": 24})
    shutil.copy(models / "wide/open_clip_model.safetensors", models / "clip/wide.safetensors")
    told = refusal(models, checkpoint="clip/wide.safetensors")
    assert (told.sqlstate, "not of the architecture tiny" in told.message) == ("55000", True)
    larger = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": 64}}
    make_model(models / "larger", larger)
    shutil.copy(models / "larger/open_clip_model.safetensors", models / "clip/larger.safetensors")
    assert "of another size" in refusal(models, checkpoint="clip/larger.safetensors").detail
    save_file({"a.b": torch.zeros(3)}, models / "clip/other.safetensors")
    assert "not of the architecture tiny" in refusal(models, checkpoint="clip/other.safetensors").message


def test_weights_that_are_no_numbers_are_refused(models: Path) -> None:
    file = models / "clip/open_clip_model.safetensors"
    save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(file).items()}, file)
    assert refusal(models).sqlstate == "22000"


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "link.safetensors", "clip", "clip/x.npz"])
def test_a_checkpoint_outside_the_folder_is_refused(models: Path, name: str) -> None:
    outside = models.parent / "secret.safetensors"
    outside.touch()
    (models / "link.safetensors").symlink_to(outside)
    told = refusal(models, checkpoint=name)
    assert (told.sqlstate, "no file of weights in the folder" in told.message) == ("22023", True)


def test_a_checkpoint_that_is_not_there_is_missed(models: Path) -> None:
    assert refusal(models, checkpoint="clip/none.safetensors").sqlstate == "55000"
    assert "--models" in refusal(None).hint


@pytest.mark.parametrize("name", ["hf-hub:timm/ViT-B-16-SigLIP", "local-dir:/etc", "../ViT", "", "a b"])
def test_an_architecture_has_a_plain_name(models: Path, name: str) -> None:
    assert refusal(models, architecture=name).sqlstate == "22023"


def test_an_unknown_architecture_says_which_are_known(models: Path) -> None:
    (models / "clip" / CONFIG_FILE).unlink()
    told = refusal(models, architecture="ViT-B-33")
    assert (told.sqlstate, "ViT-B-32" in told.hint) == ("22023", True)


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"model_cfg": {"text_cfg": {}}}', b'{"model_cfg": []}', b"[]"])
def test_a_damaged_description_is_refused(models: Path, content: bytes) -> None:
    (models / "clip" / CONFIG_FILE).write_bytes(content)
    assert refusal(models).sqlstate in ("22023", "55000")


def test_a_tokenizer_that_is_not_there_is_missed(models: Path) -> None:
    (models / "siglip/tokenizer.json").unlink()
    told = refusal(models, checkpoint="siglip/open_clip_model.safetensors")
    assert (told.sqlstate, "tokenizer.json" in told.message) == ("55000", True)


def test_without_the_library_it_says_what_to_install(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    told = refusal(made)
    assert (told.sqlstate, "pgcad[openclip]" in told.hint) == ("0A000", True)


def test_an_unknown_key_is_refused(made: Path) -> None:
    with pytest.raises(CadError, match="has no 'pretrained'"):
        read_spec({**described(), "pretrained": "openai"}, 16, made)
