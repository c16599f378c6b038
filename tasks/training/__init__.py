"""Fine-tune a base model, evaluate it and log it to MLflow."""
