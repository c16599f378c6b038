"""Inference engines (OpenVINO, torch, and numpy for a static model), and the choice of one."""
