"""Where a trained network looks, and what its carry is worth: attention maps on the image, predictions without Q̂."""
