"""Members with one tokenizer share its tokens, and each has exactly those of its own."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pyfunc.classifier import Classifier
from pyfunc.composition.composition import Composition
from pyfunc.composition.members import Member
from pyfunc.composition.shared_tokens import Cut, Source, find_cut, find_sources
from pyfunc.composition.tree import Average, Cascade, Node
from pyfunc.tokens import Encoder, Tokens
from tests.support.families import VOCABULARY, word_tokenizer, xlnet_tokenizer
from tests.support.references import TEXTS

SHORT, LONG = (4, 5, 9), 24
SIDES = ("left", "right")

Encoders = Callable[[str, str, int], Encoder]
Cuts = Callable[[str, str, int], Cut | None]


def bytes_of_roberta() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with RoBERTa's special tokens, and no merges."""
    names = ["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({name: row for row, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def twice() -> PreTrainedTokenizerFast:
    """Return a tokenizer that reads a text twice, so that a cut gives other tokens."""
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<cls> $A </s> $A", special_tokens=[(n, VOCABULARY[n]) for n in ("<cls>", "</s>")]
    )
    return tokenizer


def in_segments() -> PreTrainedTokenizerFast:
    """Return a tokenizer whose texts are in a segment of their own."""
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<cls>:0 $A:1", special_tokens=[("<cls>", VOCABULARY["<cls>"])]
    )
    return tokenizer


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "plain": word_tokenizer,
    "roberta": bytes_of_roberta,
    "segments": in_segments,
    "xlnet": xlnet_tokenizer,
}


@pytest.fixture(scope="module")
def encoders(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    """The encoder of a kind of tokenizer, a side and a length."""

    @cache
    def folder_of(kind: str, side: str) -> Path:
        folder = tmp_path_factory.mktemp(f"{kind}-{side}")
        tokenizer = (
            AutoTokenizer.from_pretrained(tiny_classifier, local_files_only=True)
            if kind == "bert"
            else (KINDS | {"twice": twice})[kind]()
        )
        tokenizer.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({"vocab_size": len(tokenizer)}))
        config = folder / "tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": side}))
        return folder

    @cache
    def encoder(kind: str, side: str, max_tokens: int) -> Encoder:
        return Encoder(folder_of(kind, side), max_tokens=max_tokens)

    return encoder


def as_lists(rows: Sequence[Tokens]) -> list[object]:
    return [
        (row.ids.tolist(), None if row.types is None else row.types.tolist(), row.truncated)
        for row in rows
    ]


_words = st.sampled_from(["good", "unevenness", "很", "!", "7", "[SEP]", "[CLS]", "</s>", "<cls>"])


@pytest.fixture(scope="module")
def cuts(encoders: Encoders) -> Cuts:
    """What makes the tokens of a length from those of `LONG`."""
    return cache(
        lambda kind, side, n: find_cut(encoders(kind, side, n), encoders(kind, side, LONG))
    )


@settings(max_examples=40)
@given(st.lists(st.lists(_words | st.text(max_size=3), max_size=LONG + 9), max_size=3))
@pytest.mark.parametrize("kind", ["bert", *KINDS])
def test_a_cut_gives_the_tokens_of_the_shorter_encoder(
    encoders: Encoders, cuts: Cuts, kind: str, texts: list[list[str]]
) -> None:
    rows = [" ".join(words) for words in texts]
    for side in SIDES:
        longer = encoders(kind, side, LONG).encode(rows)
        for length in SHORT:
            cut = cuts(kind, side, length)
            assert cut is not None
            found = [cut.apply(row) for row in longer]
            assert as_lists(found) == as_lists(encoders(kind, side, length).encode(rows))


@pytest.mark.parametrize("side", SIDES)
def test_a_tokenizer_whose_tokens_a_cut_would_change_has_no_cut(
    encoders: Encoders, side: str
) -> None:
    longer = encoders("twice", side, LONG)
    assert [find_cut(encoders("twice", side, length), longer) for length in SHORT] == [None] * 3


def test_the_digest_is_that_of_the_tokenizer_and_its_side_whatever_the_length(
    encoders: Encoders, tiny_classifier: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_classifier, local_files_only=True)
    tokenizer(["a film"], truncation=True, padding=True, max_length=7)  # as a training does
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": len(tokenizer)}))
    kinds = [*KINDS, "bert", "twice"]
    assert Encoder(tmp_path, max_tokens=9).digest == encoders("bert", "right", LONG).digest
    digests = {encoders(kind, side, LONG).digest for kind in kinds for side in SIDES}
    assert len(digests) == 2 * len(kinds)


class Counting(Classifier):
    """Counts how often each text is tokenised."""

    counts: Counter[str]

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        self.counts.update(texts)
        return super().encode(texts)


@pytest.fixture
def counting(folders: Mapping[str, Path], members: Mapping[str, Member]) -> dict[str, Member]:
    """Members with one tokenizer that truncate texts at different lengths."""
    counts: Counter[str] = Counter()
    found = {}
    for name, max_tokens in (("one", 8), ("two", 16), ("three", 8)):
        classifier = Counting(folders[name], members[name].classifier.engine, max_tokens=max_tokens)
        classifier.counts = counts
        found[name] = Member(classifier, name)
    return found


@pytest.mark.parametrize(
    "tree", [Average(("one", "two"), (1.0, 1.0)), Cascade(("one", "two", "three"), 1.0)]
)
def test_members_with_one_tokenizer_tokenise_a_text_once(
    counting: Mapping[str, Member], tree: Node
) -> None:
    composition = Composition(tree, counting, "models:/m-1")
    texts = list(dict.fromkeys(TEXTS))
    evaluation = composition.evaluation(texts, batch_tokens=64, all_scores=True)
    rows = range(len(texts))
    decided = {row: found for part in evaluation.decide(rows) for row, found in part.items()}
    assert len(decided) == len(texts)
    classifier = counting["one"].classifier
    assert isinstance(classifier, Counting)
    assert classifier.counts == dict.fromkeys(texts, 1)


def test_a_member_whose_tokens_cannot_be_cut_reads_alone(
    encoders: Encoders, members: Mapping[str, Member], folders: Mapping[str, Path]
) -> None:
    found = []
    for length in (LONG, 9, 9):
        classifier = Classifier(folders["one"], members["one"].classifier.engine, max_tokens=length)
        classifier.encoder = encoders("twice", "right", length)
        found.append(classifier)
    longest, first, second = found
    assert find_sources(found) == {
        longest: Source(longest),
        first: Source(first),
        second: Source(first),
    }
