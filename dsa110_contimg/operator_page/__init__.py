"""The operator page in Airflow's UI: nights, their groups and sources, and what is running."""
