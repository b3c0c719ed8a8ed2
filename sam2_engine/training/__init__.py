"""Teaching the model: clicks, losses, augmentation, synthetic scenes and readers of labelled data."""
