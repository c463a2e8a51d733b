"""Prefect flows that chain ingest, conversion, training and benchmark."""
