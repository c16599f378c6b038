"""Who claims a text first owns it until it is settled or given up."""

from collections.abc import Iterator

import pytest

from pyfunc.cache.single_flight import Claims, InFlight


def test_the_first_to_claim_owns_and_the_second_gets_its_value() -> None:
    in_flight: InFlight[str] = InFlight()
    with in_flight.claim(["a", "b"]) as first, in_flight.claim(["b", "c"]) as second:
        assert (first.owned, second.owned) == (["a", "b"], ["c"])
        second.resolve({"c": "see"})
        first.resolve({"b": "bee"})
        assert second.wait() == {"b": "bee"}


def test_what_is_not_settled_is_given_up_at_the_end_of_the_block() -> None:
    in_flight: InFlight[str] = InFlight()
    with in_flight.claim(["a", "b"]) as first, in_flight.claim(["a", "b"]) as second:
        first.resolve({"a": "ay"})
    assert second.wait() == {"a": "ay"}
    with in_flight.claim(["a", "b"]) as third:
        assert third.owned == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_any_kind_gives_up_the_claims(error: type[BaseException]) -> None:
    in_flight: InFlight[str] = InFlight()
    waiting: list[Claims[str]] = []

    def fail() -> None:
        with in_flight.claim(["a"]), in_flight.claim(["a"]) as second:
            waiting.append(second)
            raise error

    with pytest.raises(error):
        fail()
    assert waiting[0].wait() == {}
    assert in_flight._claimed == {}


def test_an_error_of_the_texts_themselves_gives_up_what_was_claimed_until_then() -> None:
    def interrupted() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    in_flight: InFlight[str] = InFlight()
    with pytest.raises(KeyboardInterrupt), in_flight.claim(interrupted()):
        pass
    assert in_flight._claimed == {}


def test_the_end_of_a_block_leaves_what_another_has_claimed_since() -> None:
    in_flight: InFlight[str] = InFlight()
    with in_flight.claim(["a"]) as first:
        first.resolve({"a": "ay"})
        with in_flight.claim(["a"]) as second:
            assert second.owned == ["a"]
            first.abandon()
            assert in_flight._claimed.keys() == {"a"}
