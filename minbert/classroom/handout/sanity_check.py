"""The whole encoder on three sentences: python sanity_check.py (README.md says when).

It compares what your encoder makes of them with recorded vectors, made with the weights of
data/minbert-mini.
"""

import sys
from pathlib import Path

import torch

from minbert.classroom.judge import Tensors
from minbert.classroom.recorded import load
from minbert.data.batches import pad
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.support.places import BUNDLED_ENCODER

NAME = "sanity check"
SENTENCES = (
    "This is a sanity check.",
    "A film that nobody who was in the room will ever forget , or forgive .",
    "No.",
)
ATOL, RTOL = 1e-5, 1e-3


def outputs(attention: str = "fused") -> Tensors:
    """The encoder's outputs for the sentences: last_hidden_state (B, T, H), pooler_output (B, H).

    Rows of padding, which mean nothing, are 0.
    """
    encoder = BertModel.from_pretrained(BUNDLED_ENCODER, attention)
    texts = WordPieceTokenizer.from_folder(BUNDLED_ENCODER, 64).encode((s,) for s in SENTENCES)
    numbers = torch.arange(len(SENTENCES)).numpy()
    tokens = pad(texts, numbers, 0, torch.device("cpu"))
    with torch.no_grad():
        found = encoder(tokens.input_ids, tokens.attention_mask)
    return {
        **found,
        "last_hidden_state": found["last_hidden_state"] * tokens.attention_mask[..., None],
    }


def differences(found: Tensors, expected: Tensors) -> list[str]:
    """A line for each output that is not near enough."""
    return [
        f"{name}: differs by {float((found[name] - right).abs().max()):.2g} at most"
        for name, right in expected.items()
        if not torch.allclose(found[name], right, atol=ATOL, rtol=RTOL)
    ]


def main(folder: Path) -> int:
    """Compare with what was recorded in `folder`; returns the exit code."""
    expected = load(folder / "sanity_check.safetensors")[NAME].expected
    wrong = differences(outputs(), expected)
    sys.stdout.write("\n".join(wrong) + "\n" if wrong else "Your encoder is right.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent / "tests" / "recorded"))
