"""What every room uses: settings, errors, files, progress, URLs, retry policies."""
