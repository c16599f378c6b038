import pyarrow as pa
import pytest

from tasks.common.arrow import python_values


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (pa.time64("ns"), ["00:00:01.000001001", "00:00:01.000001002", "00:00:01.000001"]),
        (
            pa.timestamp("ns"),
            [f"1970-01-01 00:00:01.000001{end}" for end in ("001", "002", "")],
        ),
        (pa.duration("ns"), [f"0 days 00:00:01.000001{end}" for end in ("001", "002", "")]),
    ],
    ids=str,
)
def test_values_that_differ_in_nanoseconds_stay_different(
    kind: pa.DataType, texts: list[str]
) -> None:
    values = pa.array([1_000_001_001, 1_000_001_002, 1_000_001_000], pa.int64()).view(kind)
    found = python_values(values)
    assert [str(value) for value in found] == texts
    assert len(set(found)) == 3
    assert [str(value) for value in python_values(values.dictionary_encode())] == texts


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, pa.timestamp("us", "Nowhere/None")),
        (10**12, pa.timestamp("s")),
        (-1, pa.time64("ns")),
        (86_400 * 10**9, pa.time64("ns")),
    ],
    ids=str,
)
def test_value_that_python_cannot_hold_is_its_type(value: int, kind: pa.DataType) -> None:
    assert python_values(pa.array([value, None], pa.int64()).view(kind)) == [kind, None]
