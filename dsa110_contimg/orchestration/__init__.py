"""What DAGs and plugins share; the only folder that knows Airflow."""
