-- That of Prefect is made by the image, from POSTGRES_DB.
create database mlflow;
