"""Spectral normalisation (Miyato et al. 2018): a weight matrix over its largest singular value.

A chain of matrices of norm 1 with LeakyReLU between them moves its outputs no further than its
inputs move: a Lipschitz bound of 1. R4F (Aghajanyan et al. 2021, section 2) asks it of the head.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from minbert.support.randomness import derive_seed, generator

_VECTORS = 16  # directions that are followed at once
_SQUARINGS = 20  # so that the power is a million
_FIRST, _EACH = 50, 5  # power iterations at the start, and after every optimizer step


class SpectralNorm(nn.Module):
    """W ↦ W / σ with σ = uᵀ W v, where u and v are kept near W's first singular vectors.

    u and v are constants of a pass, so all passes of a step see the same matrix; the gradient
    flows through σ, whose derivative is u vᵀ. They follow W after each step (`refresh`).

    The power iteration is that of a subspace (Golub & Van Loan 2013, section 8.2.4): alone, a
    vector takes hundreds of iterations to tell apart the first singular values of a wide random
    matrix, which lie within a percent, and stays with the old one where another overtakes it.
    """

    u: Tensor
    v: Tensor
    subspace: Tensor

    def __init__(self, weight: Tensor) -> None:
        """`weight` (k, n) is the matrix that will be normalised."""
        super().__init__()
        rows, columns = weight.shape
        count = min(_VECTORS, rows, columns)
        # random, so as to be orthogonal to no direction, and the same in every run
        start = torch.randn(columns, count, generator=generator(derive_seed(0, "subspace")))
        self.register_buffer("subspace", _orthonormal(start.to(weight)))
        self.register_buffer("u", weight.new_zeros(rows))
        self.register_buffer("v", weight.new_zeros(columns))
        self.follow(weight, _FIRST)

    def forward(self, weight: Tensor) -> Tensor:
        """(k, n) to (k, n)."""
        # a sum of products, not a matrix product: autocast would compute that in bf16
        sigma = (weight * torch.outer(self.u, self.v)).sum()
        return weight / sigma

    @torch.no_grad()
    def follow(self, weight: Tensor, iterations: int) -> None:
        """Power iterations: V ← orth(Wᵀ W V); then v, the vector of V's span that maximises ‖Wv‖.

        And u ← Wv / ‖Wv‖. All move in place, since recorded passes read them where they are.
        """
        for _ in range(iterations):
            self.subspace.copy_(_orthonormal(weight.T @ (weight @ self.subspace)))
        images = weight @ self.subspace
        axis = _first_axis(images.T @ images)
        self.v.copy_(nn.functional.normalize(self.subspace @ axis, dim=0, eps=1e-12))
        self.u.copy_(nn.functional.normalize(weight @ self.v, dim=0, eps=1e-12))


def _orthonormal(vectors: Tensor) -> Tensor:
    """The Q of a QR decomposition; not every device has one."""
    able = vectors.device.type in ("cpu", "cuda")
    return torch.linalg.qr(vectors if able else vectors.cpu()).Q.to(vectors)


def _first_axis(gram: Tensor) -> Tensor:
    """The eigenvector of the largest eigenvalue of a small positive matrix (c, c), as (c,).

    Every column of its powers leans to it. `torch.linalg.eigh` would make the host wait for a GPU.
    """
    for _ in range(_SQUARINGS):
        gram = gram / torch.linalg.matrix_norm(gram).clamp(min=1e-30)
        gram = gram @ gram
    longest = torch.linalg.vector_norm(gram, dim=0).argmax()
    column = gram.index_select(1, longest[None])[:, 0]
    return nn.functional.normalize(column, dim=0, eps=1e-30)


def normalize(modules: Iterable[nn.Module]) -> None:
    """Normalise the weight of every Linear in these modules."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def refresh(model: nn.Module) -> None:
    """Let the singular vectors follow the weights, which an update has moved."""
    for module in model.modules():
        if isinstance(module, parametrize.ParametrizationList):
            for own in module:
                if isinstance(own, SpectralNorm):
                    own.follow(module.original, _EACH)


def lipschitz_bound(modules: Iterable[nn.Module]) -> float:
    """The product of the largest singular values of every Linear in a chain of modules."""
    bound = 1.0
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                bound *= float(torch.linalg.matrix_norm(layer.weight.detach().double(), ord=2))
    return bound
