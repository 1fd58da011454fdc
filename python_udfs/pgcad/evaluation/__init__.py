"""How well a space finds parts: galleries, tasks, baselines, intervals and the report."""
