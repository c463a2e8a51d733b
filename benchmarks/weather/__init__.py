"""What training on weather and climate needs beside torch: losses, scores and augmentations that know the globe."""
