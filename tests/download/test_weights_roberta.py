"""RoBERTa's checkpoints, as they are published: two files of tokens, with or without a third."""

from __future__ import annotations

from pathlib import Path

import pytest

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.download.encoders import fetch_weights
from minbert.encoder import hub
from minbert.encoder.bert import BertModel
from minbert.encoder.hub import parse
from minbert.support.errors import InputError
from tests.data.other_tokenizers import save_other_encoder
from tests.download.faulty_server import Server, publish
from tests.download.one_file import SOON
from tests.download.our_hub import NAME, TENSORS, fetched


@pytest.fixture
def checkpoint(tmp_path: Path) -> dict[str, bytes]:
    folder = save_other_encoder(tmp_path / "roberta", "roberta")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_fetched_and_read(server: Server, checkpoint: dict[str, bytes]) -> None:
    publish(server, NAME, checkpoint)
    fetch_weights(parse(NAME), SOON)
    assert fetched(server) == ["config.json", "vocab.json", "merges.txt", TENSORS]
    folder = hub.cached(parse(NAME))
    assert folder is not None
    model = BertModel.from_pretrained(folder)
    tokenizer = WordPieceTokenizer.from_folder(folder, 16, model.config.vocab_size)
    assert model.config.model_type == "roberta" and len(tokenizer.encode([("a", "b")]).ids) == 6


def test_one_of_the_two_files_is_not_enough(server: Server, checkpoint: dict[str, bytes]) -> None:
    del checkpoint["merges.txt"]
    publish(server, NAME, checkpoint)
    with pytest.raises(InputError, match=r"lacks merges\.txt"):
        fetch_weights(parse(NAME), SOON)
    assert fetched(server) == []
