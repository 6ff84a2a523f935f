"""The web console: a page over the API, in files that need nothing from elsewhere."""
