"""What is built and handed out: wheel and sdist, their contents, and what an installation of each extra can do."""
