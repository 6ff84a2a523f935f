"""Programs to start from; see docs/your-trainer.md."""
