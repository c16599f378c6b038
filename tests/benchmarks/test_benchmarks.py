"""What a benchmark counts and computes, its turns, and the texts and peers that it runs."""

import json
import random
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from benchmarks import texts
from benchmarks.child import run_module
from benchmarks.engines import answering, open_engines
from benchmarks.flops import Shape, total
from benchmarks.machine import describe
from benchmarks.peers import ORDERED_F32, Peer, open_peers
from benchmarks.plan import KINDS, QUICK, Plan
from benchmarks.race import differing, run_rounds
from benchmarks.serving.processes import served
from benchmarks.texts import mixed, sample, token_counts, write_files
from benchmarks.timing import median_of, median_speedup, percentile
from pyfunc.composition.tree import LANGUAGE, Node, Route
from tasks.building.packaging import signature_of
from tasks.common.settings import REPOSITORY
from tests.support.builders import build_artifact


def count(model: Any, work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        work()
    return int(counter.get_total_flops())


@pytest.fixture
def tiny_bert(tiny_classifier: Path) -> Any:
    # torch counts no operations of its fused attention on CPUs.
    return AutoModelForSequenceClassification.from_pretrained(
        tiny_classifier, attn_implementation="eager"
    ).eval()


@pytest.mark.parametrize("tokens", [1, 7, 32])
def test_operations_of_a_text_are_those_that_torch_counts(tiny_bert: Any, tokens: int) -> None:
    ids = torch.full((1, tokens), 5)
    counted = count(tiny_bert, lambda: tiny_bert(input_ids=ids))
    assert Shape.of(tiny_bert.config).model_flops(tokens) == counted


@pytest.mark.parametrize("tokens", [1, 7, 32])
def test_executed_operations_leave_out_the_last_layer_of_all_tokens_but_one(
    tiny_bert: Any, tokens: int
) -> None:
    every, last = tiny_bert.bert.encoder.layer[:-1], tiny_bert.bert.encoder.layer[-1]

    def first_token_alone() -> None:
        hidden = tiny_bert.bert.embeddings(input_ids=torch.full((1, tokens), 5))
        for layer in every:
            hidden = layer(hidden)
        first = hidden[:, :1]
        heads = (
            1,
            -1,
            tiny_bert.config.num_attention_heads,
            last.attention.self.attention_head_size,
        )
        query, key, value = (
            part.view(heads).transpose(1, 2)
            for part in (
                last.attention.self.query(first),
                last.attention.self.key(hidden),
                last.attention.self.value(hidden),
            )
        )
        context = ((query @ key.transpose(-1, -2)).softmax(dim=-1) @ value).flatten(start_dim=2)
        read = last.attention.output(context.reshape(first.shape), first)
        tiny_bert.classifier(tiny_bert.bert.pooler(last.output(last.intermediate(read), read)))

    counted = count(tiny_bert, first_token_alone)
    assert Shape.of(tiny_bert.config).executed_flops(tokens) == counted


def test_operations_are_counted_for_the_tokens_that_are_read(
    tiny_bert: Any, tiny_classifier: Path
) -> None:
    lengths = token_counts(["good", "good good good", "good " * 50], tiny_classifier, 8)
    assert lengths == [3, 5, 8]
    shape = Shape.of(tiny_bert.config)
    assert total(shape, lengths) == (
        sum(map(shape.model_flops, lengths)),
        sum(map(shape.executed_flops, lengths)),
    )


def test_percentiles_lie_between_the_nearest_two() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert percentile(values, 50) == 2.5
    assert percentile(values, 100) == 4.0
    assert percentile(list(range(101)), 99) == 99


def test_ratios_are_taken_within_rounds() -> None:
    # The machine is ten times slower in the second round: medians of seconds would say 1.9.
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 10.0, "b": 20.0}, {"a": 1.0, "b": 1.9}]
    assert median_speedup(rounds, "a", ["b"]) == 2.0


def test_the_best_of_several_others_counts_in_each_round() -> None:
    rounds = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 6.0, "c": 4.0}]
    assert median_speedup(rounds, "a", ["b", "c"]) == 3.0
    assert median_speedup(rounds, "a", ["missing", "c"]) == 3.5
    assert median_speedup(rounds, "missing", ["b"]) is None
    assert median_speedup(rounds, "a", []) is None


def test_median_leaves_out_what_was_not_measured() -> None:
    assert median_of([None, 1.0, 3.0]) == 2.0
    assert median_of([None]) is None


def test_all_peers_take_a_turn_in_each_round_and_neighbours_change() -> None:
    log: list[str] = []

    def peer(name: str) -> Peer:
        def run(texts: list[str]) -> list[str]:
            log.append(name)
            return texts

        return Peer(
            name,
            "torch",
            run=run,
            prepare=lambda: log.append(f"prepare {name}"),
            warm_up=lambda texts: log.append(f"warm up {name}"),
        )

    seconds, labels = run_rounds(
        [peer("a"), peer("b")], ["x", "y"], rounds=2, between=lambda: log.append("peak")
    )
    turns = [[f"prepare {name}", "peak", name] for name in "abba"]
    assert log == ["warm up a", "warm up b", *chain(*turns)]
    assert [list(turn) for turn in seconds] == [["a", "b"], ["a", "b"]]
    assert labels == {"a": ["x", "y"], "b": ["x", "y"]}


def test_labels_that_differ_are_counted() -> None:
    assert differing(["a", "b", "b"], ["a", "a", "a"]) == 2


def test_all_peers_answer_alike_and_in_order(tiny_classifier: Path, tmp_path: Path) -> None:
    words = (
        "a",
        "great",
        "awful",
        "film",
        "of",
        "two",
        "hours",
        "with",
        "no",
        "end",
        "in",
        "sight",
    )
    draw = random.Random(1)
    rows = [" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(40)]
    peers = list(open_peers(tiny_classifier, 16, "cpu", tmp_path))
    labels = {peer.name: peer.labels(peer.run(rows)) for peer in peers}
    assert len(labels) == 5
    assert len(set(labels[ORDERED_F32])) == 2, "expected texts of both labels"
    for name, found in labels.items():
        assert found == labels[ORDERED_F32], name


def test_engines_that_the_pipeline_lacks_are_skipped_with_a_reason(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "classifier").symlink_to(tiny_classifier)
    engines = open_engines(tmp_path, "cpu")
    assert "engine torch f32" in engines.opened
    assert engines.skipped["engine openvino f32"]
    assert not set(engines.opened) & set(engines.skipped)


def test_another_tree_answers_with_the_members_of_an_artifact(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    artifact = build_artifact(tmp_path / "artifact", tiny_classifier)
    rows = ["a great film", "das ist ein schlechter Film", "two hours with no end in sight"]
    trees: dict[str, Node] = {
        "alone": "model",
        "routed": Route(LANGUAGE, (("en", "model"),), "model"),
    }
    peers = [answering(name, artifact, tree, tmp_path / name) for name, tree in trees.items()]
    seconds, labels = run_rounds(peers, rows, rounds=2, between=lambda: None)
    assert labels["alone"] == labels["routed"]
    assert [set(turn) for turn in seconds] == [set(trees)] * 2
    assert "decided_by" not in peers[0].run(rows)[0]
    assert '"decided_by"' in peers[1].run(rows)[0]


def test_the_transformer_and_its_pupil_learn_from_the_same_data() -> None:
    for kind in KINDS:
        film, quick = Plan().training_of(kind), Plan().static_training_of(kind)
        own = {"sample_size", "min_steps", "base_model"}
        assert {k: v for k, v in film.items() if k not in own} == {
            k: v for k, v in quick.items() if k not in own
        }


def test_samples_are_the_same_ones_and_keep_the_mix(home: Path) -> None:
    few = sample("snippets", 5)
    texts._shuffled.cache_clear()
    assert sample("snippets", 9)[:5] == few
    snippets = set(sample("snippets", 8_530))
    for rows in (2_000, 33_530):
        share = sum(text in snippets for text in mixed(rows)) / rows
        assert share == pytest.approx(8_530 / 33_530, abs=0.02)


def test_files_hold_every_text_once(tmp_path: Path) -> None:
    rows = ["one", 'two "quoted"', "three\r\nlines", "NA", "five"]
    files = write_files(rows, tmp_path, 2)
    read = [pd.read_csv(file, keep_default_na=False, lineterminator="\n") for file in files]
    assert [len(table) for table in read] == [3, 2]
    assert sorted(pd.concat(read)["text"]) == sorted(rows)


def test_a_child_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_module("benchmarks.drive_engine", {"cores": 1}, tmp_path / "log")
    assert "KeyError" in (tmp_path / "log").read_text()


def test_a_machine_says_what_decides_its_speed() -> None:
    machine = describe()
    assert machine.cores >= 1
    assert machine.memory_gib > 0.5
    assert {"torch", "mlflow", "transformers"} <= set(machine.packages)
    assert (datetime.now(UTC) - machine.date).total_seconds() < 60


def test_the_quick_plan_is_a_small_one() -> None:
    whole = Plan()
    assert QUICK.rounds < whole.rounds
    assert sum(QUICK.race_rows) < sum(whole.race_rows)
    assert whole.rounds >= 3
    assert whole.growth_rows == (1_000, 10_000, 33_530)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks").rglob("*.py")), ids=str)
def test_modules_stay_short(path: Path) -> None:
    assert path.read_text().count("\n") <= 250


@pytest.mark.slow
def test_a_model_that_does_nothing_is_served_and_its_server_ended(
    home: Path, tmp_path: Path
) -> None:
    mlflow.pyfunc.save_model(
        str(tmp_path / "nothing"),
        python_model=str(REPOSITORY / "benchmarks" / "nothing_model.py"),
        signature=signature_of(None),
        input_example=pd.DataFrame({"text": ["a text"]}),
        pip_requirements=[],
    )
    with served(str(tmp_path / "nothing"), tmp_path / "served") as ask:
        ask("a text")
        log = (tmp_path / "served" / "log").read_text()
    address = json.dumps(log).split("http://")[1].split()[0].rstrip('\\n"')
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{address}/ping")
