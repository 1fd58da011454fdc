"""The smallest models of open_clip, with random weights: enough to see that the right ones are loaded, and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
SIGLIP: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 32,
        "hf_tokenizer_name": "a-hub/tiny-siglip",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}
"""As the configurations of the library's SigLIP models, but small."""
SIGLIP_PREPARATION = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
WORDS = ("pad", "end", "unknown", "warm", "up", "hex", "nut", "bolt", "bearing")


def make_model(folder: Path, config: dict[str, Any], preparation: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """A folder as a publisher would fill it; returns its checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {"model_cfg": config, "preprocess_cfg": preparation or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    if "hf_tokenizer_name" in config["text_cfg"]:
        _make_tokenizer(folder)
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    checkpoint = folder / "open_clip_model.safetensors"
    save_file({name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}, checkpoint)
    return checkpoint


def _make_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="unknown"))
    tokenizer.pre_tokenizer = Whitespace()
    names = {"pad_token": "pad", "eos_token": "end", "unk_token": "unknown"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
