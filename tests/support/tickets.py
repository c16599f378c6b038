"""Support tickets for tests: labelled text as a user brings it, made of templates and words.

python -m tests.support.tickets tickets.csv --rows 1500 --seed 7
"""

import argparse
import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

COLUMNS = ("id", "subject", "body", "queue")

# Shares as of a real inbox: one queue has six times the rows of another.
QUEUES = {"billing": 0.36, "technical": 0.27, "shipping": 0.19, "account": 0.12, "returns": 0.06}

# People file some tickets in the wrong queue.
_WRONG_QUEUES = 0.03

# Some mention what another queue is about.
_TWO_TOPICS = 0.12

_TOPICS: Mapping[str, Sequence[str]] = {
    "billing": (
        "I was charged {amount} twice for {month}",
        "the invoice for {month} lists {amount} but we agreed on less",
        "my card was declined although the bank says it is fine",
        "please send me a receipt for the payment of {amount}",
        "why does the price of the {plan} plan go up to {amount}",
        "the VAT number on invoice {order} is not ours",
        "I would like to pay by bank transfer instead of by card",
        "we were billed for {count} seats and use fewer",
        "the discount code for {month} was not taken off the total",
    ),
    "technical": (
        "the {product} crashes as soon as I open it",
        "error {code} comes up whenever I save a file",
        "since the update of {month} the {product} does not connect any more",
        "the export hangs at {count} percent and never finishes",
        "sync between the {product} and my phone has stopped",
        "the page stays blank in {browser}",
        "the API answers with {code} for every request",
        "the battery of the {product} is empty after {count} minutes",
        "sound drops out on the {product} every few seconds",
    ),
    "shipping": (
        "order {order} has not arrived after {count} days",
        "the tracking page of parcel {order} has not changed since {day}",
        "the courier left the {product} with a neighbour I do not know",
        "can you deliver to {city} before {day}",
        "I need to change the delivery address of order {order} to {city}",
        "only one of two boxes came on {day}",
        "customs in {city} ask for papers for the {product}",
        "the parcel is marked as delivered and there is nothing here",
    ),
    "account": (
        "I cannot log in although the password is right",
        "the reset mail never arrives at my address",
        "please change the owner of our workspace to a colleague",
        "how do I turn two-factor authentication off after I lost my phone",
        "somebody signed in from {city} and it was not me",
        "please delete my profile and all personal data",
        "I want to merge two user names into one",
        "my e-mail address has changed since {month}",
    ),
    "returns": (
        "the {product} came with a crack and I want another one",
        "I would like to send the {product} back, it does not fit",
        "how do I get a return label for order {order}",
        "where is the refund for the {product} that I sent back on {day}",
        "the wrong colour was in the box, please exchange it",
        "can I still return the {product} after {count} days",
    ),
}

_WORDS: Mapping[str, Sequence[str]] = {
    "amount": ("12.90 euros", "$49", "$199.00", "1,250 euros", "£35", "89 dollars"),
    "month": ("January", "March", "May", "last month", "August", "October", "this quarter"),
    "plan": ("team", "basic", "business", "yearly", "student"),
    "product": ("headset", "desktop app", "router", "tablet", "camera", "printer", "smart lamp"),
    "code": ("E-104", "500", "0x80070005", "403", "timeout 12"),
    "browser": ("Firefox", "Chrome", "Safari on my iPad"),
    "day": ("Monday", "Tuesday", "Friday", "the weekend", "the 3rd"),
    "city": ("Lyon", "Berlin", "Toronto", "Manchester", "Austin", "Porto"),
}

_OPENINGS = ("Hi,", "Hello team,", "Good morning,", "Dear support,", "hey", "", "", "URGENT!")
_BEFORE = (
    "",
    "",
    "I have been a customer for {count} years.",
    "This is my second message about it.",
    "I already tried the help pages.",
    "Sorry to bother you again.",
    "My colleague told me to write here.",
)
_AFTER = (
    "",
    "Can you please look into it?",
    "What should I do now?",
    "I need this solved before {day}.",
    "Screenshots are attached.",
    "It worked fine until {day}.",
    "Nobody answers the phone.",
    "Please call me back.",
)
_CLOSINGS = ("", "Thanks!", "Best regards, {name}", "Thank you, {name}", "Cheers", "{name}")
_NAMES = ("Ana", "Jonas", "Priya", "Tom", "Mei", "Olu", "Katya", "Luis")


def write_tickets(path: Path, *, rows: int = 1_500, seed: int = 7) -> Path:
    """Write tickets as CSV, with the columns `COLUMNS`; equal arguments give equal files.

    Args:
        path: The file.
        rows: Number of tickets.
        seed: Of everything random.

    Returns:
        `path`.
    """
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for number in range(rows):
            (queue,) = chance.choices(list(QUEUES), list(QUEUES.values()))
            subject, body = _ticket(queue, chance)
            if chance.random() < _WRONG_QUEUES:
                queue = chance.choice([name for name in QUEUES if name != queue])
            table.writerow((f"T-{10_000 + number}", subject, body, queue))
    return path


def _ticket(queue: str, chance: random.Random) -> tuple[str, str]:
    topic = chance.choice(_TOPICS[queue])
    parts = [chance.choice(_OPENINGS), chance.choice(_BEFORE), f"{topic}."]
    if chance.random() < _TWO_TOPICS:
        other = chance.choice([name for name in QUEUES if name != queue])
        parts.append(f"Besides, {chance.choice(_TOPICS[other])}.")
    parts += [chance.choice(_AFTER), chance.choice(_CLOSINGS)]
    body = " ".join(_fill(part, chance) for part in parts if part)
    subject = " ".join(_fill(topic, chance).split()[: chance.randint(2, 6)])
    return subject, _with_typo(body, chance)


def _fill(template: str, chance: random.Random) -> str:
    words = {name: chance.choice(choices) for name, choices in _WORDS.items()}
    return template.format(
        **words,
        name=chance.choice(_NAMES),
        count=chance.randint(2, 90),
        order=f"{chance.choice('ABKR')}{chance.randint(10_000, 99_999)}",
    )


def _with_typo(text: str, chance: random.Random) -> str:
    """Swap two neighbouring characters of every third text."""
    place = chance.randrange(len(text) - 1)
    if chance.random() > 1 / 3:
        return text
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write invented tickets as CSV.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    given.path.parent.mkdir(parents=True, exist_ok=True)
    write_tickets(given.path, rows=given.rows, seed=given.seed)


if __name__ == "__main__":
    main()
