"""Print how many tickets are in each queue: python show_queues.py crm.db."""

import sqlite3
import sys
from contextlib import closing

from rich.console import Console
from rich.table import Table


def main(path: str) -> None:
    """Print the rows of the table `decisions` by queue and tier."""
    query = """
        select decision_queue, coalesce(lookup_customer_tier, 'unknown'), count(*)
        from decisions group by 1, 2 order by 1 desc, 2
    """
    table = Table("queue", "tier of the customer", "tickets", title="Table decisions")
    with closing(sqlite3.connect(path)) as connection:
        for row in connection.execute(query):
            table.add_row(*map(str, row))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1])
