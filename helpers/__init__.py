"""What the notebooks use twice: data, augmentation, training, analysis and figures. One subject per module."""
