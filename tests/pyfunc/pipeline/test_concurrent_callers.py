"""Callers in several threads get the answers that each would get alone."""

import json
from concurrent.futures import ThreadPoolExecutor

from pyfunc.pipeline import InferencePipeline
from tests.pyfunc.pipeline.documents import answer
from tests.support.references import TEXTS

CALLERS = 16


def test_answers_do_not_depend_on_what_others_ask(cold: InferencePipeline) -> None:
    texts = [f"{text} {number}" for number in range(CALLERS) for text in TEXTS]
    alone = cold.predict(texts, use_cache=False, batch_tokens=64)
    sizes: list[int] = []
    cold.watch_batches(sizes.append)

    def ask(caller: int) -> list[str]:
        own = texts[caller::CALLERS]
        return cold.predict(own, use_cache=False, batch_tokens=64 + caller)

    with ThreadPoolExecutor(CALLERS) as threads:
        found = list(threads.map(ask, range(CALLERS)))
    assert sum(sizes) == len(texts)
    assert cold.waiting == 0
    for caller, documents in enumerate(found):
        expected = map(json.loads, alone[caller::CALLERS])
        assert [answer(json.loads(one)) for one in documents] == [*map(answer, expected)]
