"""Throughput of peers, engines and registered pipelines on the same texts, in turns."""

import logging
from collections.abc import Callable, Sequence

from tqdm import tqdm
from transformers import AutoConfig

from benchmarks.engines import Engines, engine_alone, registered
from benchmarks.flops import Shape, total
from benchmarks.measured import Race
from benchmarks.peers import ORDERED_F32, Peer, open_peers
from benchmarks.plan import MAX_TOKENS, Kind
from benchmarks.prepare import Prepared
from benchmarks.texts import token_counts
from benchmarks.timing import timed

logger = logging.getLogger(__name__)

_WARM_UP_ROWS = 16


def race(
    kind: Kind,
    texts: list[str],
    prepared: Prepared,
    engines: Engines,
    *,
    rounds: int,
    between: Callable[[], None],
) -> Race:
    """Time all peers on the same texts, in turns.

    Args:
        kind: The kind of the texts.
        texts: The texts.
        prepared: The registered models.
        engines: Ours.
        rounds: Turns of each peer.
        between: Called before each turn; samples the machine's peak.
    """
    peers, skipped = _open_competitors(kind, prepared, engines)
    seconds, labels = run_rounds(peers, texts, rounds=rounds, between=between)
    classifier = prepared.member / "classifier"
    lengths = token_counts(texts, classifier, MAX_TOKENS[kind])
    model_flops, executed_flops = total(Shape.of(AutoConfig.from_pretrained(classifier)), lengths)
    return Race(
        kind=kind,
        max_tokens=MAX_TOKENS[kind],
        rows=len(texts),
        tokens=sum(lengths),
        model_flops=model_flops,
        executed_flops=executed_flops,
        families={peer.name: peer.family for peer in peers},
        main=prepared.main,
        main_pyfunc=prepared.name_of("auto"),
        rounds=tuple(seconds),
        labels_differing={
            name: differing(found, labels[ORDERED_F32]) for name, found in labels.items()
        },
        skipped=skipped,
    )


def run_rounds(
    peers: Sequence[Peer], texts: list[str], *, rounds: int, between: Callable[[], None]
) -> tuple[list[dict[str, float]], dict[str, list[str]]]:
    """Time peers in turns.

    Every other round is in reverse order, so that no peer always runs after the same one.

    Returns:
        Seconds by name for each round, and each peer's labels of the last one.
    """
    results: list[dict[str, float]] = []
    labels: dict[str, list[str]] = {}
    for peer in peers:
        (peer.warm_up or peer.run)(texts[:_WARM_UP_ROWS])
    with tqdm(total=rounds * len(peers), unit="turns", disable=None) as bar:
        for number in range(rounds):
            seconds = {}
            for peer in peers if number % 2 == 0 else reversed(peers):
                bar.set_description(peer.name)
                peer.prepare()
                between()
                answer, seconds[peer.name] = timed(lambda peer=peer: peer.run(texts))  # type: ignore[misc]
                labels[peer.name] = peer.labels(answer)
                bar.update()
            results.append({peer.name: seconds[peer.name] for peer in peers})
    return results, labels


def differing(labels: Sequence[str], reference: Sequence[str]) -> int:
    """Return how many labels differ from the reference."""
    return sum(label != other for label, other in zip(labels, reference, strict=True))


def _open_competitors(
    kind: Kind, prepared: Prepared, engines: Engines
) -> tuple[list[Peer], dict[str, str]]:
    max_tokens, scratch = MAX_TOKENS[kind], prepared.scratch / kind
    peers = list(open_peers(prepared.member / "classifier", max_tokens, prepared.device, scratch))
    peers += [
        engine_alone(name, engine, prepared.member, max_tokens)
        for name, engine in engines.opened.items()
    ]
    peers += [
        registered(prepared.name_of(precision), uri, scratch / f"cache-{precision}")
        for precision, uri in prepared.pipelines_of(kind).items()
    ]
    return peers, dict(engines.skipped)
