"""The command line: thin, it parses, calls one function below and prints."""
