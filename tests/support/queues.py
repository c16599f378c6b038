"""Support tickets of two queues, for tests that train nothing."""

from pathlib import Path


def write_two_queues(path: Path) -> None:
    """Write forty support tickets, of two queues."""
    queues = ("billing", "login")
    rows = [f'{n},"please help me with problem {n}",{queues[n % 2]}' for n in range(40)]
    path.write_text("\n".join(["id,body,queue", *rows]) + "\n", encoding="utf-8")
