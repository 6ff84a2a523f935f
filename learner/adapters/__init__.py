"""Other people's trainers on the group stream, one module for each; see docs/your-trainer.md.

Each module is imported in the trainer's own environment, and needs of ours only `scheduler.training_client` and what
that needs. None sends anything to a server: the scheduler alone does.
"""
