"""Slurm, spoken to in plain text: sbatch, squeue, sacct and scancel, and a Prefect worker over them."""
