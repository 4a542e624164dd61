"""Datasets: fetched, checked item by item, stored by content, and read back for training."""
