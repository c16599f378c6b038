"""The inference pipeline, as it ships inside the MLflow model.

A copy of this package travels in the artifact and is loaded under a name of its own (see
`model.py`), so everything in here uses relative imports and imports nothing of the project.

    text ─► cache ─► language ─► classifier ─► contract ─► cache
           look-up   (gcld3)    (batched)     (answer)    store
"""
