"""Find and free what is no longer needed, and give a moved state folder its new place."""
