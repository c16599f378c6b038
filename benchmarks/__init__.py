"""What `make bench` measures: Millstream beside what its users would pick instead.

Every part takes its texts, its weights and its machine from the same place, runs all that it
compares in turns, and leaves numbers in `measured.Results`; tables and plots are made of those.

    race     rows/s of each peer, engine and registered pipeline
    flow     the whole flow: cold, warm and resumed
    growth   time and memory as rows grow, and one core beside two
    serving  one client of the served model, beside a served model that does nothing
    budgets  rows/s by the token budget of a batch
"""
