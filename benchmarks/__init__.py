"""Benchmark of Millstream against transformers, MLflow and plain torch: `make bench`.

All parts share texts, weights and machine, run their competitors in turns, and store numbers in
`measured.Results`; tables and plots are made of those.

    race     rows/s of each peer, engine and registered pipeline
    flow     the whole flow: cold, warm and resumed
    growth   time and memory by number of rows, and one core compared with two
    serving  latency of the served model, compared with a model that does nothing, and servers of
             the same weights under load
    budgets  rows/s by the token budget of a batch
"""
