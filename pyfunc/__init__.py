"""The inference pipeline, as it ships inside the MLflow model.

The artifact holds a copy of this package, loaded under a name of its own (see `model.py`): use
relative imports, and import nothing else of the project.

    text ─► cache ─► language ─► classifier ─► contract ─► cache
           look-up  (detector)   (batched)     (answer)    store
"""
