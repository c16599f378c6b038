"""Inference engines for the transformer (OpenVINO, torch), and the choice between them."""
