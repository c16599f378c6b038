"""Rules are plain functions of data frames: pytest tests them, without a model or a database."""

import pandas as pd
import ticket_rules

TICKETS = pd.DataFrame(
    {
        "text": ["it broke again", "it broke again", "thank you", "it broke again"],
        "customer_id": [1, 2, 1, 99],
        "customer.tier": ["gold", "basic", "gold", None],
        "customer.opted_out": pd.array([False, True, False, None], dtype="boolean"),
        "prediction_label": ["negative", "negative", "positive", "negative"],
        "prediction_score": [0.9, 0.9, 0.55, 0.9],
    }
)


def test_who_opted_out_is_not_scored() -> None:
    assert ticket_rules.before(TICKETS).tolist() == ["", "the customer opted out", "", ""]


def test_negative_tickets_of_gold_customers_are_urgent() -> None:
    decided = ticket_rules.after(TICKETS)
    assert decided["queue"].tolist() == ["urgent", "standard", "standard", "standard"]
    assert decided["by_hand"].tolist() == [False, False, True, False]
