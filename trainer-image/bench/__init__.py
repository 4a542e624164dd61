"""`npm run bench:trainer`: the trainer beside torchvision's reference recipe, as it ships and well tuned."""
