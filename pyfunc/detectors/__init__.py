"""Language detectors behind one protocol, and the choice between them."""
