"""The long-lived processes of `make up`: what they are, how they are started, watched and ended."""
