"""Make a database of SQLite with 40 customers: python make_customers.py crm.db."""

import sqlite3
import sys
from contextlib import closing


def main(path: str) -> None:
    """Write the table `customer`; every fourth is gold, every tenth opted out."""
    rows = [(n, "basic" if n % 4 else "gold", n % 10 == 0) for n in range(1, 41)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("drop table if exists customer")
        columns = "id integer primary key, tier text, opted_out boolean"
        connection.execute(f"create table customer ({columns})")
        connection.executemany("insert into customer values (?, ?, ?)", rows)


if __name__ == "__main__":
    main(sys.argv[1])
