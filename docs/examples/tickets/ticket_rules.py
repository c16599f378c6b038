"""Rules of support tickets: who is not read by a model, and what becomes of the others."""

import pandas as pd


def before(rows: pd.DataFrame) -> pd.Series:
    """Return why a ticket is not to be scored; an empty text if it is."""
    opted_out = rows["customer.opted_out"].fillna(False)
    return opted_out.map({True: "the customer opted out", False: ""})


def after(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the queue of each ticket, and whether a person looks at it first."""
    is_negative = rows["prediction_label"] == "negative"
    is_gold = rows["customer.tier"] == "gold"
    queue = pd.Series("standard", index=rows.index)
    queue[is_negative & is_gold] = "urgent"
    return pd.DataFrame({"queue": queue, "by_hand": rows["prediction_score"] < 0.6})


def deliver(rows: pd.DataFrame) -> pd.Series:
    """Return which tickets the help desk gets: those that complain."""
    return rows["prediction_label"] == "negative"
