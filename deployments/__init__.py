"""How flows are run elsewhere (served, in work pools, on clusters), never what they do."""
