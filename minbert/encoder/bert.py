"""The BERT encoder (Devlin et al. 2019): post-LayerNorm transformer layers over summed embeddings.

Dimensions: B texts, T tokens of the longest, H hidden size; N tokens in all, those that the layers
compute (`layout.py`). `embed()` and `encode()` are separate so that noise can enter at the word
embeddings, before position, type and LayerNorm are added.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.encoder import weights
from minbert.encoder.attention import ATTENTION, AttentionFunction, SelfAttention
from minbert.encoder.config import EncoderConfig
from minbert.encoder.dropout import Dropout
from minbert.encoder.unpadding import Layout, layout_of


class BertLayer(nn.Module):
    """Attention, then a two-layer perceptron; each with dropout, residual and LayerNorm."""

    def __init__(self, config: EncoderConfig, attend: AttentionFunction) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.attention = SelfAttention(
            size, config.num_attention_heads, config.attention_probs_dropout_prob, attend
        )
        self.attention_norm = nn.LayerNorm(size, eps=eps)
        self.intermediate = nn.Linear(size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, size)
        self.output_norm = nn.LayerNorm(size, eps=eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        first_only: bool = False,
        places: Tensor | None = None,
    ) -> Tensor:
        """Tokens (N, H) to (N, H), or to some of them, as `SelfAttention` has it."""
        attended = self.dropout(self.attention(hidden, layout, first_only, places))
        if first_only:
            hidden = layout.firsts(hidden)
        elif places is not None:
            hidden = layout.at(hidden, places)
        hidden = self.attention_norm(hidden + attended)
        widened = F.gelu(self.intermediate(hidden))  # the exact GELU, by erf
        return self.output_norm(hidden + self.dropout(self.output(widened)))


class BertModel(nn.Module):
    """Token ids to one vector a token and one a text."""

    def __init__(self, config: EncoderConfig, attention: str = "fused") -> None:
        """Random weights, as published: N(0, initializer_range²), biases 0."""
        super().__init__()
        self.config = config
        self.vocab_files: dict[str, bytes] = {}
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        attend = ATTENTION[attention]
        self.layers = nn.ModuleList(
            BertLayer(config, attend) for _ in range(config.num_hidden_layers)
        )
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, path: str | Path, attention: str = "fused") -> BertModel:
        """Load a folder in the published layout: `config.json`, `vocab.txt`, `model.safetensors`.

        Dropout is off until `train()` switches it on. Raises InputError, naming them, for tensors
        that are missing, unexpected or mis-shaped.
        """
        folder = Path(path)
        weights.check_folder(folder)
        config = EncoderConfig.from_file(folder / "config.json")
        with torch.device("meta"):  # no time spent on random weights that the file replaces
            model = cls(config, attention)
        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
        model.load_state_dict(weights.read(folder, expected), assign=True)
        model.vocab_files = weights.read_vocab_files(folder)
        return model.eval()

    def save_pretrained(self, path: str | Path) -> None:
        """Write the same layout, readable by any library that reads published BERT folders."""
        weights.write(Path(path), self.state_dict(), self.config.to_published(), self.vocab_files)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Word embeddings alone: (B, T) to (B, T, H)."""
        return self.word_embeddings(input_ids)

    def embedding_output(self, embeddings: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """What the first layer takes: word embeddings (B, T, H) with position, type, LayerNorm."""
        return self._normed(self._summed(embeddings, token_type_ids))

    def encode(
        self,
        embeddings: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        *,
        first_only: bool = False,
        places: Tensor | None = None,
        real: int | None = None,
    ) -> dict[str, Tensor]:
        """Word embeddings (B, T, H) to `last_hidden_state` (B, T, H), `pooler_output` (B, H).

        `attention_mask` (B, T) is 1 at tokens, `real` of them if that is known; at padding the
        output means nothing. Token types default to 0. With `first_only` the last layer computes
        the first token alone, which is all that `pooler_output` needs: five sixths of its work are
        saved, and `last_hidden_state` is (B, 1, H). With `places` (M,) in the texts flattened, none
        of them padding, what follows attention there is computed for these tokens and the first
        alone, and `last_hidden_state` is (M, H). Raises ValueError for a mask of another shape.
        """
        if attention_mask.shape != embeddings.shape[:2]:
            shapes = f"{tuple(attention_mask.shape)}, not {tuple(embeddings.shape[:2])}"
            raise ValueError(f"attention_mask: {shapes}, as the texts have it")
        layout = layout_of(attention_mask, self.config.num_attention_heads, real)
        hidden = self._normed(layout.flat(self._summed(embeddings, token_type_ids)))  # (N, H)
        for layer in self.layers[:-1]:
            hidden = layer(hidden, layout)
        first, last = self._last(hidden, layout, first_only, places)
        return {"last_hidden_state": last, "pooler_output": torch.tanh(self.pooler(first))}

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`embed`, then `encode`."""
        return self.encode(self.embed(input_ids), attention_mask, token_type_ids)

    def _last(
        self, hidden: Tensor, layout: Layout, first_only: bool, places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The last layer's vectors of [CLS], (B, H), and those that `encode` promises."""
        layer = self.layers[-1]
        if first_only:
            first = layer(hidden, layout, first_only=True)
            return first, first[:, None]
        if places is None:
            hidden = layer(hidden, layout)
            return layout.firsts(hidden), layout.rows(hidden)
        count, length = layout.key_mask.size(0), layout.key_mask.size(-1)
        starts = torch.arange(0, count * length, length, device=places.device)
        hidden = layer(hidden, layout, places=torch.cat([starts, places]))
        return hidden[:count], hidden[count:]

    def _summed(self, embeddings: Tensor, token_type_ids: Tensor | None) -> Tensor:
        positions = self.position_embeddings.weight[: embeddings.size(1)]  # (T, H)
        if token_type_ids is None:
            types = self.token_type_embeddings.weight[0]  # (H,)
        else:
            types = self.token_type_embeddings(token_type_ids)  # (B, T, H)
        return embeddings + positions + types

    def _normed(self, summed: Tensor) -> Tensor:
        normed: Tensor = self.dropout(self.embedding_norm(summed))
        return normed
