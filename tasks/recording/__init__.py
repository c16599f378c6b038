"""Answered requests of online serving, recorded as an output folder of scoring."""
