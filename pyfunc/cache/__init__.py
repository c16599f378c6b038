"""The persistent prediction cache, and texts that are computed once though threads share them."""
