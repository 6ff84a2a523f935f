"""The documentation as a site: what MkDocs is told beyond mkdocs.yml, and the pages that are made from the code."""
