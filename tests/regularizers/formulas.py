"""SMART written out from its formulas, as an oracle: BERT's forward pass, the tasks' divergences,
the projected ascent and the averaged teacher, in plain tensor operations on a table of weights.

Nothing here calls the package's model, losses or regularizers; only the names of the weights and
the draw of a mask are shared. Masks are replayed by seeding torch's default generator and drawing
in the order of the published model. Dimensions: N texts, B examples, T tokens, H hidden size, A
heads, D = H / A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.encoder.dropout import keep_mask

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Net:
    """What the weights alone do not tell."""

    task: str
    form: str  # bi, cross, relational or cross-relational
    dropout: float
    head_dropout: float
    pooling: str = "cls"
    layers: int = 2
    heads: int = 4
    eps: float = 1e-12


def _dropped(x: Tensor, rate: float, on: bool, tokens: Tensor | None = None) -> Tensor:
    """With `tokens` (N, T) masks are drawn where it is 1 alone."""
    if not on or rate == 0:
        return x
    if tokens is None:
        return x * keep_mask(x, rate)
    keep = torch.ones_like(x)
    keep[tokens.bool()] = keep_mask(x[tokens.bool()], rate)
    return x * keep


def _normalized(x: Tensor, w: Weights, name: str, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return torch.einsum("...i,oi->...o", x, w[f"{name}.weight"]) + w[f"{name}.bias"]


def _attention(
    asking: Tensor, x: Tensor, w: Weights, name: str, mask: Tensor, net: Net, on: bool
) -> Tensor:
    rows, _, size = x.shape
    depth = size // net.heads
    q, k, v = (
        _linear(source, w, f"{name}.{part}").unflatten(-1, (net.heads, depth))
        for source, part in ((asking, "query"), (x, "key"), (x, "value"))
    )
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(depth)
    scores = scores + torch.log(mask.to(x.dtype))[:, None, None, :]  # log 0 = -inf
    odds = torch.exp(scores - scores.amax(-1, keepdim=True))
    shares = _dropped(odds / odds.sum(-1, keepdim=True), net.dropout, on)
    mixed = torch.einsum("bhqk,bkhd->bqhd", shares, v).reshape(rows, -1, size)
    return _linear(mixed, w, f"{name}.output")


def _embedding_output(
    w: Weights, net: Net, batch: Batch, x: Tensor, on: bool, tokens: Tensor | None = None
) -> Tensor:
    assert batch.tokens is not None
    x = x + w["encoder.position_embeddings.weight"][: x.shape[1]]
    x = x + w["encoder.token_type_embeddings.weight"][batch.tokens.token_type_ids]
    return _dropped(_normalized(x, w, "encoder.embedding_norm", net.eps), net.dropout, on, tokens)


def _pooled(w: Weights, net: Net, batch: Batch, x: Tensor, on: bool) -> Tensor:
    assert batch.tokens is not None
    mask = batch.tokens.attention_mask
    x = _embedding_output(w, net, batch, x, on, mask)
    for number in range(net.layers):
        layer = f"encoder.layers.{number}"
        alone = number == net.layers - 1 and net.pooling == "cls"  # nothing reads other tokens
        asking, tokens = (x[:, :1], mask[:, :1]) if alone else (x, mask)
        attended = _attention(asking, x, w, f"{layer}.attention", mask, net, on)
        attended = _dropped(attended, net.dropout, on, tokens)
        x = _normalized(asking + attended, w, f"{layer}.attention_norm", net.eps)
        wide = _linear(x, w, f"{layer}.intermediate")
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        narrow = _dropped(_linear(wide, w, f"{layer}.output"), net.dropout, on, tokens)
        x = _normalized(x + narrow, w, f"{layer}.output_norm", net.eps)
    if net.pooling == "mean":
        weight = mask.to(x.dtype)
        return torch.einsum("bth,bt->bh", x, weight) / weight.sum(1, keepdim=True)
    return torch.tanh(_linear(x[:, 0], w, "encoder.pooler"))


def logits(w: Weights, net: Net, batch: Batch, x: Tensor, seed: int | None) -> Tensor:
    """f(x): word embeddings (N, T, H) to logits (B, k), under the masks of `seed`."""
    if seed is not None:
        torch.manual_seed(seed)
    on = seed is not None
    pooled = _pooled(w, net, batch, x, on).reshape(batch.views, len(batch.ids), -1)
    keep = _dropped(torch.ones_like(pooled[0]), net.head_dropout, on)
    u, v = pooled[0] * keep, pooled[-1] * keep
    dot, lengths = (u * v).sum(-1, keepdim=True), (u.norm(dim=-1) * v.norm(dim=-1))[:, None]
    if net.form == "bi" and net.task == "sts":
        return 5 * dot / lengths
    if net.form == "bi" and net.task == "para":
        return _linear(torch.cat([u, v, (u - v).abs()], -1), w, "heads.para.output")
    features = u
    if net.task != "sst" and "relational" in net.form:
        if batch.views == 2:
            features = torch.cat([u, v, (u - v).abs(), u * v / (lengths + 1e-8)], -1)
        features = _linear(features, w, "relational.dense")
        features = torch.where(features > 0, features, 0.01 * features)
    return _linear(features, w, f"heads.{net.task}.output")


def divergence(task: str, s: Tensor, t: Tensor) -> Tensor:
    """l_s: KL(p‖q) + KL(q‖p), a logit standing for (1 - σ, σ); the squared error for sts."""
    if task == "sts":
        return ((s - t) ** 2).sum() / len(s)
    if task == "para":
        s, t = (torch.cat([torch.zeros_like(logit), logit], -1) for logit in (s, t))
    p, q = torch.softmax(s, -1), torch.softmax(t, -1)
    return (p * torch.log(p / q) + q * torch.log(q / p)).sum() / len(s)


def embedded(w: Weights, batch: Batch) -> Tensor:
    """x, the word embeddings (N, T, H)."""
    assert batch.tokens is not None
    return w["encoder.word_embeddings.weight"][batch.tokens.input_ids]


def ascended(
    w: Weights,
    net: Net,
    batch: Batch,
    noise: Tensor,
    masks: Sequence[int | None],
    *,
    epsilon: float,
    eta: float,
) -> Tensor:
    """x̃ - x. `masks[0]` is the clean branch's, the others those of the ascent's steps."""
    assert batch.tokens is not None
    fixed = {name: weight.detach() for name, weight in w.items()}
    x, real = embedded(fixed, batch), batch.tokens.attention_mask
    clean = logits(fixed, net, batch, x, masks[0])
    delta = noise.clamp(-epsilon, epsilon) * real[:, :, None]
    size = len(batch.ids)
    for seed in masks[1:]:
        delta = delta.clone().requires_grad_()
        apart = divergence(net.task, logits(fixed, net, batch, x + delta, seed), clean)
        (slope,) = torch.autograd.grad(apart, delta)
        delta = delta.detach().clone()
        for example in range(size):
            texts = [example + view * size for view in range(batch.views)]
            largest = max(float(slope[text].abs().max()) for text in texts)
            for text in texts:
                if largest > 0:
                    delta[text] += eta * slope[text] / largest
                delta[text] = delta[text].clamp(-epsilon, epsilon) * real[text][:, None]
    return delta


def adversarial(
    w: Weights,
    net: Net,
    batch: Batch,
    noise: Tensor,
    masks: Sequence[int | None],
    *,
    epsilon: float,
    eta: float,
) -> Tensor:
    """R_s. `masks` of the clean branch, of each step of the ascent, of the perturbed branch."""
    delta = ascended(w, net, batch, noise, masks[:-1], epsilon=epsilon, eta=eta)
    x = embedded(w, batch)
    clean = logits(w, net, batch, x, masks[0])
    return divergence(net.task, logits(w, net, batch, x + delta, masks[-1]), clean)


def bregman(
    w: Weights, teacher: Weights, net: Net, batch: Batch, masks: Sequence[int | None]
) -> Tensor:
    """l_s(f(x; θ), f(x; θ̃)). `masks` of the student and of the teacher."""
    student = logits(w, net, batch, embedded(w, batch), masks[0])
    still = {name: weight.detach() for name, weight in teacher.items()}
    return divergence(
        net.task, student, logits(still, net, batch, embedded(still, batch), masks[1])
    )


def moved(teacher: Weights, w: Weights, beta: float) -> Weights:
    """θ̃ ← (1 - β) θ + β θ̃."""
    return {name: (1 - beta) * w[name].detach() + beta * old for name, old in teacher.items()}


def r3f(w: Weights, net: Net, batch: Batch, noise: Tensor, masks: Sequence[int | None]) -> Tensor:
    """l_s(f(x), f(x + z)), each branch under the masks of its own seed."""
    assert batch.tokens is not None
    x, z = embedded(w, batch), noise * batch.tokens.attention_mask[:, :, None]
    clean = logits(w, net, batch, x, masks[0])
    return divergence(net.task, logits(w, net, batch, x + z, masks[1]), clean)


def r3f_together(w: Weights, net: Net, batch: Batch, noise: Tensor, seed: int | None) -> Tensor:
    """The same with both branches in one pass of twice as many examples, under `seed`'s masks."""
    assert batch.tokens is not None
    x, z = embedded(w, batch), noise * batch.tokens.attention_mask[:, :, None]
    size, views = len(batch.ids), batch.views
    rows = [part[v * size : (v + 1) * size] for v in range(views) for part in (x, x + z)]
    both = logits(w, net, batch.repeated(2), torch.cat(rows), seed)
    return divergence(net.task, both[size:], both[:size])


def loss(task: str, s: Tensor, labels: Tensor) -> Tensor:
    """The task's own loss: cross-entropy, logistic, or squared error."""
    if task == "sts":
        return ((s[:, 0] - labels) ** 2).sum() / len(s)
    if task == "para":
        s = torch.cat([torch.zeros_like(s), s], -1)
    chosen = torch.log(torch.softmax(s, -1))[torch.arange(len(s)), labels.long()]
    return -chosen.sum() / len(s)


def freelb(
    w: Weights,
    net: Net,
    batch: Batch,
    noise: Tensor,
    seed: int,
    *,
    steps: int,
    step_size: float,
    init: float,
    radius: float,
) -> tuple[Tensor, list[Tensor]]:
    """(1/K) Σ l(f(x + δ_t), y) and δ_0, ..., δ_{K-1}. `noise` is U(-1, 1), (N, T, H)."""
    assert batch.tokens is not None
    real, size = batch.tokens.attention_mask, len(batch.ids)
    delta, total, deltas = torch.zeros_like(noise), torch.zeros((), dtype=noise.dtype), []
    texts_of = [[e + view * size for view in range(batch.views)] for e in range(size)]
    for texts in texts_of:
        tokens = sum(int(real[text].sum()) for text in texts)
        for text in texts:
            delta[text] = (
                noise[text] * real[text][:, None] * init / math.sqrt(tokens * noise.shape[-1])
            )
    for _ in range(steps):
        deltas.append(delta)
        delta = delta.clone().requires_grad_()
        value = loss(
            net.task, logits(w, net, batch, embedded(w, batch) + delta, seed), batch.labels
        )
        total = total + value / steps
        (slope,) = torch.autograd.grad(value, delta, retain_graph=True)
        delta = delta.detach().clone()
        for texts in texts_of:
            own = torch.stack([slope[text] * real[text][:, None] for text in texts])
            if float(own.norm()) > 0:
                for text, direction in zip(texts, own / own.norm(), strict=True):
                    delta[text] += step_size * direction
            reached = torch.stack([delta[text] for text in texts]).norm()
            if float(reached) > radius:
                for text in texts:
                    delta[text] *= radius / reached
    return total, deltas


# ------------------------------------------------------- what public implementations do instead


def _kl(target: Tensor, s: Tensor) -> Tensor:
    """KL(softmax(target) ‖ softmax(s)), summed over the rows."""
    q, p = torch.softmax(target, -1), torch.softmax(s, -1)
    return (q * torch.log(q / p)).sum()


def climbed(name: str, task: str, s: Tensor, t: Tensor) -> Tensor:
    """What the ascent climbs: mt-dnn's stable_kl or squared errors; smart-pytorch's kl_loss."""
    if name == "smart-pytorch":
        return _kl(t, s) / len(s)
    if task == "sts":
        return ((s - t) ** 2).sum()
    p, q = torch.softmax(s, -1), torch.softmax(t, -1)
    with torch.no_grad():
        apart = torch.log(1 / (q + 1e-6) - 1 + 1e-6) - torch.log(1 / (p + 1e-6) - 1 + 1e-6)
    return 2 * (p * apart).sum()


def penalty(name: str, task: str, s: Tensor, t: Tensor) -> Tensor:
    """mt-dnn's SymKlCriterion, a mean, or MseCriterion; smart-pytorch's sym_kl_loss, a sum."""
    if name == "mtdnn" and task == "sts":
        pairs = [(first - second) ** 2 for first in s[:, 0] for second in t[:, 0]]
        return torch.stack(pairs).mean()
    both = _kl(t.detach(), s) + _kl(s.detach(), t)
    return both / len(s) if name == "mtdnn" else both


def published_adversarial(
    name: str,
    w: Weights,
    net: Net,
    batch: Batch,
    noise: Tensor,
    masks: Sequence[int | None],
    *,
    entry: int | None,
    eta: float,
) -> Tensor:
    """The term as mtdnn or smart-pytorch have it. `masks` as in `adversarial`, without a clean
    branch of its own; `entry` are those of the embedding layer that mt-dnn runs once more.
    """

    def x(weights: Weights) -> Tensor:
        words = embedded(weights, batch)
        if name == "smart-pytorch":
            return words
        if entry is not None:
            torch.manual_seed(entry)
        return _embedding_output(weights, net, batch, words, entry is not None)

    fixed, delta = {key: weight.detach() for key, weight in w.items()}, noise
    target = logits(fixed, net, batch, embedded(fixed, batch), masks[0])
    for seed in masks[1:-1]:
        delta = delta.detach().clone().requires_grad_()
        other = logits(fixed, net, batch, x(fixed) + delta, seed)
        (slope,) = torch.autograd.grad(climbed(name, net.task, other, target), delta)
        delta = delta.detach() + eta * slope
        for row in delta:
            for token in row:
                token /= float(token.abs().max()) + 1e-6
    clean = logits(w, net, batch, embedded(w, batch), masks[0])
    return penalty(name, net.task, logits(w, net, batch, x(w) + delta, masks[-1]), clean)


def published_r3f(w: Weights, net: Net, batch: Batch, noise: Tensor, seed: int | None) -> Tensor:
    """fairseq's term, both branches in one pass: softmaxes for all tasks, noise on a constant x."""
    x, size, views = embedded(w, batch), len(batch.ids), batch.views
    rows = [
        part[v * size : (v + 1) * size] for v in range(views) for part in (x, x.detach() + noise)
    ]
    both = logits(w, net, batch.repeated(2), torch.cat(rows), seed)
    return (_kl(both[:size], both[size:]) + _kl(both[size:], both[:size])) / size
