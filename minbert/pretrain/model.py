"""An encoder under the two heads of pretraining: masked words, and whether b follows a.

Dimensions: B rows, T tokens, H hidden size, M masked tokens, V vocabulary.
"""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.data.batches import Padded
from minbert.encoder import weights
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.selection import cls_and_tokens_at
from minbert.support.console import log
from minbert.support.device import at_least_fp32
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed, seeded

_ARCHITECTURES = {  # the published name of an encoder with these heads
    frozenset({"mlm"}): "BertForMaskedLM",
    frozenset({"nsp"}): "BertForNextSentencePrediction",
    frozenset({"mlm", "nsp"}): "BertForPreTraining",
}


class MaskedLanguageHead(nn.Module):
    """Hidden vectors to logits over the vocabulary, with the word embeddings as output matrix."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        """Logits (M, V) from hidden vectors (M, H) and the embedding matrix (V, H)."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), word_embeddings, self.bias)


class Isometry(nn.Module):
    """A linear map between vectors of two sizes that keeps lengths and angles.

    Where the vectors that it makes are the shorter ones, it keeps those of what it does not drop.
    Its matrix has orthonormal columns (rows), by QR decomposition of the weight.
    """

    def __init__(self, size: int, target: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(target, size)))

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (N, target) from vectors (N, size)."""
        tall = self.weight if len(self.weight) >= self.weight.shape[1] else self.weight.T
        q, r = torch.linalg.qr(tall)
        columns = q * r.diagonal().sign()  # so that an orthonormal weight is the matrix itself
        return F.linear(vectors, columns if tall is self.weight else columns.T)

    @torch.no_grad()
    def fit(self, products: Tensor) -> None:
        """Take the matrix by which `products` (target, size) is largest in sum.

        For `products` the sum of y x^T over unit vectors x and y, it brings the x nearest to the y
        by the mean of their cosines (the orthogonal Procrustes problem, Schönemann 1966).
        """
        u, _, v = torch.linalg.svd(products, full_matrices=False)
        self.weight.copy_(u @ v)


class PretrainingBert(nn.Module):
    """Encoder, masked-language head, and next-sentence head unless left out."""

    def __init__(
        self,
        config: EncoderConfig,
        *,
        attention: str = "fused",
        dropout: float | None = None,
        next_sentence: bool = True,
        autocast: torch.dtype | None = None,
        teacher_size: int | None = None,
    ) -> None:
        """`dropout` replaces the rates of `config` in training, not in what is saved.

        With `teacher_size`, the hidden size of a teacher, there is a map to its vectors, and one
        from the pooler's vector of a pair to the cosine of the teacher's.
        """
        super().__init__()
        self.published = config
        used = config if dropout is None else config.with_dropout(dropout)
        self.encoder = BertModel(used, attention)
        self.mlm = MaskedLanguageHead(config)
        # class 1 says that b is random, as published
        self.nsp = nn.Linear(config.hidden_size, 2) if next_sentence else None
        for module in (self.mlm.dense, self.nsp):
            if module is not None:
                nn.init.normal_(module.weight, std=config.initializer_range)
                nn.init.zeros_(module.bias)
        self.loaded_heads: frozenset[str] = frozenset()  # by `load_published`
        self.to_teacher = self.to_score = None
        if teacher_size is not None:
            self.to_teacher = Isometry(config.hidden_size, teacher_size)
            self.to_score = nn.Linear(config.hidden_size, 1)
        self._autocast = autocast

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.mlm.bias.device

    def forward(
        self, tokens: Padded, positions: Tensor, mask_seed: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits of the masked tokens (M, V), and of the rows (B, 2) or None without that head.

        `positions` (M,) index the padded rows, flattened to (B · T,). Past attention, the last
        layer computes these tokens and [CLS] alone. `mask_seed` switches dropout on and decides
        its masks.
        """
        with self._computing(mask_seed):
            outputs = self.encoder.encode(
                self.encoder.embed(tokens.input_ids),
                tokens.attention_mask,
                tokens.token_type_ids,
                select=cls_and_tokens_at(positions),
            )
            words = self.mlm(outputs["last_hidden_state"], self.encoder.word_embeddings.weight)
            return words, None if self.nsp is None else self.nsp(outputs["pooler_output"])

    def vectors(self, tokens: Padded, mask_seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Vectors of all tokens in the last layer, (B, T, H), and the pooler's of rows, (B, H).

        `mask_seed` is as in `forward`.
        """
        with self._computing(mask_seed):
            outputs = self.encoder(tokens.input_ids, tokens.attention_mask, tokens.token_type_ids)
            return outputs["last_hidden_state"], outputs["pooler_output"]

    def scores(self, pooled: Tensor) -> Tensor:
        """What the teacher's cosines of pairs should be, (B,), by the pooler's vectors (B, H)."""
        assert self.to_score is not None
        return self.to_score(at_least_fp32(pooled)).squeeze(-1)

    @contextlib.contextmanager
    def _computing(self, mask_seed: int | None) -> Iterator[None]:
        self.train(mask_seed is not None)
        masks = contextlib.nullcontext() if mask_seed is None else seeded(mask_seed, self.device)
        lowered = torch.autocast(
            self.device.type, dtype=self._autocast, enabled=self._autocast is not None
        )
        with masks, lowered:
            yield

    @property
    def heads(self) -> frozenset[str]:
        """The names of the heads of pretraining."""
        return frozenset(name.split(".")[0] for name in self._heads())

    def save_pretrained(
        self,
        folder: Path,
        dtype: torch.dtype | None = None,
        *,
        heads: Collection[str] | None = None,
    ) -> None:
        """Write a published folder, with `heads` (their names; None: all); float16 halves it."""
        config, heads = self.published.to_published(), self.heads if heads is None else heads
        if heads:
            config["architectures"] = [_ARCHITECTURES[frozenset(heads)]]
        kept = {k: t for k, t in self._heads().items() if k.split(".")[0] in heads}
        files = self.encoder.vocab_files
        weights.write(folder, self.encoder.state_dict(), config, files, heads=kept, dtype=dtype)

    def load_published(self, folder: Path) -> None:
        """Load a published folder, as `weights.read` does; a head that it lacks stays fresh."""
        encoder = {name: tensor.shape for name, tensor in self.encoder.state_dict().items()}
        heads = {name: tensor.shape for name, tensor in self._heads().items()}
        loaded = weights.read(folder, encoder, heads)
        for head in ("mlm", "nsp", "pooler"):
            parts = [name for name in (*heads, *encoder) if name.startswith(f"{head}.")]
            if any(name not in loaded for name in parts):
                log.info("%s: no whole %s head, so it begins fresh", folder, head)
                loaded = {name: t for name, t in loaded.items() if name not in parts}
        state = {name if name in heads else f"encoder.{name}": t for name, t in loaded.items()}
        self.load_state_dict({**self.state_dict(), **state})
        self.loaded_heads = frozenset(name.split(".")[0] for name in loaded if name in heads)
        self.encoder.vocab_files = weights.read_vocab_files(folder)

    @torch.no_grad()
    def scale_embeddings(self, std: float) -> None:
        """Give the word embeddings the standard deviation `std`; what is computed stays the same.

        The LayerNorm after the embeddings removes their scale. The masked-language head has them as
        its output matrix, so its own LayerNorm gets the inverse scale. Raises InputError where the
        LayerNorm's epsilon would no longer be negligible, or all word embeddings are the same.
        """
        encoder, eps = self.encoder, self.published.layer_norm_eps
        before = encoder.word_embeddings.weight.std()
        if not before > 0:
            raise InputError("--embedding_std: the word embeddings are all the same")
        if eps > 1e-6 * (least := min(std, before.item())) ** 2:
            raise InputError(
                f"--embedding_std {std:g}: the encoder would compute something else, as its "
                f"layer_norm_eps {eps:g} counts beside embeddings of {least:.2g}"
            )
        factor = std / before
        tables = encoder.word_embeddings, encoder.position_embeddings, encoder.token_type_embeddings
        for table in tables:
            table.weight.mul_(factor)
        for scaled in self.mlm.norm.parameters():
            scaled.div_(factor)

    def _heads(self) -> dict[str, Tensor]:
        others = ("encoder.", "to_teacher.", "to_score.")
        return {k: t for k, t in self.state_dict().items() if not k.startswith(others)}


def fresh(config: EncoderConfig, seed: int, **settings: object) -> PretrainingBert:
    """A model with random weights, decided by `seed`."""
    with seeded(derive_seed(seed, "weights"), torch.device("cpu")):
        return PretrainingBert(config, **settings)  # type: ignore[arg-type]
