"""The BERT encoder (Devlin et al. 2019): post-LayerNorm transformer layers over summed embeddings.

Dimensions: B texts, T tokens of the longest, N tokens that the layers compute (`unpadding.py`), S
tokens that the last layer computes (`selection.py`), H hidden size.

`embed()` and `encode()` are separate so that noise can enter at the word embeddings, before
position and type are added and LayerNorm is applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minbert.encoder import weights
from minbert.encoder.attention import ATTENTION, AttentionFunction, SelfAttention
from minbert.encoder.config import EncoderConfig
from minbert.encoder.dropout import Dropout
from minbert.encoder.selection import Select, TokenSelection, every_token
from minbert.encoder.unpadding import choose_layout
from minbert.support.console import log
from minbert.support.device import at_least_fp32
from minbert.support.randomness import derive_seed, seeded


class BertLayer(nn.Module):
    """Attention, then a two-layer perceptron; each with dropout, residual and LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.attention = SelfAttention(size, config.attention_probs_dropout_prob)
        self.attention_norm = nn.LayerNorm(size, eps=eps)
        self.intermediate = nn.Linear(size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, size)
        self.output_norm = nn.LayerNorm(size, eps=eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden: Tensor, selection: TokenSelection, attend: AttentionFunction
    ) -> Tensor:
        """Tokens x (N, H) to the selected ones (S, H).

        a = LayerNorm(x + dropout(attention(x))), then LayerNorm(a + dropout(W₂ GELU(W₁ a))).
        """
        attended = self.dropout(self.attention(hidden, selection, attend))
        hidden = self.attention_norm(selection.take(hidden) + attended)
        widened = F.gelu(self.intermediate(hidden))  # the exact GELU, by erf
        return self.output_norm(hidden + self.dropout(self.output(widened)))


class _Undrawn(TorchFunctionMode):
    """Leave out `torch.nn.init`: weights without numbers need none, and it loads a compiler."""

    def __torch_function__(
        self,
        func: Any,
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return func(*args, **kwargs)


class BertModel(nn.Module):
    """The encoder: token ids to a vector for each token and one for each text."""

    def __init__(self, config: EncoderConfig, attention: str = "fused") -> None:
        """Draw weights as published: N(0, initializer_range²), biases 0."""
        super().__init__()
        self.config, self.attention = config, ATTENTION[attention]
        self.vocab_files: dict[str, bytes] = {}
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, attention: str = "fused", seed: int = 0
    ) -> BertModel:
        """Load a folder in the published layout (`weights.py`).

        Dropout is off until `train()` switches it on. A pooler that the folder lacks begins with
        random weights, decided by `seed`. Raises InputError for tensors that are missing,
        unexpected or mis-shaped, and names them.
        """
        folder = Path(path)
        weights.check_folder(folder)
        config = EncoderConfig.from_file(folder / "config.json")
        model, expected = cls._without_numbers(config, attention)
        found = weights.read(folder, expected)
        model.load_state_dict(found, assign=True, strict=False)
        if "pooler.weight" not in found:
            what = "%s: has no pooler, so it begins with random weights (--pooling mean reads none)"
            log.warning(what, folder)
            with seeded(derive_seed(seed, "pooler"), torch.device("cpu")):
                model.pooler = nn.Linear(config.hidden_size, config.hidden_size)
                model._initialize(model.pooler)
        model.vocab_files = weights.read_vocab_files(folder)
        return model.eval()

    @classmethod
    def _without_numbers(
        cls, config: EncoderConfig, attention: str = "fused"
    ) -> tuple[BertModel, dict[str, torch.Size]]:
        """A model that takes no memory, and the shapes of its tensors."""
        model = cls.empty(config, attention)
        return model, {name: tensor.shape for name, tensor in model.state_dict().items()}

    @classmethod
    def empty(cls, config: EncoderConfig, attention: str = "fused") -> BertModel:
        """A model whose weights are shapes alone, to be replaced by those of a file."""
        with torch.device("meta"), _Undrawn():
            return cls(config, attention)

    @classmethod
    def check_folder(cls, folder: Path, config: EncoderConfig) -> None:
        """Raise InputError where the tensors of a folder do not fit a configuration."""
        weights.check(folder, cls._without_numbers(config)[1])

    def save_pretrained(self, path: str | Path) -> None:
        """Write a folder that `from_pretrained` and any library for published BERTs can read."""
        weights.write(Path(path), self.state_dict(), self.config.to_published(), self.vocab_files)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Look up word embeddings alone: token ids (B, T) to (B, T, H)."""
        return self.word_embeddings(input_ids)

    def embedding_output(self, embeddings: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Turn word embeddings into the first layer's input, both (B, T, H)."""
        return self._normed(self._summed(embeddings, token_type_ids))

    def encode(
        self,
        embeddings: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        *,
        select: Select = every_token,
        token_count: int | None = None,
        computed: Tensor | None = None,
        scoring: bool = False,
    ) -> dict[str, Tensor]:
        """Word embeddings (B, T, H) to `last_hidden_state` and `pooler_output` (B, H).

        `attention_mask` (B, T) is 1 at tokens and 0 at padding, where the output means nothing;
        `token_count` is the number of its ones, counted if not given; `computed` (N,) names the
        positions to compute, where a GPU shall leave padding out (`choose_layout`). Token types
        default to 0. `select` names the tokens that the last layer computes, and so decides the
        shape of `last_hidden_state`: (B, T, H) for all. `scoring` says that no gradient is wanted,
        and takes the attention that is fastest then. Raises ValueError for a mask of another shape.
        """
        if attention_mask.shape != embeddings.shape[:2]:
            shapes = f"{tuple(attention_mask.shape)}, not {tuple(embeddings.shape[:2])}"
            raise ValueError(f"attention_mask: {shapes}, as the texts have it")
        heads = self.config.num_attention_heads
        layout = choose_layout(attention_mask, heads, token_count, computed)
        attend = self.attention.scoring if scoring else self.attention.default
        hidden = self._normed(layout.flatten(self._summed(embeddings, token_type_ids)))  # (N, H)
        for layer in self.layers[:-1]:
            hidden = layer(hidden, every_token(layout), attend)
        selection = select(layout)
        hidden = self.layers[-1](hidden, selection, attend)  # (S, H)
        cls, last = selection.cls(hidden), selection.last_hidden_state(hidden)
        return {"last_hidden_state": last, "pooler_output": self.pooled(cls)}

    def pooled(self, cls: Tensor) -> Tensor:
        """BERT's pooler, (B, H) to (B, H), in fp32 at least: it is small, and heads compare it."""
        with torch.autocast(cls.device.type, enabled=False):
            return torch.tanh(self.pooler(at_least_fp32(cls)))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Token ids (B, T) to the outputs of `encode` for all tokens."""
        return self.encode(self.embed(input_ids), attention_mask, token_type_ids)

    def _summed(self, embeddings: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Word + position + token type, (B, T, H) each; without types, every token's is 0."""
        first = self.config.first_position
        positions = self.position_embeddings.weight[first : first + embeddings.size(1)]  # (T, H)
        if token_type_ids is None:
            types = self.token_type_embeddings.weight[0]  # (H,)
        else:
            types = self.token_type_embeddings(token_type_ids)  # (B, T, H)
        return embeddings + positions + types

    def _normed(self, summed: Tensor) -> Tensor:
        """dropout(LayerNorm(summed)), of any shape (..., H)."""
        return self.dropout(self.embedding_norm(summed))
