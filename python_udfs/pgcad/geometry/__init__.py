"""Reading parts: files and images become numbers, points and pictures. Runs in worker processes; no torch here."""
