"""A run that fails for several reasons says each in its one line."""

from collections.abc import Callable

import pytest

from tasks.common.errors import (
    DeliveryError,
    MillstreamError,
    ProofError,
    ShardsFailedError,
    StoppedError,
    TransientDeliveryError,
)
from tasks.scoring.success import raise_together


def raising(error: MillstreamError) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


def test_all_reasons_are_told_with_the_exit_code_of_the_first() -> None:
    with pytest.raises(ShardsFailedError) as caught:
        raise_together(
            raising(ShardsFailedError("1 of 2 shards failed")),
            lambda: None,
            raising(DeliveryError("crm.predictions: 2 of 2 shards were not delivered")),
            raising(TransientDeliveryError("crm.predictions: no connection")),
            raising(ProofError("a row is missing")),
        )
    assert str(caught.value) == (
        "1 of 2 shards failed; crm.predictions: 2 of 2 shards were not delivered; a row is missing"
    )


def test_one_reason_stays_as_it_is_and_none_is_no_failure() -> None:
    raise_together(lambda: None)
    error = DeliveryError("crm.predictions: no connection")
    with pytest.raises(DeliveryError) as caught:
        raise_together(lambda: None, raising(error))
    assert caught.value is error


def test_a_run_that_is_cancelled_says_that_alone() -> None:
    with pytest.raises(StoppedError):
        raise_together(raising(ProofError("a row is missing")), raising(StoppedError("stopped")))
